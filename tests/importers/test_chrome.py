"""Chrome's trace events: each becomes a sample or is refused for a reason, and exact times stay exact."""

import gzip
import json
from collections import Counter

import pytest

import quantum_pulse as qp
from quantum_pulse.errors import TraceError
from quantum_pulse.importers import account


def event(**values):
    return {"ph": "X", "name": "work", "cat": "cat", "pid": 1, "tid": 1, "ts": 0, "dur": 1, **values}


@pytest.fixture
def imported(tmp_path):
    def do(events, head='{"traceEvents": ', tail="}", **options):
        content = events if isinstance(events, str) else json.dumps(events)
        (tmp_path / "t.json").write_text(head + content + tail)
        return qp.import_trace(tmp_path / "t.json", tmp_path / "c", overwrite=True, **options)

    return do


def calls(made):
    samples = made.capture.samples()
    start = samples["start"].astype("int64")
    return list(zip(samples["operation"], start, samples["duration_ns"], samples["parent"], strict=True))


def test_times_of_more_digits_than_a_float_has(imported):
    made = imported(
        '[{"ph":"X","name":"a","pid":1,"tid":1,"ts":1795469677428699.723,"dur":0.001},'
        '{"ph":"X","name":"a","pid":1,"tid":1,"ts":"1795469677428699.724","dur":"2"},'
        '{"ph":"X","name":"a","pid":1,"tid":1,"ts":1.795469678e15,"dur":1e-3},'
        '{"ph":"X","name":"a","pid":1,"tid":1,"ts":1795469679000000,"dur":7}]'
    )
    assert [(start, length) for _, start, length, _ in calls(made)] == [
        (1795469677428699723, 1),
        (1795469677428699724, 2000),
        (1795469678000000000, 1),
        (1795469679000000000, 7000),
    ]


def test_each_record_is_a_sample_or_has_a_reason(imported):
    events = [
        event(),
        event(ph="M", name="process_name", args={"name": "server"}),
        event(ph="i"),
        event(ph="C", args={"value": 3}),
        event(ph="s", id=1),
        event(ph="B", name="pair"),
        event(ph="E", ts=5),
        event(ph="E", tid=2),
        event(ph="B", tid=3),
        event(dur=-1),
        event(dur=None),
        event(ts="late"),
        {"ph": "X", "ts": 0, "dur": 1},
        event(ts=1e300),
        event(name=7),
        event(ph="?"),
        7,
        {},
    ]
    made = imported(events)
    assert made.events == len(events) == made.samples + sum(made.refused.values())
    assert made.samples == len(made.capture.samples()) == 2
    expected = Counter(
        [account.NAMES_ONLY, account.INSTANT, account.COUNTER, account.FLOW, account.ENDS_A_CALL, account.NO_BEGIN,
         account.OPEN, account.NEGATIVE, account.NO_TIME, account.NO_TIME, account.NO_NAME, account.NO_TIME,
         account.MALFORMED, account.OTHER_RECORD, account.MALFORMED, account.MALFORMED]
    )  # fmt: skip
    assert made.refused == {reason.text: count for reason, count in expected.items()}
    losses = made.capture.losses()
    assert losses["count"].sum() == sum(made.lost.values()) == 9
    assert made.capture.unfinished()["operation"].tolist() == ["Cat.WORK"]
    assert sum(made.refused.values()) == json.loads((made.path / "capture.json").read_text())["imported"]["events"] - 2


def test_calls_nest_by_their_times(imported):
    events = [
        event(name="late_child", ts=6, dur=4),
        event(name="outer", ts=0, dur=10),
        event(name="first", ts=0, dur=4),
        event(name="inner", ts=1, dur=2),
        event(name="next", ts=4, dur=2),
        event(name="other_thread", tid=2, ts=1, dur=2),
        event(name="after", ts=10, dur=0),
    ]
    made = imported(events)
    samples = made.capture.samples()
    names = dict(zip(samples["span"], samples["operation"].str.removeprefix("Cat."), strict=True))
    parents = dict(zip(samples["operation"].str.removeprefix("Cat."), samples["parent"].map(names), strict=True))
    assert {name: parent for name, parent in parents.items() if isinstance(parent, str)} == {
        "FIRST": "OUTER",
        "INNER": "FIRST",
        "NEXT": "OUTER",
        "LATE_CHILD": "OUTER",
    }
    assert made.capture.tree().loc["Cat.OUTER", "self_us"] == 0


def test_calls_that_overlap_are_siblings(imported):
    made = imported([event(name="a", ts=0, dur=10), event(name="b", ts=5, dur=10), event(name="c", ts=6, dur=3)])
    assert [(name, parent) for name, _, _, parent in calls(made)] == [("Cat.A", 0), ("Cat.B", 0), ("Cat.C", 2)]


def test_async_calls_are_tasks(imported):
    pairs = [event(ph="b", id=7, name="request"), event(ph="b", id=8, name="request", ts=1)]
    pairs += [event(ph="b", id=7, name="query", ts=2), event(ph="e", id=7, name="query", ts=4)]
    pairs += [event(ph="e", id=7, name="request", ts=5), event(ph="e", id=8, name="request", ts=9)]
    samples = imported(pairs).capture.samples()
    assert samples["task"].tolist() == [1, 2, 1]
    assert samples["duration_ns"].tolist() == [5000, 8000, 2000]
    assert samples["parent"].tolist() == [0, 0, samples["span"].iloc[0]]


def test_the_wall_time_of_tools(imported):
    for head, tail in (
        (
            '{"schemaVersion": 1, "deviceProperties": [], "baseTimeNanoseconds": 1795469677000000000, "traceEvents": ',
            "}",
        ),
        ('{"traceEvents": ', ', "viztracer_metadata": {"baseTimeNanoseconds": 1795469677000000000}}'),
    ):
        made = imported([event(ts=1.5)], head, tail)
        assert [start for _, start, _, _ in calls(made)] == [1795469677000001500]
    assert made.format == "viztracer"


def test_processes_and_threads_that_are_no_numbers(imported):
    made = imported([event(pid="Spans", tid="stream 7"), event(pid="Spans", tid=2**40), event(pid=-3, tid=None)])
    samples = made.capture.samples()
    assert samples["process"].nunique() == 2
    assert samples["thread"].nunique() == 3
    assert 2**40 in samples["thread"].tolist()


def test_lists_without_their_end_and_events_that_are_cut_off(imported):
    whole = json.dumps([event(ts=place) for place in range(3)])
    assert imported(whole[:-1], "", "").samples == 3
    made = imported(whole[:-20], "", "")
    assert (made.events, made.samples, made.lost) == (3, 2, {account.CUT_OFF.text: 1})


def test_names_become_enums_that_are_python(imported, tmp_path):
    names = ["aten::add_", "aten::add", "GET /orders/{id}", "", "class", "été", "9lives", "_x", 'quo"te', "😀", "mro"]
    made = imported([event(name=name, cat="cpu op", ts=place) for place, name in enumerate(names)])
    found = {}
    exec(made.write_enum(tmp_path / "operations.py").read_text(encoding="utf-8"), found)
    members = list(found["CpuOp"])
    assert sorted(member.description for member in members) == sorted(names)
    assert {str(member) for member in members} == set(made.capture.operations)
    assert len(made.capture.samples(found["CpuOp"])) == len(names)
    assert all(member.category.name == "cpu op" for member in members)


def test_many_names_are_one_operation_in_the_end(imported, monkeypatch):
    monkeypatch.setattr("quantum_pulse.importers.names.MOST_OPERATIONS", 3)
    made = imported([event(name=f"n{place}", ts=place) for place in range(5)])
    assert made.samples == 5
    assert sorted(made.capture.stats()["count"]) == [1, 1, 1, 2]


def test_what_is_no_trace(tmp_path, imported):
    for content, message in (
        ('{"traceEvents": [{"ph": "X", "ts": nonsense}, {}, {}, {}, {}, {}]}', "not JSON"),
        ('{"other": 1}', "no format"),
        ("", "empty"),
        ('{"traceEvents": ' + "[" * 100_000 + "}", "nested too deeply"),
    ):
        with pytest.raises(TraceError, match=message):
            imported(content, "", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.json"]
    with pytest.raises(ValueError, match="'chrome'"):
        imported([event()], format="crome")


def test_what_is_there_is_not_replaced(imported, tmp_path):
    imported([event()])
    with pytest.raises(FileExistsError, match="overwrite=True"):
        qp.import_trace(tmp_path / "t.json", tmp_path / "c")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "mine.txt").touch()
    with pytest.raises(FileExistsError, match="other files"):
        qp.import_trace(tmp_path / "t.json", tmp_path / "files", overwrite=True)
    assert (tmp_path / "files" / "mine.txt").exists()


def test_compressed_files(tmp_path):
    content = gzip.compress(json.dumps([event()]).encode())
    (tmp_path / "t.json.gz").write_bytes(content)
    assert qp.import_trace(tmp_path / "t.json.gz", tmp_path / "c").samples == 1
    (tmp_path / "t.json.gz").write_bytes(content[:-20])
    with pytest.raises(TraceError, match="cannot be unpacked"):
        qp.import_trace(tmp_path / "t.json.gz", tmp_path / "c", overwrite=True)

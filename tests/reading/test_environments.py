import json

import pytest

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.agent import parts
from quantum_pulse.reading import environments
from tests.reading.conftest import ANCHOR_NS

#: Of every process here: other hosts and containers have it too.
PID = 1


@pytest.fixture
def recorded(write_capture):
    """A capture of recordings by name: the machine's CPU in percent, and seconds that it was measured for."""

    def record(recordings, **environment):
        path = write_capture([[{"duration": 5}]], process=PID)
        (told,) = (path / schema.PROCESSES).iterdir()
        content = json.loads(told.read_text()) | {"environment": {"cores": 4, **environment}}
        for name, (percent, seconds) in recordings.items():
            (path / schema.PROCESSES / f"{PID}-{name}.json").write_text(json.dumps(content))
            row = {column.name: 0 for column in schema.METRICS} | {"process": PID, "interval_ns": 100_000_000}
            row |= {"cpu_machine_percent": percent, "cpu_process_percent": 100.0}
            rows = [row | {"time": ANCHOR_NS + place * row["interval_ns"]} for place in range(round(seconds * 10))]
            target = path / "metrics" / f"{PID}-{name}-000001.parquet"
            parts.write_rows(target, "metrics", rows, {"format": schema.FORMAT_VERSION, "process": PID})
        return path

    return record


def others(source):
    return [own["others"] for own in environments.each(source)]


def test_other_processes_are_what_is_left_of_the_machine(recorded):
    source = qp.open(recorded({"abcd": (85.0, 1)}))._source
    assert environments.each(source) == [{"cores": 4, "others": pytest.approx(0.6)}]


def test_less_than_its_own_time_is_none(recorded):
    assert others(qp.open(recorded({"abcd": (20.0, 1)}))._source) == [0.0]


def test_a_short_recording_does_not_say(recorded):
    assert others(qp.open(recorded({"abcd": (85.0, 0.4)}))._source) == [None]


def test_equal_process_numbers_of_several_captures_are_not_mixed(recorded):
    busy, idle = recorded({"abcd": (85.0, 1)}), recorded({"abcd": (25.0, 1)})
    assert others(qp.open([busy, idle])._source) == pytest.approx([0.6, 0.0])
    assert others(qp.open([idle, busy])._source) == pytest.approx([0.0, 0.6])


def test_equal_process_numbers_of_several_recordings_are_not_mixed(recorded):
    source = qp.open(recorded({"abcd": (85.0, 1), "ef01": (25.0, 1)}))._source
    assert sorted(others(source)) == pytest.approx([0.0, 0.6])


def test_a_part_that_is_damaged_costs_itself(recorded):
    busy, damaged = recorded({"abcd": (85.0, 1)}), recorded({"abcd": (25.0, 1)})
    (file,) = (damaged / "metrics").iterdir()
    content = bytearray(file.read_bytes())
    content[10:200] = bytes(190)
    file.write_bytes(content)
    capture = qp.open([busy, damaged])
    assert others(capture._source) == [pytest.approx(0.6), None]
    assert len(capture.losses()) == 1


@pytest.mark.parametrize(("sizes", "told"), [([100], 100), ([100, 100], 100), ([100, 200], None), ([None], None)])
def test_memory_of_the_machine(recorded, sizes, told):
    paths = [recorded({"abcd": (25.0, 1)}, **({} if size is None else {"memory_bytes": size})) for size in sizes]
    assert environments.memory_bytes(qp.open(paths)._source) == told


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"cpu_quota": 1.5}, {"cpu_quota": 1.5}, []),
        ({"cpu_quota": 1.5}, {"cpu_quota": 1}, ["CPU quota: 1.5 cores, now 1 core"]),
        ({"cpu_quota": None}, {"cpu_quota": 2.0}, ["CPU quota: none, now 2 cores"]),
        ({"cpu_quota": None}, {"cpu_quota": None}, []),
        ({}, {"cpu_quota": 2.0}, []),
    ],
)
def test_quotas_are_compared_where_they_are_known(recorded, before, after, told):
    sides = [qp.open(recorded({"abcd": (25.0, 1)}, **own)) for own in (before, after)]
    assert list(sides[1].compare(sides[0]).differences) == told


def test_the_report_shows_what_a_process_may_use(recorded):
    quota = {"cpu_quota": 1.5, "memory_bytes": 8_000_000_000}
    report = qp.open(recorded({"abcd": (25.0, 1)}, **quota)).report()
    assert "4 cores, quota 1.5 cores, 8 GB" in report.text("html")

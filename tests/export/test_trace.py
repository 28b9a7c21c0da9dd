"""Traces, read back as JSON: each sample is an event, nested on its track, and everything has a name."""

import asyncio
import gzip
import json
from collections import Counter, defaultdict

import pytest

import quantum_pulse as qp
from quantum_pulse.operations import Category, Definition
from quantum_pulse.reading import spans
from tests.view.captures import SLOW_EXCHANGE


class Tour(qp.Operation):
    WHOLE = qp.op()
    STEP = qp.op()
    STREAM = qp.op()
    PAUSED = qp.op()


def read(path):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        return json.load(file)


def events(content, phase):
    return [event for event in content["traceEvents"] if event["ph"] == phase]


def ns(microseconds):
    """As a reader does it that counts nanoseconds: the text has three digits."""
    return round(microseconds * 1000)


def parents(slices):
    """For each span the span of the event that encloses it on its track; fails where two overlap and none encloses."""
    found = {}
    tracks = defaultdict(list)
    for place, event in enumerate(slices):
        tracks[event["tid"]].append((ns(event["ts"]), -ns(event["dur"]), place))
    for track in tracks.values():
        stack = []
        for start, length, place in sorted(track):
            end = start - length
            while stack and stack[-1][0] <= start:
                stack.pop()
            assert not stack or end <= stack[-1][0], slices[place]
            found[slices[place]["args"]["span"]] = stack[-1][1] if stack else 0
            stack.append((end, slices[place]["args"]["span"]))
    return found


def test_the_sample_data(tmp_path):
    capture = qp.open(SLOW_EXCHANGE)
    made = capture.export(tmp_path / "t.trace.json.gz")
    samples, content = capture.samples(), read(tmp_path / "t.trace.json.gz")
    slices = [event for event in events(content, "X") if event["cat"] != "events"]
    assert made.rows == len(slices) == len(samples)
    assert made.bytes == (tmp_path / "t.trace.json.gz").stat().st_size
    begin = int(content["otherData"]["ts_0_unix_ns"])
    written = sorted((e["args"]["span"], begin + ns(e["ts"]), ns(e["dur"]), e["name"], e["cat"]) for e in slices)
    columns = (samples[name].tolist() for name in ("span", "duration_ns", "operation", "category"))
    span, duration, operation, category = columns
    start = samples["start"].astype("int64").tolist()
    assert written == sorted(zip(span, start, duration, operation, category, strict=True))
    # FEED_PACKET is a timer that is paused while messages are handled: all others lie in the sample that encloses them.
    nested = parents(slices)
    above = dict(zip(samples["span"].tolist(), samples["parent"].tolist(), strict=True))
    task = dict(zip(samples["span"].tolist(), samples["task"].tolist(), strict=True))
    assert {span: nested[span] for span in above} == {
        span: parent if parent in above and task[parent] == task[span] else 0 for span, parent in above.items()
    }
    named = {event["tid"] for event in events(content, "M") if event["name"] == "thread_name"}
    assert {event["tid"] for event in events(content, "X")} <= named


def test_collections_and_metrics(tmp_path):
    capture = qp.open(SLOW_EXCHANGE)
    capture.export(tmp_path / "t.trace.json")
    content = read(tmp_path / "t.trace.json")
    collections = [event for event in events(content, "X") if event["cat"] == "events"]
    assert len(collections) == len(capture.events())
    assert sum(ns(event["dur"]) for event in collections) == capture.events()["duration_ns"].sum()
    assert all(event["ts"] >= 0 for event in content["traceEvents"] if "ts" in event)
    metrics = capture.metrics()
    counted = [event["args"]["value"] for event in events(content, "C") if event["name"] == "rss_bytes"]
    assert counted == metrics["rss_bytes"].tolist()


def test_tasks_generators_and_timers_of_a_real_recording(tmp_path):
    def stream():
        with Tour.STREAM:
            yield 1
            yield 2

    async def task():
        for _ in range(5):
            with Tour.WHOLE, Tour.STEP:
                await asyncio.sleep(0)

    async def several():
        await asyncio.gather(*(task() for _ in range(4)))

    with qp.record(tmp_path / "c"):
        asyncio.run(several())
        for _ in zip(stream(), stream(), strict=True):
            with Tour.STEP:
                pass
        timer = Tour.PAUSED.timer()
        timer.resume()
        timer.pause()
        with Tour.WHOLE, pytest.raises(KeyError), Tour.STEP:
            raise KeyError
        timer.finish()
    capture = qp.open(tmp_path / "c")
    capture.export(tmp_path / "t.trace.json")
    content = read(tmp_path / "t.trace.json")
    slices = [event for event in events(content, "X") if event["cat"] != "events"]
    assert len(slices) == len(capture.samples())
    parents(slices)
    names = {event["tid"]: event["args"]["name"] for event in events(content, "M") if event["name"] == "thread_name"}
    tracks = Counter(names[event["tid"]].partition(" ")[0] for event in slices if "task" in event["args"])
    assert set(tracks) == {"task"}
    assert len({event["tid"] for event in slices if "task" in event["args"]}) == 4
    assert [event["args"].get("error") for event in slices].count("KeyError") == 1


ODD = 'We"ird\\.na\nme\u2028 \U0001f642'


def test_strange_names_weights_and_errors(write_capture, tmp_path):
    operation = Definition(ODD, "work", "", Category('Cate"gory'), 1, None)
    path = write_capture([[{"operation": 0, "duration": 1_234_567, "error": 1, "weight": 7}]], operations=[operation])
    qp.open(path).export(tmp_path / "t.trace.json")
    (event,) = events(read(tmp_path / "t.trace.json"), "X")
    assert (event["name"], event["cat"], event["dur"]) == (ODD, 'Cate"gory', 1234.567)
    assert event["args"] == {"span": 1, "error": "KeyError", "weight": 7}


def test_recordings_with_the_same_numbers_are_kept_apart(write_capture, tmp_path):
    paths = [write_capture([[{"duration": 10, "thread": 5}]], path=tmp_path / name, process=5) for name in "ab"]
    qp.open(paths).export(tmp_path / "t.trace.json")
    content = read(tmp_path / "t.trace.json")
    slices = events(content, "X")
    assert len({event["pid"] for event in slices}) == len({event["tid"] for event in slices}) == 2
    names = {event["args"]["name"] for event in events(content, "M") if event["name"] == "process_name"}
    assert names == {"a, process 5", "b, process 5"}


def test_selections(write_capture, tmp_path):
    rows = [{"operation": place % 3, "start": 1000 * place, "duration": 10} for place in range(30)]
    capture = qp.open(write_capture([rows]))

    def written(**chosen):
        made = capture.export(tmp_path / "t.trace.json", overwrite=True, **chosen)
        slices = events(read(tmp_path / "t.trace.json"), "X")
        assert made.rows == len(slices)
        return slices

    assert len(written()) == 30
    assert [event["ts"] for event in written(start=10e-6, end=12e-6)] == [0, 1]
    assert written(start=1) == []


def test_a_damaged_part_is_left_out_whole(write_capture, tmp_path, monkeypatch):
    # So that the sound one is written before the other is met.
    monkeypatch.setattr(spans, "BLOCK_ROWS", 1000)
    rows = [{"duration": 10, "start": place, "thread": place} for place in range(1000)]
    path = write_capture([rows, [{**row, "start": row["start"] + 1000} for row in rows]])
    part = sorted((path / "samples").iterdir())[1]
    content = bytearray(part.read_bytes())
    content[200:260] = bytes(60)
    part.write_bytes(content)
    capture = qp.open(path)
    assert capture.export(tmp_path / "t.trace.json").rows == 1000
    assert len(events(read(tmp_path / "t.trace.json"), "X")) == 1000
    assert capture.losses()["count"].tolist() == [1000]

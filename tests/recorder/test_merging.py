"""Small parts become larger ones; whoever reads meanwhile, or after a crash between, sees each row once."""

import json
import shutil

import pandas as pd
import pyarrow.parquet as pq
import pytest

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.agent import merging, parts
from quantum_pulse.agent.recover import recover
from tests import agents


class Merged(qp.Operation):
    OUTER = qp.op("Around", category="One")
    INNER = qp.op("Within", category="Two", budget_us=5)
    FAILING = qp.op(category="Two")


def work():
    for _ in range(100):
        with Merged.OUTER, Merged.INNER:
            pass
    try:
        with Merged.FAILING:
            raise KeyError
    except KeyError:
        pass


def record(path, flushes, **options):
    with qp.record(path, **options) as recorder:
        for _ in range(flushes):
            work()
            recorder.flush()
    return recorder


def copy(source, target):
    """What a kill at this moment would leave, with the rings in the capture."""

    def special(folder, names):
        return [name for name in names if name.startswith("agent.")]

    shutil.copytree(source, target, ignore=special)


def footer(path):
    return json.loads(pq.read_metadata(path).metadata[schema.FOOTER_KEY.encode()])


def test_a_recording_ends_with_one_part_a_table(tmp_path):
    recorder = record(tmp_path / "capture", 21)
    (samples,) = (tmp_path / "capture" / "samples").iterdir()
    (metrics,) = (tmp_path / "capture" / "metrics").iterdir()
    capture = qp.open(tmp_path / "capture")
    frame = capture.samples()
    assert len(frame) == 21 * 201 == recorder.account()["written"]
    assert frame["span"].is_monotonic_increasing
    assert frame["span"].is_unique
    assert frame["error"].value_counts().to_dict() == {"KeyError": 21}
    assert capture.stats()["count"].to_dict() == {
        ("One", "Merged.OUTER"): 2100,
        ("Two", "Merged.FAILING"): 21,
        ("Two", "Merged.INNER"): 2100,
    }
    assert capture.metrics()["time"].is_monotonic_increasing
    assert len(footer(samples)["merged"]) > 1
    assert footer(metrics)["process"] == footer(samples)["process"]


def test_the_merged_part_says_what_its_sources_said(tmp_path, small_parts):
    record(tmp_path / "capture", 5)
    sources = sorted((tmp_path / "capture" / "samples").iterdir())
    assert len(sources) == 5
    target = tmp_path / "merged.parquet"
    parts.merge(sources, target, "samples")
    found = footer(target)
    assert found["merged"] == [source.name for source in sources]
    rows = pq.read_table(target)
    assert rows.schema.remove_metadata() == pq.read_table(sources[0]).schema.remove_metadata()
    whole = pd.concat([pq.read_table(source).to_pandas() for source in sources], ignore_index=True)
    pd.testing.assert_frame_equal(
        rows.to_pandas(), whole.sort_values("span", ignore_index=True), check_categorical=False
    )
    # As if all rows had come to one part at once.
    assert {plain["name"] for plain in found["operations"]} == {f"Merged.{member.name}" for member in Merged}
    summaries = {summary["operation"]: summary for summary in found["histograms"]}
    own = rows.to_pandas()
    for name, group in own.groupby("operation", observed=True)["duration_ns"]:
        assert summaries[name]["count"] == len(group)
        assert summaries[name]["sum_ns"] == group.sum()
        assert (summaries[name]["min_ns"], summaries[name]["max_ns"]) == (group.min(), group.max())
    assert summaries["Merged.FAILING"]["errors"] == 5


def test_losses_are_kept(tmp_path):
    least = schema.RING_HEADER_BYTES + schema.SEGMENT_BYTES
    with qp.record(tmp_path / "capture", budget_bytes=least) as recorder:
        for _ in range(10):
            for _ in range(20):
                work()
            recorder.flush()
    lost = recorder.account()["lost"]
    assert lost > 0
    assert qp.open(tmp_path / "capture").losses()["count"].sum() == lost
    (part,) = (tmp_path / "capture" / "samples").iterdir()
    assert sum(loss["count"] for loss in footer(part)["losses"]) <= lost


def test_a_crash_before_the_sources_were_deleted(tmp_path, small_parts):
    record(tmp_path / "capture", 5)
    folder = tmp_path / "capture" / "samples"
    sources = sorted(folder.iterdir())
    name = sources[0].name.rpartition("-")[0]
    before = qp.open(tmp_path / "capture").samples()
    parts.merge(sources, folder / f"{name}-000100.parquet", "samples")
    sources[2].unlink()
    after = qp.open(tmp_path / "capture")
    pd.testing.assert_frame_equal(before, after.samples(), check_categorical=False)
    assert after.losses().empty
    # A merged part that cannot be read does not stand for its sources.
    kept = (folder / f"{name}-000100.parquet").read_bytes()
    (folder / f"{name}-000100.parquet").write_bytes(kept[:-100])
    torn = qp.open(tmp_path / "capture")
    assert len(torn.samples()) == len(before) - 201
    assert "000100.parquet" in torn.losses()["cause"][0]


def test_recovery_deletes_what_was_merged(tmp_path, small_parts):
    """The ring of a killed process stands beside parts of which some were merged."""
    with qp.record(tmp_path / "live") as recorder:
        for _ in range(4):
            work()
            recorder.flush()
        work()
        copy(tmp_path / "live", tmp_path / "capture")
    folder = tmp_path / "capture" / "samples"
    sources = sorted(folder.iterdir())
    name = sources[0].name.rpartition("-")[0]
    target = folder / f"{name}-000100.parquet"
    parts.merge(sources, target, "samples")
    (found,) = recover(tmp_path / "capture")
    assert found.samples == 201
    assert not any(source.exists() for source in sources)
    assert {path.name for path in folder.iterdir()} == {target.name, f"{name}-000101.parquet"}
    capture = qp.open(tmp_path / "capture")
    assert len(capture.samples()) == 5 * 201
    assert capture.losses().empty


def test_a_capture_that_is_read_while_its_parts_are_merged(tmp_path):
    with qp.record(tmp_path / "capture") as recorder:
        for _ in range(merging.FAN_IN - 1):
            work()
            recorder.flush()
        opened = qp.open(tmp_path / "capture")
        first = sorted((tmp_path / "capture" / "samples").iterdir())[0]
        work()
    assert not first.exists()
    assert len(opened.samples()) == (merging.FAN_IN - 1) * 201
    assert opened.losses().empty


def test_a_part_that_was_deleted_is_named(tmp_path, small_parts):
    record(tmp_path / "capture", 3)
    opened = qp.open(tmp_path / "capture")
    sorted((tmp_path / "capture" / "samples").iterdir())[0].unlink()
    assert len(opened.samples()) == 2 * 201
    assert opened.losses()["count"].tolist() == [201]


def test_merging_ends_when_the_disk_refuses(tmp_path, monkeypatch, in_thread):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parts, "merge", refuse)
    recorder = record(tmp_path / "capture", 10)
    assert recorder.account()["written"] == 10 * 201
    assert len(list((tmp_path / "capture" / "samples").iterdir())) == 10
    assert len(qp.open(tmp_path / "capture").samples()) == 10 * 201


@pytest.mark.parametrize("rows", [[100] * 7, [schema.MERGED_ROWS // 2 + 1] * 9])
def test_what_is_not_merged_yet(rows, monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(parts, "merge", lambda *arguments: made.append(arguments))
    merger = merging.Merger(lambda _: tmp_path / "next.parquet")
    for count in rows:
        merger.add("samples", tmp_path / "none.parquet", count)
        merger.merge()
    assert made == []


def test_each_row_is_written_again_a_few_times_only(monkeypatch, tmp_path):
    monkeypatch.setattr(parts, "merge", lambda *_: None)
    merger = merging.Merger(lambda _: tmp_path / "part.parquet")
    merged = []
    add = merger.add

    def note(table, path, rows, generation=0):
        if generation:
            merged.append(rows)
        add(table, path, rows, generation)

    monkeypatch.setattr(merger, "add", note)
    for _ in range(4096):
        merger.add("samples", tmp_path / "part.parquet", 500)
        merger.merge()
    assert max(merged) <= schema.MERGED_ROWS
    assert sum(merged) <= 4 * 4096 * 500


def test_what_agents_that_were_killed_left_is_merged_too(tmp_path):
    with qp.record(tmp_path) as recorder:
        for _ in range(3):
            for _ in range(3):
                work()
                recorder.flush()
            agents.kill(tmp_path)
        work()
    assert len(list((tmp_path / "samples").iterdir())) == 1
    assert len(qp.open(tmp_path).samples()) == 10 * 201

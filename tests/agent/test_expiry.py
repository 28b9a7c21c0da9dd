"""Which parts expire, what stays of them, and what a reader of the capture sees."""

import itertools
import json

import pandas as pd
import pytest

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.agent import compaction, expiry
from quantum_pulse.agent.expiry import Expiry
from quantum_pulse.keep import Keep, parse
from quantum_pulse.reading.reader import Source
from tests.agent.captures import EPOCH, HOUR, MINUTE, SECOND, Maker, columns, names

EXACT = ["count", "errors", "total_us", "mean_us", "min_us", "max_us"]


def expire(maker, keep, now, *, is_own=lambda _: True, host="here"):
    """A run at `now`, after EPOCH."""
    return Expiry(maker.path, parse(keep), is_own, host).run(EPOCH + now)


def test_by_age_the_parts_go_whose_last_sample_is_too_old(hours):
    before = qp.open(hours.path)
    stats, timeline = before.stats(approximate=True), before.timeline("1min")
    last = before.samples(end=float(2 * 3600))["start"].max()
    done = expire(hours, "2h", 4 * HOUR + 1)
    assert [path.name for path in done.parts] == ["1-aaaa-000000.parquet"] * 3 + ["1-aaaa-000001.parquet"] * 3
    assert names(hours.path / "samples") == [f"1-aaaa-{hour:06d}.parquet" for hour in (2, 3, 4)]
    after = qp.open(hours.path)
    pd.testing.assert_frame_equal(after.stats(approximate=True), stats)
    found = after.timeline("1min")
    pd.testing.assert_frame_equal(found[EXACT], timeline[EXACT])
    assert after.stats()["count"].sum() == after.samples()["weight"].sum() < stats["count"].sum()
    assert after.losses().empty
    assert after.expired_until == last + pd.Timedelta(1, "ns")
    assert before.expired_until is None
    assert "older ones than 2023-12-09 01:49:55 UTC have expired" in repr(after)
    assert "summarised by the minute" in after._repr_html_()


def test_a_capture_that_is_open_meanwhile_says_what_it_misses(hours):
    before = qp.open(hours.path)
    expire(hours, "2h", 4 * HOUR + 1)
    assert len(before.samples()) == 3 * 600
    losses = before.losses()
    assert losses["count"].tolist() == [600, 600]
    assert losses["cause"].str.contains("open it again").all()


def test_a_capture_that_is_opened_while_its_parts_expire_counts_each_call_once(maker, monkeypatch):
    """However often one expires while the tables are listed, into a rollup file that soon does not name it any more."""
    monkeypatch.setattr(compaction, "FAN_IN", 2)
    for number in range(40):
        maker.samples(f"1-{number:04x}", number, columns(60, number * MINUTE, SECOND, number))
        maker.process(f"1-{number:04x}", number * MINUTE, (number + 1) * MINUTE)
    wanted = qp.open(maker.path).stats(approximate=True)
    own = Expiry(maker.path, parse("1h"), lambda _: True, "here")
    list_one, expired = Source.add_table, itertools.count(1)

    def expire_and_list(source, table):
        if table == schema.ROLLED_UP:
            own.run(EPOCH + HOUR + next(expired) * MINUTE)
        list_one(source, table)

    monkeypatch.setattr(Source, "add_table", expire_and_list)
    capture = qp.open(maker.path)
    pd.testing.assert_frame_equal(capture.stats(approximate=True), wanted)
    assert capture.losses().empty
    assert next(expired) > 30


def test_a_run_that_has_nothing_to_do_changes_nothing(hours):
    expire(hours, "2h", 4 * HOUR + 1)
    files = {path: path.stat() for path in hours.path.rglob("*")}
    assert expire(hours, "2h", 4 * HOUR + 1).parts == ()
    assert {path: path.stat() for path in hours.path.rglob("*")} == files


def test_by_bytes_the_oldest_go_and_the_newest_stays(hours):
    found = {table: sorted(hours.path.glob(f"{table}/*")) for table in schema.RECORDED}
    everything = sum(path.stat().st_size for paths in found.values() for path in paths)
    # Metrics and events are as old.
    oldest = {table: paths[0].stat().st_size for table, paths in found.items()}
    expire(hours, Keep(bytes=everything - sum(oldest.values()) + oldest["samples"] // 2), 0)
    assert names(hours.path / "samples")[0] == "1-aaaa-000001.parquet"
    assert names(hours.path / "metrics")[0] == "1-aaaa-000001.parquet"
    before = qp.open(hours.path).stats(approximate=True)
    for _ in range(2):
        done = expire(hours, Keep(bytes=1), 0)
        assert names(hours.path / "samples") == ["1-aaaa-000004.parquet"]
    assert done.parts == ()
    pd.testing.assert_frame_equal(qp.open(hours.path).stats(approximate=True), before)


def test_everything_may_expire_by_age(hours):
    before = qp.open(hours.path).stats(approximate=True)
    done = expire(hours, "1d", 100 * HOUR)
    assert done.folded == 1
    assert names(hours.path / "samples") == names(hours.path / "processes") == []
    after = qp.open(hours.path)
    pd.testing.assert_frame_equal(after.stats(approximate=True), before)
    assert after.losses().empty
    assert after.stats().empty
    assert after.samples().empty
    assert after.timeline("1h")["count"].sum() == before["count"].sum()
    assert after.timeline("1s").empty
    assert after.definitions().loc["Shop.BUY", ["description", "budget_us"]].tolist() == ["Buys", 50]
    text = (hours.path / "report.md").name
    after.report(hours.path / text)
    assert "have expired" in (hours.path / text).read_text()
    assert "stands in this report" not in (hours.path / text).read_text()


@pytest.mark.parametrize("where", ["ring", "ring in a folder", "process file"])
def test_recovery_needs_the_last_part_of_a_recording_that_goes_on(hours, tmp_path, where):
    if where == "ring":
        hours.ring("1-aaaa")
    elif where == "process file":
        hours.process("1-aaaa", 0, 5 * HOUR, state="recording")
    else:
        (tmp_path / "memory").mkdir()
        (hours.path / "rings" / "here.0").symlink_to(tmp_path / "memory")
        (hours.path / "rings" / "there.0").symlink_to(tmp_path / "nowhere")
        (tmp_path / "memory" / "1-aaaa.names").touch()
    expire(hours, "1d", 100 * HOUR)
    assert names(hours.path / "samples") == ["1-aaaa-000004.parquet"]
    assert names(hours.path / "processes") == ["1-aaaa.json"]


def test_metrics_and_events_that_have_expired_are_not_missing(hours):
    expire(hours, "2h", 4 * HOUR)
    capture = qp.open(hours.path)
    assert capture.losses().empty
    assert len(capture.metrics()) == 3 * 60
    assert len(capture.events()) == 3
    (hours.path / "metrics" / "1-aaaa-000004.parquet").unlink()
    (hours.path / "samples" / "1-aaaa-000004.parquet").unlink()
    assert qp.open(hours.path).losses()["count"].tolist() == [600, pd.NA]


def test_each_host_expires_its_own(tmp_path):
    maker = Maker(tmp_path / "capture")
    for host in "ab":
        for hour in range(3):
            maker.samples(f"{host}-1", hour, columns(300, hour * HOUR, 10 * SECOND, hour))
        maker.process(f"{host}-1", 0, 3 * HOUR)
    before = qp.open(maker.path).stats(approximate=True)
    expire(maker, "1h", 3 * HOUR, is_own=lambda name: name.startswith("a-"), host="a")
    assert names(maker.path / "samples") == ["a-1-000002.parquet", *(f"b-1-{hour:06d}.parquet" for hour in range(3))]
    expire(maker, "1h", 100 * HOUR, is_own=lambda name: name.startswith("b-"), host="b")
    assert names(maker.path / "samples") == ["a-1-000002.parquet"]
    assert names(maker.path / "processes") == ["a-1.json"]
    assert len({name.partition("-")[0] for name in names(maker.path / "rollups")}) == 2
    after = qp.open(maker.path)
    pd.testing.assert_frame_equal(after.stats(approximate=True), before)
    assert after.timeline("1min")["count"].sum() == before["count"].sum()
    assert after.losses().empty


def test_hosts_of_similar_names_have_files_of_their_own():
    prefixes = {expiry._prefix(host) for host in ("a/b", "a-b", "a b", "ä", "ö", "", "x" * 100, "x" * 101)}
    assert len(prefixes) == 8
    assert all("/" not in prefix and not prefix.startswith(".") for prefix in prefixes)


def test_whose_a_recording_is(maker):
    is_own = expiry.recorded_by("here", maker.path)
    assert not is_own("1-aaaa")
    maker.process("1-aaaa", 0, 1, host="here")
    maker.process("1-bbbb", 0, 1, host="there")
    assert is_own("1-aaaa")
    assert not is_own("1-bbbb")
    assert not is_own("1-cccc")


def test_a_week_stays_within_its_bytes(maker):
    own = Expiry(maker.path, Keep(bytes=300_000), lambda _: True, "here")
    most_files = most_bytes = 0
    for hour in range(0, 7 * 24, 2):
        recording = f"1-{hour // 6:04x}"
        maker.samples(recording, hour, columns(800, hour * HOUR, 9 * SECOND, hour))
        maker.metrics(recording, hour, range(hour * HOUR, (hour + 2) * HOUR, MINUTE))
        maker.process(recording, hour * HOUR, (hour + 2) * HOUR)
        own.run(EPOCH + (hour + 2) * HOUR)
        sizes = [path.stat().st_size for table in schema.RECORDED for path in maker.path.glob(f"{table}/*")]
        most_bytes = max(most_bytes, sum(sizes))
        most_files = max(most_files, sum(path.is_file() for path in maker.path.rglob("*")))
    assert most_bytes < 300_000
    assert most_files < 60
    capture = qp.open(maker.path)
    assert capture.losses().empty
    assert capture.stats(approximate=True)["count"].sum() == capture.timeline("1min")["count"].sum()
    rollups = capture._source.parts["rollups"]
    held = sum(summary["samples"] for part in rollups for summary in part.footer["histograms"])
    assert held + len(capture.samples()) == 7 * 12 * 800


# ---- what must not count twice or be hidden --------------------------------------------------------------------------


def test_sources_of_a_merged_part_do_not_come_back_to_life(maker):
    own = columns(100, 0, SECOND)
    maker.samples("1-aaaa", 1, own, merged=["1-aaaa-000000.parquet"])
    maker.samples("1-aaaa", 0, own)  # it could not be deleted when it was merged
    maker.samples("1-aaaa", 2, columns(100, 10 * HOUR, SECOND))
    before = qp.open(maker.path).stats(approximate=True)
    expire(maker, "1h", 10 * HOUR)
    assert names(maker.path / "samples") == ["1-aaaa-000002.parquet"]
    pd.testing.assert_frame_equal(qp.open(maker.path).stats(approximate=True), before)


def test_a_part_that_has_the_name_of_one_that_expired_counts(hours):
    expire(hours, "1d", 100 * HOUR)
    maker = Maker(hours.path)
    path = maker.samples("1-aaaa", 0, columns(50, 99 * HOUR, SECOND))
    assert len(qp.open(hours.path).samples()) == 50
    expire(hours, "1d", 100 * HOUR)
    assert path.exists()


def test_a_part_that_cannot_be_read_stays(hours):
    path = hours.path / "samples" / "1-aaaa-000000.parquet"
    content = bytearray(path.read_bytes())
    content[100:2000] = bytes(1900)
    path.write_bytes(content)
    (hours.path / "samples" / "1-aaaa-000001.parquet").write_bytes(b"no Parquet")
    own = Expiry(hours.path, parse("1h"), lambda _: True, "here")
    for _ in range(2):
        done = own.run(EPOCH + 100 * HOUR)
        assert sorted(done.unreadable) == ["samples/1-aaaa-000000.parquet", "samples/1-aaaa-000001.parquet"]
    assert names(hours.path / "samples") == ["1-aaaa-000000.parquet", "1-aaaa-000001.parquet"]
    capture = qp.open(hours.path)
    capture.stats()
    assert capture.losses()["count"].tolist() == [600, 600]


def test_sums_that_do_not_fit_stay_samples(maker):
    maker.samples("1-aaaa", 0, {**columns(4, 0, SECOND), "duration": [2**62] * 4})
    done = expire(maker, "1h", 100 * HOUR)
    assert done.unreadable == ("samples/1-aaaa-000000.parquet",)
    assert qp.open(maker.path).stats()["count"].sum() > 0


# ---- links -----------------------------------------------------------------------------------------------------------


def test_links_are_not_followed(hours, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    part = hours.path / "samples" / "1-aaaa-000000.parquet"
    part.rename(outside / part.name)
    part.symlink_to(outside / part.name)
    expire(hours, "1h", 100 * HOUR)
    assert names(outside) == [part.name]
    assert part.is_symlink()


@pytest.mark.parametrize("table", ["samples", "rollups", "processes"])
def test_a_folder_that_is_a_link_is_refused(hours, tmp_path, table):
    outside = tmp_path / "outside"
    inside = hours.path / table
    if inside.exists():
        inside.rename(outside)
    else:
        outside.mkdir()
    before = names(outside)
    inside.symlink_to(outside)
    with pytest.raises(OSError, match=table):
        expire(hours, "1h", 100 * HOUR)
    assert names(outside) == before


def test_a_link_in_place_of_the_file_that_is_written(hours, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (hours.path / "rollups").mkdir()
    (hours.path / "rollups" / f".{expiry._prefix('here')}-000001.parquet.tmp").symlink_to(victim)
    expire(hours, "1h", 100 * HOUR)
    assert victim.read_text() == "precious"
    assert qp.open(hours.path).expired_until is not None


# ---- recordings ------------------------------------------------------------------------------------------------------


def test_process_files_are_folded_once_nothing_is_left(maker):
    for number in range(40):
        name = f"1-{number:04x}"
        maker.samples(name, 0, columns(10, number * HOUR, SECOND, number))
        loss = {"operation": "Shop.BUY", "thread": number, "count": 3, "start": EPOCH, "end": EPOCH + number}
        losses = [{**loss, "cause": "no room"}]
        account = {"started": 15, "written": 10, "open": 0, "lost": 5}
        maker.process(name, number * HOUR, number * HOUR + MINUTE, losses=losses, account=account)
    before = qp.open(maker.path)
    stats = before.stats(approximate=True)
    assert before.losses()["count"].sum() == 40 * 5
    own = Expiry(maker.path, parse("2h"), lambda _: True, "here")
    for hour in range(41):
        own.run(EPOCH + hour * HOUR)
    assert len(names(maker.path / "processes")) == 2
    assert len(names(maker.path / "rollups")) < 2 * compaction.FAN_IN
    after = qp.open(maker.path)
    assert after.losses()["count"].sum() == 40 * 5
    assert len(after.losses()) < 40
    pd.testing.assert_frame_equal(after.stats(approximate=True), stats)


@pytest.mark.parametrize("state", ["recording", "starting", "unheard of", None])
def test_what_has_not_ended_is_not_folded(maker, state):
    maker.process("1-aaaa", 0, 1, state=state)
    assert expire(maker, "1h", 100 * HOUR).folded == 0
    assert names(maker.path / "processes") == ["1-aaaa.json"]


def test_a_recording_that_ended_lately_is_not_folded(maker):
    maker.process("1-aaaa", 0, 10 * HOUR)
    assert expire(maker, "1h", 11 * HOUR).folded == 0
    assert expire(maker, "1h", 11 * HOUR + 1).folded == 1
    (maker.path / "processes" / "1-bbbb.json").write_text("[]")
    assert expire(maker, "1h", 100 * HOUR).folded == 0


def test_losses_of_many_causes_are_bounded(maker):
    for number in range(300):
        losses = [{"operation": None, "thread": 1, "count": 1, "start": 1, "end": 2, "cause": f"cause {number}"}]
        maker.process(f"1-{number:04x}", 0, 1, losses=losses, account={"lost": 1})
    assert expire(maker, "1h", 100 * HOUR).folded == 300
    losses = qp.open(maker.path).losses()
    assert losses["count"].sum() == 300
    assert len(losses) == 101
    assert "other causes" in losses["cause"].tolist()


def test_months_of_restarts_leaves_few_files(maker):
    own = Expiry(maker.path, parse("1d"), lambda _: True, "here")
    for day in range(200):
        name = f"1-{day:04x}"
        maker.samples(name, 0, columns(5, day * 24 * HOUR, HOUR, day))
        maker.process(name, day * 24 * HOUR, day * 24 * HOUR + 5 * HOUR)
        if day % 3 == 0:
            own.run(EPOCH + day * 24 * HOUR + 6 * HOUR)
    assert len(names(maker.path / "processes")) < 6
    assert len(names(maker.path / "rollups")) < 3 * compaction.FAN_IN
    footers = qp.open(maker.path)._source.parts["rollups"]
    assert sum(len(part.footer["expired"]) for part in footers) < 8 * compaction.FAN_IN
    assert sum(len(part.footer["folded"]) for part in footers) < 8 * compaction.FAN_IN
    assert (
        qp.open(maker.path).timeline("1D")["count"].sum() == qp.open(maker.path).stats(approximate=True)["count"].sum()
    )


# ---- rollup files ----------------------------------------------------------------------------------------------------


def test_old_rollups_become_coarser_within_their_bytes(maker, monkeypatch):
    monkeypatch.setattr(compaction, "LARGEST_BYTES", 120_000)
    own = Expiry(maker.path, parse("2h"), lambda _: True, "here")
    for hour in range(60):
        maker.samples("1-aaaa", hour, columns(600, hour * HOUR, 5 * SECOND, hour))
    maker.process("1-aaaa", 0, 60 * HOUR)
    before = qp.open(maker.path)
    stats, by_hour, fine = before.stats(approximate=True), before.timeline("1h"), before.timeline("5min")
    for hour in range(0, 60, 2):
        own.run(EPOCH + hour * HOUR)
    parts = qp.open(maker.path)._source.parts["rollups"]
    assert {part.footer["interval_ns"] for part in parts} == set(schema.ROLLUP_INTERVALS_NS[:2])
    minutes = [part for part in parts if part.footer["interval_ns"] == MINUTE]
    assert sum(part.path.stat().st_size for part in minutes) <= 30_000
    after = qp.open(maker.path)
    pd.testing.assert_frame_equal(after.stats(approximate=True), stats)
    pd.testing.assert_frame_equal(after.timeline("1h")[EXACT], by_hour[EXACT])
    with pytest.raises(ValueError, match="by the hour, and a window of 300 s would split these") as raised:
        after.timeline("5min")
    start = str(raised.value).rpartition("start=")[2].strip("'")
    later = fine[fine.index.get_level_values("time") >= pd.Timestamp(start, tz="UTC")]
    pd.testing.assert_frame_equal(after.timeline("5min", start=start)[EXACT], later[EXACT])


def test_days_are_what_stays_in_the_end(hours, monkeypatch):
    monkeypatch.setattr(compaction, "LARGEST_BYTES", 1)
    before = qp.open(hours.path).timeline("1D")
    expire(hours, "1d", 100 * HOUR)
    after = qp.open(hours.path)
    pd.testing.assert_frame_equal(after.timeline("1D")[EXACT], before[EXACT])
    with pytest.raises(ValueError, match="by the day"):
        after.timeline("1h")
    assert len(after._source.parts["rollups"]) == 2


def test_a_damaged_rollup_file_is_a_loss_and_left_alone(hours):
    expire(hours, "2h", 4 * HOUR)
    path = hours.path / "rollups" / names(hours.path / "rollups")[0]
    path.write_bytes(b"no Parquet")
    done = expire(hours, "2h", 5 * HOUR)
    assert done.unreadable == (f"rollups/{path.name}",)
    assert path.exists()
    capture = qp.open(hours.path)
    assert any("rollups" in cause for cause in capture.losses()["cause"])
    assert capture.timeline("1min")["count"].sum() > 0


def test_a_footer_that_makes_no_sense_is_no_rollup(hours):
    from quantum_pulse import records

    expire(hours, "2h", 4 * HOUR)
    footer = qp.open(hours.path)._source.parts["rollups"][0].footer
    records.check_rollup_footer(json.loads(json.dumps(footer)))
    for key, wrong in [
        ("interval_ns", 7),
        ("until_ns", "now"),
        ("operations", None),
        ("histograms", [{}]),
        ("replaces", {"samples": {"../x": [1, 2, 3]}}),
        ("replaces", {"rings": {}}),
        ("replaces", {"samples": {"x": [None, 2, 3]}}),
        ("expired", {"1-aaaa": {"samples": "many"}}),
        ("ended", {"recordings": 1, "losses": [1]}),
        ("folded", ["../x"]),
    ]:
        with pytest.raises(ValueError, match=key):
            records.check_rollup_footer({**footer, key: wrong})

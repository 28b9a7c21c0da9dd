"""Times and attributes in comparisons, reports, the explorer, histories and on the command line."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

import quantum_pulse as qp
from quantum_pulse.cli import main
from tests.reading.conftest import write_capture  # noqa: F401 - a fixture

HOUR = 3600


@pytest.fixture
def day(write_capture):  # noqa: F811 - the fixture
    """A capture of 26 hours: Work.READ takes 50 µs, and 65 µs in the hour from 25:00 on."""

    def made(name="abcd"):
        rng = np.random.default_rng(7)
        hours = np.arange(26 * 400) // 400
        start = (hours * HOUR + rng.uniform(0, HOUR, len(hours))) * 1e9
        duration = 50_000 * np.exp(0.1 * rng.standard_normal(len(hours))) * np.where(hours == 25, 1.3, 1.0)
        rows = {"start": np.sort(start).astype(np.int64), "duration": duration.astype(np.int64)}
        rows["operation"], rows["error"] = np.arange(len(hours)) % 3, np.arange(len(hours)) % 2
        return write_capture([rows], name=name)

    return made


def test_this_hour_against_the_same_hour_of_yesterday_in_one_capture(day):
    capture = qp.open(day())
    now, yesterday = capture.between("25h", "26h"), capture.between("1h", "2h")
    found = now.compare(yesterday)
    rows = found.table[found.table["quantile"] == 0.5].set_index("operation")
    assert rows["change"].to_dict() == pytest.approx(dict.fromkeys(rows.index, 0.3), abs=0.06)
    assert found.verdict == "differs"
    before = capture.between("2h", "3h").compare(yesterday)
    assert before.verdict in ("equivalent", "inconclusive")
    # Hours that do not overlap are runs: with several a side the variation from run to run is known.
    hours = [capture.between(f"{hour}h", f"{hour + 1}h") for hour in range(2, 8)]
    several = hours[0].compare([yesterday, *hours[3:]], also=hours[1:3])
    assert "one run per side" in before.summary
    assert "one run per side" not in several.summary
    with pytest.raises(ValueError, match="given twice at the same time"):
        now.compare([yesterday, capture.between("1.5h", "3h")])


def test_a_part_against_all_of_it(day):
    capture = qp.open(day())
    found = capture.compare(capture.between(end="25h"))
    assert set(found.table["verdict"]) <= {"equivalent", "inconclusive", "unchanged", "differs"}
    assert capture.compare(capture).verdict == "same_recording"


def test_the_evidence_of_a_comparison_is_of_the_same_calls(day):
    capture, other = qp.open(day("aa")), qp.open(day("bb"))
    found = capture.compare(other, where={"error": "KeyError"}, start="1h", end="2h")
    chosen = capture.stats(where={"error": "KeyError"}, start="1h", end="2h")["count"].sum()
    assert [one["count"].sum() for one in found._evidence.calls()] == [chosen, chosen]
    assert [one["count"].sum() for one in found._evidence.requests()] == [chosen, chosen]
    (run,) = found._evidence.nested()[1]
    assert sum(len(calls.start) for calls in run.values()) == chosen


def test_a_report_says_first_what_it_was_restricted_to(day, tmp_path):
    capture = qp.open(day())
    for text in (
        capture.report(start="1h", end="2h", where={"error": "KeyError"}).text("text"),
        capture.between("1h", "2h").where({"error": "KeyError"}).report().text("markdown"),
    ):
        head = "\n".join(text.splitlines()[:6])
        assert re.search(r"only calls from .* UTC to .* UTC, where error is KeyError", head)
        assert "of the whole recording" in text or "Recorded processes" not in text
    assert "only calls" not in capture.report().text("text")


def test_an_explorer_says_what_it_shows_and_begins_where_it_was_asked_to(day):
    from quantum_pulse.explorer import pages
    from quantum_pulse.explorer.places import Place
    from tests.explorer.test_explorer import finished

    capture = qp.open(day())
    read = capture.operations.Work.READ
    explorer = finished(capture.explore(operation=read, where={"error": "KeyError"}))
    page = pages.write(explorer._model, Place(), None, has_past=False)
    assert "Only calls where error is KeyError" in re.sub("<[^>]*>", "", page)
    assert explorer._memory.past[-1].operation == "Work.READ"
    with pytest.raises(ValueError, match="has no calls here"):
        capture.between("27h").explore(operation=read)


def test_hours_of_one_recording_are_runs_of_a_history(day, tmp_path):
    history, capture = qp.History(tmp_path / "history"), qp.open(day())
    for hour in (1, 2, 3):
        history.add(capture, start=f"{hour}h", end=f"{hour + 1}h", label=f"hour {hour}")
    assert history.runs().groupby("label", sort=False)["count"].sum().tolist() == [
        len(capture.samples(start=f"{hour}h", end=f"{hour + 1}h")) for hour in (1, 2, 3)
    ]
    with pytest.raises(ValueError, match=r"already in .* as 'hour 2'"):
        history.add(capture, start="2.5h", end="5h")
    with pytest.raises(ValueError, match="already in"):
        history.add(capture)


def test_two_times_of_one_capture_on_the_command_line(day, capsys):
    path = str(day())
    times = ["--start", "25h", "--end", "26h", "--baseline-start", "1h", "--baseline-end", "2h"]
    assert main(["compare", path, path, *times, "--all"]) in (0, 1)
    assert "Work.READ" in capsys.readouterr().out
    assert main(["report", path, "--format", "text", "--start", "25h", "--where", "error=KeyError"]) == 0
    assert "only calls from" in capsys.readouterr().out
    assert main(["compare", path, path, "--start", "30h"]) == 3


def test_an_empty_capture_has_an_exit_status_of_its_own(write_capture, capsys):  # noqa: F811 - the fixture
    assert main(["stats", str(write_capture([]))]) == 3
    assert "is a capture without samples" in capsys.readouterr().err


def test_budgets_are_checked_without_a_baseline(capsys):
    path = str(qp.sample("slow_exchange").path)
    assert main(["check", path]) == 1
    said = capsys.readouterr().out
    assert re.search(r"missed +Engine.STORE +p99 .*budget 1.0 ms; 8.1 % of its calls exceed it", said)
    assert main(["check", path, "--fail-on", "none"]) == 0
    assert main(["check", path, "--operations", "Engine.FEED_MESSAGE", "--start", "0.2s"]) == 0
    capsys.readouterr()
    assert main(["check", path, "--format", "markdown"]) == 1
    assert "| verdict | operation |" in capsys.readouterr().out
    assert main(["check", path, "--format", "json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert content["failed"]
    assert {one["operation"] for one in content["budgets"]} >= {"Engine.STORE", "Engine.RISK"}
    assert main(["check", path, "--format", "junit", "--fail-on", "missed,too_few"]) == 1
    suite = ElementTree.fromstring(capsys.readouterr().out)
    assert suite.attrib == {"name": "budgets", "tests": "6", "failures": "3", "skipped": "2"}
    assert {case.get("name") for case in suite if case.find("failure") is not None} == {
        "Engine.STORE",
        "Engine.RISK",
        "Engine.SQL_COMMIT",
    }
    assert main(["check", path, "--operations", "Engine.SUBMIT"]) == 3
    assert "nothing measured" in capsys.readouterr().err
    assert main(["check", path, "--fail-on", "slow"]) == 2

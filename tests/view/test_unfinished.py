"""Calls that had not ended, as they are shown."""

import json
import re

import pytest

import quantum_pulse as qp
from quantum_pulse.cli import main
from quantum_pulse.diagnosis import open_calls as finding
from quantum_pulse.explorer import pages
from quantum_pulse.explorer.model import ExplorerModel
from quantum_pulse.view import open_calls
from tests.reading.conftest import write_capture  # noqa: F401 - a fixture

BLOCK = {"operation": "Work.READ", "category": "Input", "start": 0, "thread": 7, "task": 0, "span": 100, "parent": 0}
STARTED_NS = 1_700_000_000 * 10**9


@pytest.fixture
def left(write_capture):  # noqa: F811 - the fixture
    """A capture of a call of 1 ms, with these blocks that had not ended; call with them."""

    def write(*blocks, state="finished", stopped_s=10):
        path = write_capture([[{"duration": 1_000_000}]])
        (file,) = (path / "processes").iterdir()
        told = json.loads(file.read_text())
        told |= {"state": state, "stopped_ns": STARTED_NS + int(stopped_s * 1e9)}
        told["unfinished"] = [{**BLOCK, "start": STARTED_NS, "weight": 1, **block} for block in blocks]
        file.write_text(json.dumps(told))
        return path

    return write


def test_lines(left):
    outer, inner = {"task": 3}, {"operation": "Work.<LOCK>", "span": 101, "parent": 100, "start": None, "task": 3}
    found = finding.find(qp.open(left(outer, inner))._source)
    assert open_calls.lines(found).splitlines() == [
        "Unfinished calls, which these statistics leave out",
        "  Work.<LOCK>  just started, when the recording stopped  "
        "(inside Work.READ; thread 7, task 3, process 1; longest finished call: none)",
    ]
    exact = qp.open(left({"start": STARTED_NS + 1}, {"span": 101, "start": None})).unfinished()["start"]
    assert exact.dropna().astype("int64").tolist() == [STARTED_NS + 1]
    killed = finding.find(qp.open(left({}, state="recovered"))._source)
    assert "at least, when the process was killed" in open_calls.lines(killed)
    assert "longest finished call: 1.0 ms" in open_calls.lines(killed)
    assert open_calls.lines([]) == ""


def test_calls_in_the_same_place_are_one_line(left):
    """Many requests wait, each in a lock that one has, whose query hangs: that is seen at once."""
    waiting = [
        block
        for number in range(100, 190, 2)
        for block in (
            {"span": number, "start": STARTED_NS + number},
            {"span": number + 1, "parent": number, "operation": "Work.LOCK", "start": STARTED_NS + number + 1},
        )
    ]
    culprit = {"span": 90, "operation": "Work.QUERY", "start": STARTED_NS - 10**9, "thread": 8}
    found = finding.find(qp.open(left(culprit, *waiting))._source)
    assert [(one.operation, one.path, one.calls, one.thread) for one in found] == [
        ("Work.QUERY", (), 1, 8),
        ("Work.LOCK", ("Work.READ",), 45, 7),
    ]
    assert "  Work.LOCK × 45  the first 10.0 s, when" in open_calls.lines(found)


def test_many_places_are_added_up(left):
    blocks = [
        {"span": 100 + number, "operation": f"Work.OP_{number}", "start": STARTED_NS + number} for number in range(25)
    ]
    found = finding.find(qp.open(left(*blocks))._source)
    told = open_calls.lines(found).splitlines()
    assert len(told) == 1 + open_calls.MOST_LINES + 1
    assert told[-1] == "  and 20 more: capture.unfinished() lists all"
    assert "5 more are not shown" in open_calls.blocks(found)[-1].text


def test_what_runs_is_told_when_it_takes_longer_than_any_that_ended(left):
    source = qp.open(left())._source
    block = {**BLOCK, "start": STARTED_NS, "weight": 1}
    for elapsed_ns, is_told in ((900_000, False), (1_100_000, True)):
        source.note_open("1-abcd", [block], STARTED_NS + elapsed_ns)
        assert bool(finding.find(source)) == is_told
    source.note_open("1-abcd", [{**block, "operation": "Work.NEVER_ENDED"}], STARTED_NS + 1)
    assert [one.operation for one in finding.find(source)] == ["Work.NEVER_ENDED"]


def test_every_home_tells(left, tmp_path, capsys):
    path = left({"operation": "Work.<b>HANGS</b>"})
    capture = qp.open(path)
    assert main(["stats", str(path)]) == 0
    assert "  Work.<b>HANGS</b>  10.0 s, when the recording stopped" in capsys.readouterr().out
    assert "Work.&lt;b&gt;HANGS&lt;/b&gt;  10.0 s" in capture._repr_html_()
    capture.report(tmp_path / "report.txt")
    said = (tmp_path / "report.txt").read_text()
    assert "Work.<b>HANGS</b> hangs: unfinished after 10.0 s, far longer than any finished call." in said
    capture.report(tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    assert "Unfinished calls" in html
    assert "Work.&lt;b&gt;HANGS&lt;/b&gt;" in html
    assert "<b>HANGS" not in html
    capture.report(tmp_path / "report.md")
    assert re.search(r"HANGS.*10\.0 s, when the recording stopped", (tmp_path / "report.md").read_text())
    capture.export(tmp_path / "capture.json")
    (told,) = json.loads((tmp_path / "capture.json").read_text())["unfinished"]
    assert (told["operation"], told["elapsed_us"], told["state"]) == ("Work.<b>HANGS</b>", 10_000_000, "stopped")
    model = ExplorerModel(capture._source, None, lambda: None)
    assert "Work.&lt;b&gt;HANGS&lt;/b&gt;" in pages.static(model)


def test_nothing_is_said_of_nothing(left, tmp_path, capsys):
    path = left()
    assert main(["stats", str(path)]) == 0
    assert "ended" not in capsys.readouterr().out
    qp.open(path).report(tmp_path / "report.html")
    assert "nfinished calls" not in (tmp_path / "report.html").read_text()

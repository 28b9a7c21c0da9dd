"""A section of a report is one module."""

import pytest

import quantum_pulse as qp
from quantum_pulse import registry
from quantum_pulse.diagnosis import intervals, sections
from tests.view.captures import ENGINE

SECTION = """
from quantum_pulse.diagnosis.section import ReportSection
from quantum_pulse.view.document import Paragraph


def build(findings, links):
    return [Paragraph(f"{len(findings.operations)} operations")] if findings.operations else []


SECTION = ReportSection("size", "Size of the capture", build, rank=15)
"""


def test_a_section_is_one_module(tmp_path, monkeypatch):
    """As if the module were in the package: it is in each form of the report, in its place."""
    (tmp_path / "size.py").write_text(SECTION)
    monkeypatch.setattr(sections, "__path__", [*sections.__path__, str(tmp_path)])
    report = qp.open(ENGINE).report()
    for form in ("text", "markdown", "html"):
        written = report.text(form)
        assert "17 operations" in written, form
        order = [written.rindex(title) for title in ("Verdict", "Size of the capture", "Recommendations")]
        assert order == sorted(order), form


def test_each_section_has_a_place_of_its_own():
    found = registry.entries("quantum_pulse.diagnosis.sections", "SECTION")
    assert len({one.rank for one in found}) == len({one.anchor for one in found}) == len(found) >= 9


def test_the_operations_that_lost_most_time_in_an_interval():
    capture = qp.open(ENGINE)
    usual = capture.stats()
    inside = usual.assign(total_us=usual["count"] * usual["mean_us"])
    inside.loc[("Risk", "Engine.RISK"), "total_us"] += 1000
    inside.loc[("Risk", "Engine.RISK"), "p99_us"] *= 3
    found = intervals.losers(inside, usual)
    assert (found[0].name, found[0].lost_us) == ("Engine.RISK", pytest.approx(1000))
    assert found[0].is_slow("p99_us")
    assert not found[0].is_slow("p50_us")
    assert len(found) == 8

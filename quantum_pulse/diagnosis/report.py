"""Build the document of a report from findings: each module of `sections` is a section."""

from __future__ import annotations

from collections.abc import Mapping

from quantum_pulse import registry
from quantum_pulse.diagnosis.findings import Findings
from quantum_pulse.diagnosis.section import Links, ReportSection
from quantum_pulse.view import closeup, numbers
from quantum_pulse.view.document import Document, Name, Section, Text


def build(
    findings: Findings, title: str | None = None, *, links: Mapping[str, str] | None = None, prefix: str = ""
) -> Document:
    """The whole report. `title` replaces the name of the capture's folder.

    Names of operations link to their section, or to the anchors in `links`. Anchors begin with `prefix`, so that a page
    may hold several reports.
    """
    if title is not None and not isinstance(title, str):
        raise TypeError(f"title must be text, not {title!r}")
    if links is None:
        anchors = {name: f"{prefix}op-{number}" for number, (_, name) in enumerate(findings.operations, 1)}
        links = {name: anchor for name, anchor in anchors.items() if name in findings.closeups}
    found: list[ReportSection] = registry.entries("quantum_pulse.diagnosis.sections", "SECTION")
    built = [(one, one.build(findings, Links(links, prefix))) for one in found]
    sections = [Section(prefix + one.anchor, one.title, blocks, one.brief) for one, blocks in built if blocks]
    return Document(Name(title or findings.path.resolve().name), _subtitle(findings), sections)


def _subtitle(findings: Findings) -> Text:
    only = f"; only calls {findings.restriction}" if findings.restriction else ""
    if findings.stats.empty:
        return f"no samples{only}"
    span = numbers.duration(findings.end_ns - findings.begin_ns)
    calls = numbers.count(findings.stats["count"].sum())
    operations = len(findings.stats)
    plural = "" if operations == 1 else "s"
    began = closeup.clock(findings.begin_ns, date=True)
    return f"{calls} calls of {operations} operation{plural} in {span}, from {began} UTC{only}"

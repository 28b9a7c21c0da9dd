"""Captures against each other, and against a history: on real recordings, and on captures of our own choice."""

import itertools
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

import quantum_pulse as qp
from quantum_pulse.analysis.compared import directed
from quantum_pulse.errors import CaptureError
from tests import commands
from tests.reading.conftest import write_capture  # noqa: F401 - a fixture


@pytest.fixture
def make(write_capture):  # noqa: F811 - the fixture
    """A capture with lognormal durations around 50 µs of two operations, those of the first times `slower`."""

    # Each is a recording of its own.
    numbers = itertools.count()

    def again(seed, slower=1.0, count=5000):
        rng = np.random.default_rng(seed)
        operation = np.tile([0, 1], count)
        duration = 50_000 * np.exp(0.3 * rng.standard_normal(2 * count))
        duration[operation == 0] *= slower
        start = np.arange(2 * count) * 100_000
        rows = {"start": start, "duration": duration.astype(np.int64), "operation": operation}
        return qp.open(write_capture([rows], name=f"{next(numbers):08x}"))

    return again


def changed(found, word):
    """Operations that "regressed" or "improved", be it in these two runs."""
    table = directed(found.judged)
    return set(table.loc[table["verdict"] == word, "operation"])


def test_a_capture_against_another_and_a_slower_one(make):
    base, same, slow = make(1), make(2), make(3, slower=1.2)
    assert same.compare(base).verdict in ("equivalent", "inconclusive")
    found = slow.compare(base)
    assert found.verdict == "differs"
    assert changed(found, "regressed") == {"Work.READ"}
    rows = found.table[found.table["verdict"] == "differs"]
    assert rows["change"].tolist() == pytest.approx([0.2] * len(rows), abs=0.08)
    assert changed(base.compare(slow), "improved") == {"Work.READ"}
    assert "one run per side" in found.summary


def test_a_recording_and_itself(make):
    capture = make(1)
    copied = qp.open(shutil.copytree(capture.path, capture.path.with_name("copied")))
    for other in (capture, copied):
        found = capture.compare(other)
        assert found.verdict == "same_recording"
        assert found.summary == "Both sides are the same recording, so there is nothing to compare."
        assert "the same recording" in found.to_text()
        assert "Latency: the same recording" in found.to_markdown()
        assert found.failures() == []
    assert cli(capture.path, capture.path, "--fail-on", "regressed").returncode == 0


def test_one_run_per_side_with_a_history(make, tmp_path):
    history = qp.History(tmp_path / "history")
    base, slow = make(1), make(3, slower=1.5)
    assert slow.compare(base, history=history).verdict == "differs", "it has no runs"
    for seed in range(10, 15):
        history.add(make(seed), label=str(seed))
    found = slow.compare(base, history=history)
    assert found.verdict == "regressed"
    assert found.history_runs == 5
    assert found.failures(["regressed"]) == ["regressed: Work.READ"]
    with pytest.raises(TypeError, match="history must be a History, as qp"):
        slow.compare(base, history=5)
    done = cli(base.path, slow.path, "--history", history.path, "--fail-on", "regressed")
    assert done.returncode == 1
    assert "▲ regressed" in done.stdout


def test_several_runs_a_side(make):
    base, current = [make(seed) for seed in range(3)], [make(seed, slower=1.5) for seed in range(3, 6)]
    found = current[0].compare(base, also=current[1:])
    assert (found.baseline_runs, found.current_runs) == (3, 3)
    assert set(found.regressions["operation"]) == {"Work.READ"}
    assert "One run" not in found.summary
    together = qp.open([one.path for one in current]).compare(qp.open([one.path for one in base]))
    pd.testing.assert_frame_equal(together.table, found.table)


def test_captures_are_named_by_their_paths(make):
    base, current = [make(seed) for seed in range(2)], [make(seed, slower=1.5) for seed in range(3, 5)]
    found = current[0].compare([str(one.path) for one in base], also=current[1].path)
    pd.testing.assert_frame_equal(found.table, current[0].compare(base, also=current[1:]).table)
    pd.testing.assert_frame_equal(
        current[0].compare(str(base[0].path)).table, current[0].compare(base[0]).table, obj="one path"
    )


def test_what_is_no_capture_is_refused(make, tmp_path):
    current = make(1)
    for wrong in ([5], b"path", 5, None):
        with pytest.raises(TypeError, match="baseline must be a capture, as qp"):
            current.compare(wrong)
    with pytest.raises(TypeError, match="also must be a capture, as qp"):
        current.compare(current, also=5)
    with pytest.raises(qp.QuantumPulseError, match="is not a capture"):
        current.compare(tmp_path)
    with pytest.raises(ValueError, match="baseline is empty"):
        current.compare([])


def test_arguments_that_are_none(make):
    current, baseline = make(1), make(1)
    for options, said in (
        ({"alpha": "x"}, "alpha must be a number between 0 and 0.5, not 'x'"),
        ({"alpha": None}, "alpha must be a number between 0 and 0.5, not None"),
        ({"min_effect": "x"}, "min_effect must be a share, a number of 0 or more, not 'x'"),
        ({"quantiles": "x"}, "quantiles must be a list of numbers between 0 and 1, at least one, not 'x'"),
        ({"quantiles": 0.5}, "quantiles must be a list of numbers between 0 and 1, at least one, not 0.5"),
        ({"quantiles": [None]}, "at least one, not \\[None\\]"),
        ({"operations": []}, "operations is empty"),
    ):
        with pytest.raises(ValueError, match=said):
            current.compare(baseline, **options)


def test_it_shows_itself(make):
    found = make(3, slower=1.5).compare(make(1))
    text, markdown, page = repr(found), found.to_markdown(), found._repr_html_()
    for shown in (text, markdown, page):
        assert "Work.READ" in shown
        assert "differs" in shown
        assert "µs" in shown
    assert "Work.COUNT" not in text
    assert "Work.COUNT" in found.to_text(everything=True)
    assert markdown.startswith("### ≠ Latency: differs in these two runs")
    assert "<details>" in markdown
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1


@pytest.fixture
def nested(write_capture):  # noqa: F811 - the fixture
    """Captures in which Work.READ calls Work.COUNT once; medians in ns of what each takes by itself."""

    def again(seed, reading, counting, count=3000):
        rng = np.random.default_rng(seed)
        inner, own = (median * np.exp(0.1 * rng.standard_normal(count)) for median in (counting, reading))
        duration = np.stack([inner + own, inner], axis=1).astype(np.int64).ravel()
        start = np.repeat(np.arange(count) * 1_000_000, 2) + np.tile([0, 100], count)
        span = np.arange(1, 2 * count + 1)
        parent = np.where(span % 2, 0, span - 1)
        operation = np.tile([0, 1], count)
        rows = {"start": start, "duration": duration, "operation": operation, "span": span, "parent": parent}
        return qp.open(write_capture([rows]))

    return again


def test_a_slow_child_is_one_finding(nested):
    found = nested(2, 20_000, 16_000).compare(nested(1, 20_000, 10_000))
    assert changed(found, "regressed") == {"Work.READ", "Work.COUNT"}
    assert found.groups[["lead", "with", "reason"]].to_numpy().tolist() == [["Work.COUNT", ("Work.READ",), "nested"]]
    assert found.shifts.empty
    line = r"≠ {q}Work\.COUNT{q} \+[56]\d % at p\d+; together with {q}Work\.READ{q}, which enclose it"
    assert re.search(f"^  {line.format(q='')}$", found.to_text(), re.MULTILINE)
    assert re.search(f"^- {line.format(q='`')}$", found.to_markdown(), re.MULTILINE)
    assert re.search(f"<li>{line.format(q='')}</li>", without_names(found._repr_html_()))


def test_what_got_faster_together_is_one_finding(nested):
    base, fast = nested(1, 20_000, 16_000), nested(2, 20_000, 10_000)
    found = fast.compare(base)
    assert changed(found, "improved") == {"Work.READ", "Work.COUNT"}
    (group,) = found.improvement_groups.to_dict("records")
    assert (group["lead"], group["with"], group["reason"]) == ("Work.COUNT", ("Work.READ",), "nested")
    row = found.table.set_index(["operation", "quantile"]).loc[("Work.COUNT", group["quantile"])]
    assert group["change"] == row["change"] < -0.3
    assert base.compare(fast).improvement_groups.empty
    line = r"≠ {q}Work\.COUNT{q} -3\d % at p\d+; together with {q}Work\.READ{q}, which enclose it"
    assert re.search(f"^  {line.format(q='')}$", found.to_text(), re.MULTILINE)
    assert re.search(f"^- {line.format(q='`')}$", found.to_markdown(), re.MULTILINE)
    (told,) = json.loads(cli(base.path, fast.path, "--format", "json").stdout)["improvement_groups"]
    assert (told["lead"], told["with"]) == ("Work.COUNT", ["Work.READ"])


def test_time_given_to_the_operation_around_is_no_improvement(nested):
    found = nested(2, 20_000, 10_000).compare(nested(1, 14_000, 16_000))
    assert changed(found, "improved") == {"Work.COUNT"}
    assert found.improvement_groups.empty


def test_a_cost_that_moved_into_a_child(nested):
    base, moved = nested(1, 20_000, 10_000), nested(2, 14_000, 16_000)
    found = moved.compare(base)
    assert found.shifts[["operation", "from"]].to_numpy().tolist() == [["Work.COUNT", "Work.READ"]]
    assert found.regressions.empty
    assert found.verdict not in ("regressed", "moved")
    assert "regressed" not in found.summary
    assert "1 moved" in found.summary
    for shown in (found.to_text(), found.to_markdown(), found._repr_html_()):
        assert "time moved from" in shown
        assert "⇄ moved" in shown
        assert "▲" not in shown
    assert cli(base.path, moved.path, "--fail-on", "regressed,killed").returncode == 0
    (shift,) = json.loads(cli(base.path, moved.path, "--format", "json").stdout)["shifts"]
    assert (shift["operation"], shift["from"]) == ("Work.COUNT", "Work.READ")


def test_only_what_is_asked_for_is_worked_out(make, monkeypatch):
    """Calls and nesting take a pass over the samples each."""
    from quantum_pulse.facade import comparing

    def refuse(*_):
        raise AssertionError("nobody has asked for this")

    base, same, slow = make(1), make(2), make(3, slower=1.5)
    monkeypatch.setattr(comparing.Sides, "calls", refuse)
    monkeypatch.setattr(comparing.Sides, "nested", refuse)
    assert slow.compare(base).table["verdict"].tolist().count("differs") > 0
    assert "Of 2 operations" in same.compare(base).to_text(everything=True)
    assert "Of 2 operations" in base.compare(slow).to_markdown()
    with pytest.raises(AssertionError, match="nobody has asked"):
        slow.compare(base).groups  # noqa: B018 - it is worked out when looked at
    monkeypatch.undo()
    found, passes = slow.compare(base), []
    monkeypatch.setattr(comparing.Sides, "nested", lambda _: passes.append(1) or ([], []))
    found.to_text(), found.to_markdown(), found.groups, found.verdict
    assert len(passes) == 1


def test_warm_up_is_set_aside_and_counted(write_capture):  # noqa: F811 - the fixture
    def recorded(seed, factor):
        rng = np.random.default_rng(seed)
        duration = 50_000 * np.exp(0.3 * rng.standard_normal(8000))
        duration[:240] *= factor
        return qp.open(write_capture([{"start": np.arange(8000) * 100_000, "duration": duration.astype(np.int64)}]))

    base, cold = recorded(1, 1), recorded(2, 4)
    found = cold.compare(base)
    (row,) = found.warmup.to_dict("records")
    assert (row["side"], row["operation"], row["samples"]) == ("current", "Work.READ", 8000)
    assert row["set_aside"] == pytest.approx(240, abs=80)
    for shown in (found.to_text(), found.to_markdown(), found._repr_html_()):
        assert f"the first {row['set_aside']} of 8,000 samples of Work.READ" in without_names(shown)
    assert cold.compare(base, skip_warmup=False).warmup.empty
    told = json.loads(cli(base.path, cold.path, "--format", "json").stdout)
    assert told["warmup"] == [{**row, "change": pytest.approx(row["change"])}]
    assert json.loads(cli(base.path, cold.path, "--format", "json", "--keep-warmup").stdout)["warmup"] == []


def test_names_are_shown_as_text():
    from quantum_pulse import analysis

    name = "A.<script>|`\u202e"
    run = {name: np.full(1000, 10), "B": np.full(1000, 10)}
    found = analysis.compare_samples(run, {name: np.full(1000, 20), "B": np.full(1000, 10)})
    assert "<script>" not in found._repr_html_()
    assert "\\|" in found.to_markdown()
    assert "\u202e" not in found.to_text()


def without_names(html):
    """`html` without the marks that isolate names."""
    return re.sub(r"</?bdi>", "", html)


def cli(*arguments):
    return commands.run("compare", *arguments)


def test_the_command(make):
    base, slow = make(1), make(3, slower=1.5)
    done = cli(base.path, slow.path)
    assert done.returncode == 1, "Work.COUNT misses its budget"
    assert "≠ differs" in done.stdout
    assert cli(base.path, slow.path, "--fail-on", "regressed,killed").returncode == 0
    assert cli(base.path, slow.path, "--fail-on", "differs").returncode == 1
    assert cli(slow.path, base.path, "--fail-on", "regressed,killed").returncode == 0
    assert cli(slow.path, base.path).returncode == 1, "Work.COUNT misses its budget"
    assert cli(base.path, slow.path, "--fail-on", "none").returncode == 0
    assert cli(base.path, slow.path, "--fail-on", "improved,removed").returncode == 0
    again = shutil.copytree(slow.path, slow.path.with_name("again"))
    done = cli(base.path, f"{slow.path},{again}", "--format", "json", "--fail-on", "budget")
    told = json.loads(done.stdout)
    assert told["verdict"] == "regressed"
    assert {row["operation"] for row in told["rows"]} == {"Work.READ", "Work.COUNT"}
    # Its budget is 10 µs.
    assert (done.returncode, list(told["over_budget"])) == (1, ["Work.COUNT"])
    assert cli(base.path, slow.path, "--format", "markdown").stdout.startswith("###")


def test_budgets_of_the_command(make):
    base, slow = make(1), make(3, slower=1.5)
    done = cli(base.path, slow.path, "--fail-on", "budget")
    assert done.returncode == 1
    assert "▲ missed: Work.COUNT, p99 " in done.stdout
    assert ", budget 10.0 µs; 100 % of its calls exceed it" in done.stdout
    done = cli(base.path, slow.path, "--fail-on", "budget", "--format", "markdown")
    assert "#### Budgets\n\n- ▲ missed: `Work.COUNT`" in done.stdout
    assert "Budgets" in cli(base.path, slow.path).stdout
    assert "Budgets" not in cli(base.path, slow.path, "--fail-on", "regressed").stdout
    (row,) = json.loads(cli(base.path, slow.path, "--fail-on", "budget", "--format", "json").stdout)["budgets"]
    assert (row["operation"], row["verdict"], row["quantile"]) == ("Work.COUNT", "missed", 0.99)


@pytest.fixture
def cut_off(make):
    """A capture that ended before three calls had: of Work.READ for 3.2 s and for 1 s, of Work.`X, just begun."""

    def again(seed, state):
        capture = make(seed)
        (file,) = (capture.path / "processes").iterdir()
        stopped = 1_700_000_100 * 10**9
        last = capture.samples(columns=["start", "duration_ns"])
        until = stopped if state == "finished" else int((last["start"].astype("int64") + last["duration_ns"]).max())
        block = {"category": "Input", "thread": 1, "task": 0, "parent": 0, "weight": 1}
        blocks = [
            block | {"operation": "Work.READ", "start": until - 1_000_000_000, "span": 900_001},
            block | {"operation": "Work.READ", "start": until - 3_200_000_000, "span": 900_002},
            block | {"operation": "Work.`X", "start": None, "span": 900_003},
        ]
        told = {"state": state, "stopped_ns": stopped, "unfinished": blocks}
        file.write_text(json.dumps(json.loads(file.read_text()) | told))
        return qp.open(capture.path)

    return again


@pytest.mark.parametrize(("state", "said"), [("recovered", "killed"), ("finished", "stopped")])
def test_a_run_that_did_not_end_is_no_pass(make, cut_off, tmp_path, state, said):
    base, cut = make(1), cut_off(2, state)
    history = qp.History(tmp_path / "history")
    history.add(base)
    line = f"✗ CURRENT was {said}; 3 unfinished calls: Work.READ 2 times, for up to 3.2 s and Work.`X just started"
    failures = ["killed: Work.READ", "killed: Work.`X"] if said == "killed" else []
    for found in (cut.compare(base), history.check(cut)):
        assert found.regressions.empty
        assert [line for line in found.failures() if "budget" not in line] == failures
        assert found.failures(["unfinished"]) == ["unfinished: Work.READ", "unfinished: Work.`X"]
        assert found.failures(["regressed"]) == []
        assert found.to_text().splitlines()[0] == line
        assert found.to_markdown().splitlines()[2] == f"**{line.replace('Work.READ', '`Work.READ`')}**".replace(
            "Work.`X", "`Work.'X`"
        )
        assert f'<p class="warning">{line}</p>' in without_names(found._repr_html_())
    assert base.compare(cut).failures() == [], "what is judged is the current side"
    assert "not ended" not in base.compare(cut).to_text()
    both = make(3).compare(base, also=[cut])
    assert both.to_text().startswith(f"✗ A process of CURRENT was {said}; 3 unfinished calls")


def test_the_command_fails_on_a_run_that_did_not_end(make, cut_off):
    base, cut = make(1), cut_off(2, "recovered")
    done = cli(base.path, cut.path)
    assert (done.returncode, done.stdout.splitlines()[0][:23]) == (1, "✗ CURRENT was killed; 3")
    assert cli(base.path, cut.path, "--fail-on", "regressed").returncode == 0
    done = cli(base.path, cut.path, "--fail-on", "unfinished", "--format", "json")
    assert done.returncode == 1
    told = json.loads(done.stdout)["unfinished"]
    assert not told["still_recorded"]
    assert [(call["operation"], call["calls"]) for call in told["calls"]] == [("Work.READ", 2), ("Work.`X", 1)]
    assert {call["state"] for call in told["calls"]} == {"killed"}
    assert told["calls"][0]["elapsed_us"] == pytest.approx(3_200_000, rel=1e-2)
    assert told["calls"][1]["elapsed_us"] is None
    assert cli(cut.path, base.path, "--fail-on", "regressed,killed").returncode == 0


def test_what_is_still_recorded_is_told_and_does_not_fail(tmp_path):
    class Goes(qp.Operation):
        STEP = qp.op("A step")
        LONG = qp.op("Takes long")

    with qp.record(tmp_path / "capture"):
        for _ in range(100):
            with Goes.STEP:
                pass
        going = qp.open(tmp_path / "capture")
        with Goes.LONG:
            hanging = qp.open(tmp_path / "capture")
    ended = qp.open(tmp_path / "capture")
    said = "✗ CURRENT is still being recorded, so the run is incomplete"
    assert going.compare(ended).to_text().splitlines()[0] == said
    found = hanging.compare(ended)
    assert found.to_text().startswith(f"{said}; running for longer than any finished call: Goes.LONG for ")
    assert found.failures(["unfinished"]) == []
    assert "still recorded" not in ended.compare(ended).to_text()


def test_misuse_of_the_command(make, tmp_path):
    base = make(1)
    for arguments, said in (
        ((base.path, tmp_path / "none"), "does not exist"),
        ((f"{base.path},", base.path), "has an empty name; name captures as in captures/a,captures/b"),
        (("", base.path), "is empty"),
        ((base.path, base.path, "--fail-on", "slower"), "'slower' is not one of regressed"),
        ((base.path, base.path, "--fail-on", ""), "'' is not one of regressed"),
        ((base.path, base.path, "--fail-on", "none,regressed"), "'none' cannot be combined"),
        ((base.path, base.path, "--alpha", "nan"), "alpha must be a number between 0 and 0.5, not nan"),
        ((base.path, base.path, "--min-effect", "-1"), "min_effect must be"),
        ((base.path,), "required"),
    ):
        done = cli(*arguments)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr


# ---- history ---------------------------------------------------------------------------------------------------------


def test_a_history(make, tmp_path):
    history = qp.History(tmp_path / "baselines")
    with pytest.raises(CaptureError, match="no runs to compare with"):
        history.check(make(0))
    for seed in range(8):
        history.add(make(seed), label=f"commit {seed}")
    assert history.runs().groupby("operation").size().to_dict() == {"Work.COUNT": 8, "Work.READ": 8}
    assert len((tmp_path / "baselines" / "history.jsonl").read_text().splitlines()) == 8
    same, slow = history.check(make(100)), history.check(make(101, slower=1.3))
    assert same.regressions.empty
    assert set(slow.regressions["operation"]) == {"Work.READ"}
    assert slow.verdict == "regressed"
    few = qp.History(tmp_path / "few")
    few.add(make(1))
    assert set(few.check(make(2)).table["verdict"]) == {"too_few"}


@pytest.fixture
def starting(write_capture):  # noqa: F811 - the fixture
    """Captures of which the first samples of Work.READ take so many times as long; Work.COUNT misses its budget."""
    # They are no recordings that `make` made.
    numbers = itertools.count(0x1000)

    def again(seed, factor=1.0, cold=160):
        rng = np.random.default_rng(seed)
        duration = 50_000 * np.exp(0.3 * rng.standard_normal(8000))
        operation = np.arange(8000) % 2
        duration[: 2 * cold][operation[: 2 * cold] == 0] *= factor
        rows = {"start": np.arange(8000) * 100_000, "duration": duration.astype(np.int64), "operation": operation}
        return qp.open(write_capture([rows], name=f"{next(numbers):08x}"))

    return again


def test_a_run_counts_once_in_a_history(make, tmp_path):
    history = qp.History(tmp_path / "history")
    first, second = make(1), make(2)
    history.add(first, label="main")
    history.add(second)
    copy = shutil.copytree(first.path, tmp_path / "copy")
    for again in (first, qp.open(copy), qp.open([make(3).path, first.path])):
        with pytest.raises(ValueError, match=r"is already in .*history, as 'main'; a run counts once"):
            history.add(again, label="branch")
    assert history.runs()["run"].nunique() == 2
    assert len(json.loads((history.path / "history.jsonl").read_text().splitlines()[0])["recordings"]) == 1


def test_lines_of_earlier_versions_do_not_name_their_recordings(make, tmp_path):
    history, capture = qp.History(tmp_path / "history"), make(1)
    history.add(capture)
    file = history.path / "history.jsonl"
    entry = json.loads(file.read_text())
    del entry["recordings"]
    file.write_text(json.dumps(entry) + "\n")
    history.add(capture)
    assert history.runs()["run"].nunique() == 2
    for wrong in ("1-abcd", [1], None):
        file.write_text(json.dumps(entry | {"recordings": wrong}) + "\n")
        with pytest.raises(CaptureError, match="line 1: this is not a run"):
            history.add(capture)


def test_a_history_sets_warm_up_aside(starting, tmp_path):
    history = qp.History(tmp_path / "baselines")
    for seed in range(5):
        history.add(starting(seed, factor=3 if seed == 2 else 1))
    cold = starting(9, factor=6)
    found = history.check(cold)
    assert found.regressions.empty
    assert found.warmup[["side", "run", "operation"]].to_numpy().tolist() == [
        ["baseline", 2, "Work.READ"],
        ["current", 0, "Work.READ"],
    ]
    assert found.warmup["set_aside"].between(80, 320).all()
    assert found.warmup["samples"].tolist() == [4000, 4000]
    assert "Excluded as warm-up" in found.summary
    everything = history.check(cold, skip_warmup=False)
    assert everything.warmup.empty
    assert everything.table.set_index(["operation", "quantile"]).loc[("Work.READ", 0.99), "change"] > 0.5
    own = cold.compare(starting(0)).table.set_index(["operation", "quantile"])["current_us"]
    settled = found.table.set_index(["operation", "quantile"])["current_us"]
    pd.testing.assert_series_equal(settled, own, rtol=1e-4, obj="quantiles of the same samples")
    kept, whole = (history.runs(skip_warmup=skip).set_index(["run", "operation"])["p99_us"] for skip in (True, False))
    assert kept.index[kept < whole].tolist() == [(2, "Work.READ")]
    assert kept.index[kept > whole].tolist() == []


def test_runs_of_earlier_versions_are_compared_with_all_calls(starting, tmp_path):
    history = qp.History(tmp_path)
    for seed in range(4):
        history.add(starting(seed))
    file = tmp_path / "history.jsonl"
    first, *others = map(json.loads, file.read_text().splitlines())
    del first["warmup"]
    file.write_text("".join(f"{json.dumps(one)}\n" for one in (first, *others)))
    cold = starting(9, factor=6)
    assert history.check(cold).warmup.empty
    assert len(history.check(cold, recent=3).warmup) == 1, "the newer ones have looked for it"


def test_a_history_says_what_a_build_fails_on(starting, make, tmp_path):
    history = qp.History(tmp_path)
    for seed in range(5):
        history.add(starting(seed))
    found = history.check(make(20, slower=1.5))
    assert found.budgets["verdict"].to_dict() == {"Work.COUNT": "missed"}
    assert found.failures() == ["regressed: Work.READ", "missed budget: Work.COUNT"]
    assert found.failures(["improved"]) == []
    assert "Budgets\n  ▲ missed: Work.COUNT, p99 " in found.to_text()
    assert "#### Budgets\n\n- ▲ missed: `Work.COUNT`, p99 " in found.to_markdown()
    assert "<li>▲ missed: Work.COUNT, p99 " in without_names(found._repr_html_())
    with pytest.raises(ValueError, match=r"fail_on must contain only 'regressed', .*, not 'slower'"):
        found.failures(["slower"])
    for wrong in ({"recent": 0}, {"recent": True}, {"alpha": 1}, {"min_effect": -1}):
        with pytest.raises(ValueError, match="must be"):
            history.check(make(20), **wrong)


def test_quantiles_of_what_has_settled_count_calls():
    """Against every call written out."""
    from quantum_pulse.analysis import history

    rng = np.random.default_rng(3)
    durations = (50_000 * np.exp(0.3 * rng.standard_normal(4000))).astype(np.int64)
    durations[:150] *= 5
    weights = rng.integers(1, 5, 4000).astype(np.int32)
    levels = {"p50_us": 0.5, "p99_us": 0.99, "p100_us": 1.0}
    found = history.settled([(durations, weights), (durations[150:], weights[150:])], levels)
    first = found["set_aside"]
    assert 75 < first < 300
    assert found["samples"] == 4000 + 3850
    calls = np.concatenate([np.repeat(durations[own:], weights[own:]) for own in (first, 150)])
    assert [found[name] * 1000 for name in levels] == pytest.approx(np.quantile(calls, list(levels.values())))
    assert history.settled([(durations[150:], weights[150:])], levels) is None


def test_change_points_of_a_history(make, tmp_path):
    history = qp.History(tmp_path / "baselines")
    for seed in range(24):
        history.add(make(seed, slower=1.0 if seed < 12 else 1.3, count=500), label=f"commit {seed}")
    found = history.change_points(quantiles=[0.5])
    assert found["operation"].tolist() == ["Work.READ"]
    assert found["label"].tolist() == ["commit 12"]
    assert found["kind"].tolist() == ["step"]
    assert found["change"].iloc[0] == pytest.approx(0.3, abs=0.1)
    with pytest.raises(ValueError, match="quantiles must be of"):
        history.change_points(quantiles=[0.9])


def test_a_history_that_drifts(make, tmp_path):
    history = qp.History(tmp_path / "baselines")
    for seed in range(24):
        history.add(make(seed, slower=1 + 0.02 * seed, count=500), label=f"commit {seed}")
    found = history.change_points(quantiles=[0.5])
    assert found[["operation", "kind", "label"]].to_numpy().tolist() == [["Work.READ", "drift", "commit 0"]]
    assert found["change"].iloc[0] == pytest.approx(0.46, abs=0.1)


def test_a_history_that_was_damaged(make, tmp_path):
    history = qp.History(tmp_path)
    history.add(make(1))
    with open(tmp_path / "history.jsonl", "a") as file:
        file.write("<<<<<<< HEAD\n")
    with pytest.raises(CaptureError, match="line 2: this is not a run"):
        history.runs()


def test_false_alarms_of_a_history_are_rare():
    """The rate is that of its alpha; so many trials would show twice that."""
    from quantum_pulse.analysis import history

    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(300):
        series = {
            ("Op", level): (np.exp(0.1 * rng.standard_normal(6)).tolist(), float(np.exp(0.1 * rng.standard_normal())))
            for level in (0.5, 0.95, 0.99)
        }
        rows = history.check(series, min_effect=0)
        alarms += any(row[-1] in ("regressed", "improved") for row in rows)
    assert alarms / 300 < 0.09


def test_what_became_of_the_operations(make):
    slow, base = make(3, slower=1.5, count=6000), make(1)
    found = slow.compare(base)
    category = next(category for category, name in found.after.index if name == "Work.READ")
    row = found.decomposition.loc[category]
    assert row["calls_us"] == pytest.approx(0.2 * row["baseline_us"]), "a fifth more calls"
    assert row["durations_us"] == pytest.approx(6000 * 26, rel=0.1), "half of 52 µs longer"
    assert row["mix_us"] == pytest.approx(0, abs=1e-3)
    worst = found.slowest_operations(1)
    assert worst.index.tolist() == [(category, "Work.READ")]
    assert worst["verdict"].tolist() == ["differs"]
    assert worst["change"].iloc[0] == pytest.approx(0.5, abs=0.05)
    assert found.slowest_operations(min_mean_us=1e9).empty
    text = found.improvement_report()
    assert "Work.READ: 52" in text
    assert "≠ differs" in text
    assert re.search(
        r"^Work\.READ: mean 5\d\.\d µs → \d+\.\d µs \(\+5\d %\), p50 .*, p99 .*; errors 0.0 % → 0.0 %$", text, re.M
    )
    assert "no significant change" in text
    assert "Total measured time per run:" in text
    assert "≠ differs" in base.compare(slow).improvement_report()
    together = qp.open([base.path, make(2).path])
    assert together.compare(base).after["count"].tolist() == base.compare(base).after["count"].tolist(), "of one run"


def test_a_history_knows_no_calls(make, tmp_path):
    history = qp.History(tmp_path)
    for seed in range(3):
        history.add(make(seed), label=str(seed))
    with pytest.raises(ValueError, match="only a comparison of captures"):
        history.check(make(4)).improvement_report()


def test_a_capture_counts_once_on_a_side(tmp_path):
    class Once(qp.Operation):
        STEP = qp.op("A step")

    for name in ("a", "b"):
        with qp.record(tmp_path / name):
            for _ in range(100):
                with Once.STEP:
                    pass
    a, b = (qp.open(tmp_path / name) for name in ("a", "b"))
    with pytest.raises(ValueError, match="a is given twice on one side"):
        b.compare([a, qp.open(tmp_path / "a")])
    with pytest.raises(ValueError, match="b is given twice on one side"):
        b.compare(a, also=[qp.open([tmp_path / "b", tmp_path / "a"])])


def test_arguments_of_a_history_that_are_none(make, tmp_path):
    history = qp.History(tmp_path / "runs")
    for wrong in (5, "captures/a", None):
        with pytest.raises(TypeError, match="a history is made of captures, as qp"):
            history.add(wrong)
    assert not history.path.exists()
    capture = make(1)
    history.add(capture)
    for options, said in (
        ({"recent": 0}, "recent must be a whole number of at least 1, not 0"),
        ({"recent": "x"}, "recent must be a whole number of at least 1, not 'x'"),
        ({"min_effect": -2}, "min_effect must be a share, a number of 0 or more, not -2"),
        ({"alpha": float("nan")}, "alpha must be a number between 0 and 0.5, not nan"),
    ):
        with pytest.raises(ValueError, match=said):
            history.check(capture, **options)
    with pytest.raises(TypeError, match="path must be a path, such as 'baselines/', not None"):
        qp.History(None)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        qp.History(tmp_path / "file").add(capture)
    with pytest.raises(CaptureError, match="cannot be read: Not a directory"):
        qp.History(tmp_path / "file").runs()


@pytest.mark.parametrize(
    "operations",
    [
        '{"Work.READ": 5}',
        '{"Work.READ": {}}',
        "[]",
        '{"Work.READ": {"count": "x", "p50_us": 1, "p95_us": 1, "p99_us": 1}}',
    ],
)
def test_a_line_of_a_history_that_makes_no_sense(tmp_path, operations):
    line = f'{{"label": "a", "added": "2026-01-01T00:00:00Z", "operations": {operations}}}\n'
    (tmp_path / "history.jsonl").write_text(line)
    with pytest.raises(CaptureError, match="line 1: this is not a run"):
        qp.History(tmp_path).runs()
    (tmp_path / "history.jsonl").write_text(line.replace("2026-01-01T00:00:00Z", "lately").replace(operations, "{}"))
    with pytest.raises(CaptureError, match="line 1: this is not a run"):
        qp.History(tmp_path).runs()

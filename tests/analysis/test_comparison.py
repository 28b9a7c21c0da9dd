import math

import numpy as np
import pytest

from quantum_pulse import analysis
from quantum_pulse.analysis import history
from quantum_pulse.analysis.compared import COLUMNS, directed
from quantum_pulse.analysis.comparison import RunVariation
from quantum_pulse.analysis.dependence import variance_inflation
from quantum_pulse.analysis.significance import benjamini_hochberg, student_quantile, student_tail


def lognormal(rng, count):
    return 50_000 * np.exp(0.3 * rng.standard_normal(count))


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def test_student_tail_agrees_with_summing_its_density():
    for freedom in (1, 4, 32.5, 400):
        edges = np.linspace(0, 2.5, 20_001)
        log_scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(freedom * math.pi) / 2
        density = np.exp(log_scale - (freedom + 1) / 2 * np.log1p(edges**2 / freedom))
        below = np.sum((density[1:] + density[:-1]) / 2) * (edges[1] - edges[0])
        assert student_tail(2.5, freedom) == pytest.approx(0.5 - below, abs=1e-8)
        assert student_tail(student_quantile(0.001, freedom), freedom) == pytest.approx(0.001, rel=1e-9)


def test_q_values_by_their_definition(rng):
    p = rng.random(50)
    ordered = sorted(p)
    for value, q in zip(p, benjamini_hochberg(p), strict=True):
        oracle = min(other * 50 / (rank + 1) for rank, other in enumerate(ordered) if other >= value)
        assert q == pytest.approx(min(oracle, 1))
    assert np.isnan(benjamini_hochberg([0.01, np.nan])[1])
    assert benjamini_hochberg([0.01, np.nan])[0] == 0.01


def test_variance_inflation_agrees_with_shares_of_many_runs(rng):
    noise = rng.standard_normal((4000, 400))
    for row in range(1, 4000):
        noise[row] = 0.8 * noise[row - 1] + 0.6 * noise[row]
    hits = noise > 1
    share = hits.mean()
    true = 4000 * hits.mean(axis=0).var() / (share * (1 - share))
    found = np.mean([variance_inflation(column)[0] for column in hits.T])
    assert true * 0.85 < found < true * 1.35


def test_a_slower_operation_is_found_and_the_others_are_not(rng):
    before = [{name: lognormal(rng, 5000) for name in "abc"} for _ in range(3)]
    factors = {"a": 1.2, "b": 1 / 1.2, "c": 1}
    after = [{name: factor * lognormal(rng, 5000) for name, factor in factors.items()} for _ in range(3)]
    found = analysis.compare_samples(before, after)
    assert tuple(found.table.columns) == COLUMNS
    verdicts = found.table.set_index(["operation", "quantile"])["verdict"]
    assert verdicts["a", 0.5] == "regressed"
    assert verdicts["b", 0.5] == "improved"
    assert verdicts["c", 0.5] == "equivalent"
    assert set(found.regressions["operation"]) == {"a"}
    assert set(found.improvements["operation"]) == {"b"}
    assert found.verdict == "regressed"
    assert "one run per side" not in found.summary
    rows = found.table
    assert ((rows["ci_low"] <= rows["change"]) & (rows["change"] <= rows["ci_high"])).all()
    assert rows["baseline_us"][0] == pytest.approx(
        np.quantile(np.concatenate([run["a"] for run in before]), 0.5) / 1000
    )


def test_one_run_per_side_differs_and_says_no_more(rng):
    before = {name: lognormal(rng, 5000) for name in "abc"}
    after = {"a": 1.2 * lognormal(rng, 5000), "b": lognormal(rng, 5000) / 1.2, "c": lognormal(rng, 5000)}
    found = analysis.compare_samples(before, after)
    verdicts = found.table.set_index(["operation", "quantile"])["verdict"]
    assert (verdicts["a", 0.5], verdicts["b", 0.5], verdicts["c", 0.5]) == ("differs", "differs", "equivalent")
    assert found.verdict == "differs"
    assert found.regressions.empty
    assert found.improvements.empty
    assert found.failures() == []
    assert found.failures(["differs"]) == ["differs: a", "differs: b"]
    assert "record 5 runs per side" in found.summary
    assert directed(found.table).set_index(["operation", "quantile"])["verdict"]["b", 0.5] == "improved"


def test_a_history_says_how_much_runs_differ(rng):
    before, after = {"a": lognormal(rng, 5000)}, {"a": 1.2 * lognormal(rng, 5000)}
    words = {}
    for deviation in (0.01, 0.2):
        known = {("a", 0.5): RunVariation(deviation**2, 9)}
        found = analysis.compare_samples(before, after, quantiles=[0.5], variation=known)
        words[deviation] = found.verdict
        row = found.table.iloc[0]
        width = student_quantile(0.025, 9) * np.sqrt(2) * deviation
        assert np.log1p(row["ci_high"]) >= np.log1p(row["change"]) + width * 0.999
        assert found.between_runs
        assert found.history_runs == 10
    assert words == {0.01: "regressed", 0.2: "inconclusive"}


def test_a_history_keeps_false_alarms_rare(rng):
    """Runs of one program that differ by 10 % as a whole and by 5 % in each operation: one, two and three a side."""
    for runs, most in ((1, 5), (2, 5), (3, 5)):
        alarms = 0
        for _ in range(40):

            def recorded():
                shared = 0.1 * rng.standard_normal()
                return {str(n): lognormal(rng, 300) * np.exp(shared + 0.05 * rng.standard_normal()) for n in range(12)}

            past = {}
            for run in (recorded() for _ in range(10)):
                for name, durations in run.items():
                    past.setdefault((name, 0.5), []).append(float(np.median(durations)))
            sides = [[recorded() for _ in range(runs)] for _ in range(2)]
            found = analysis.compare_samples(*sides, quantiles=[0.5], variation=history.variation(past))
            alarms += bool({"regressed", "improved"} & set(found.table["verdict"]))
        assert alarms <= most


def test_added_removed_and_too_few():
    found = analysis.compare_samples(
        {"gone": [5, 6], "both": range(1, 101), "empty": []}, {"new": [5], "both": range(1, 101)}
    )
    verdicts = found.table.set_index(["operation", "quantile"])["verdict"]
    assert set(verdicts["gone"]) == {"removed"}
    assert set(verdicts["new"]) == {"added"}
    assert verdicts["both", 0.99] == "too_few"
    assert verdicts["both", 0.5] != "too_few"
    assert "empty" not in verdicts


def test_ties_gaps_and_zeros(rng):
    ticks = np.where(rng.random(4000) < 0.9, 100, 140)
    found = analysis.compare_samples({"a": ticks}, {"a": np.where(ticks == 100, 110, 150)}, quantiles=[0.5])
    assert found.table["verdict"].tolist() == ["differs"]
    assert found.table["change"][0] == pytest.approx(0.1)
    same = analysis.compare_samples({"a": np.zeros(2000)}, {"a": np.zeros(2000)})
    assert set(same.table["verdict"]) == {"equivalent"}


def test_runs_that_differ_make_it_cautious(rng):
    shifts = [0.9, 1.0, 1.1]
    before = [{"a": shift * lognormal(rng, 5000)} for shift in shifts]
    after = [{"a": 1.1 * shift * lognormal(rng, 5000)} for shift in shifts]
    assert analysis.compare_samples(before[1], after[1]).verdict == "differs"
    several = analysis.compare_samples(before, after)
    assert several.verdict == "inconclusive"
    assert "One run" not in several.summary
    assert analysis.compare_samples(before, [{"a": 9 * run["a"]} for run in after]).verdict == "regressed"
    assert analysis.compare_samples(before, after[1]).between_runs


def test_same_against_same_raises_no_alarm(rng):
    alarms = 0
    for _ in range(10):
        sides = [{str(n): lognormal(rng, 600) for n in range(20)} for _ in range(2)]
        alarms += analysis.compare_samples(*sides, min_effect=0).verdict == "differs"
    assert alarms <= 1


@pytest.mark.parametrize(
    ("baseline", "options", "error"),
    [
        ({"a": [-1.0]}, {}, ValueError),
        ({"a": [np.nan]}, {}, ValueError),
        ({"a": [[1, 2]]}, {}, ValueError),
        ({"a": ["x"]}, {}, ValueError),
        ([], {}, ValueError),
        ("a", {}, TypeError),
        ([[1, 2]], {}, TypeError),
        ({"a": [1]}, {"quantiles": [1.0]}, ValueError),
        ({"a": [1]}, {"alpha": 0}, ValueError),
        ({"a": [1]}, {"min_effect": -0.1}, ValueError),
    ],
)
def test_bad_input(baseline, options, error):
    with pytest.raises(error):
        analysis.compare_samples(baseline, {"a": [1, 2, 3]}, **options)


@pytest.mark.parametrize("runs", [1, 3])
def test_verdicts_and_intervals_never_contradict(rng, runs):
    """In tables of which much changed, little, or nothing."""
    margin = 0.05
    seen = set()
    for factors in (np.ones(30), np.where(np.arange(30) < 2, 1.5, 1), rng.uniform(0.8, 1.25, 30)):
        sizes = rng.integers(60, 4000, 30)

        def side(factors=factors, sizes=sizes, own=1.0):
            return [
                {f"op{n:02d}": own * factors[n] * rng.lognormal(10, 0.2, size) for n, size in enumerate(sizes)}
                for _ in range(runs)
            ]

        before = [{name: values / factors[int(name[2:])] for name, values in run.items()} for run in side()]
        table = analysis.compare_samples(before, side(), min_effect=margin).table
        for row in table.to_dict("records"):
            if row["verdict"] == "too_few":
                continue
            seen.add(row["verdict"])
            assert row["ci_low"] <= row["change"] <= row["ci_high"]
            low, high = 1 + row["ci_low"], 1 + row["ci_high"]
            changed = low > (1 + margin) * (1 - 1e-3) or high < (1 + 1e-3) / (1 + margin)
            if row["verdict"] in ("regressed", "improved", "differs"):
                assert changed
            elif row["verdict"] == "equivalent":
                assert low > 1 / (1 + margin) * (1 - 1e-3)
                assert high < (1 + margin) * (1 + 1e-3)
            else:
                beyond = low > 1 + margin or high < 1 / (1 + margin)
                within = low > 1 / (1 + margin) and high < 1 + margin
                assert (beyond, within) == (False, False)
    assert {"equivalent", "inconclusive"} < seen

"""Charts: what they show is what the statistics say."""

import numpy as np
import pandas as pd
import pytest

import quantum_pulse as qp
from quantum_pulse.operations import Category
from quantum_pulse.statistics import COLUMNS
from quantum_pulse.view import figures


@pytest.fixture
def stats():
    rows = [("Fast", "Op.A", 1.0), ("Fast", "Op.小さい $x$", 2.0), ("Slow", "Op.<b>", 0.0)]
    frame = pd.DataFrame(
        [(c, o, *(v * (n + 1) for n in range(len(COLUMNS)))) for c, o, v in rows],
        columns=["category", "operation", *COLUMNS],
    )
    return frame.set_index(["category", "operation"])


def lines(figure):
    return [tuple(np.ravel(line.get_xdata())) for line in figure.axes[0].lines]


def test_latency_shows_what_the_statistics_say(stats):
    budgets = pd.DataFrame({"budget_us": [42.0]}, index=pd.Index(["Op.A"], name="operation"))
    figure = figures.latency(stats, {"Fast": Category("Fast", colour="#123456")}, budgets)
    row = stats.loc[("Fast", "Op.A")]
    drawn = lines(figure)
    for expected in [(row.min_us, row.max_us), (row.p50_us, row.p99_us), (row.p50_us,), (42.0,)]:
        assert expected in drawn
    assert len(drawn) == 3 * 3 + 1
    assert "#123456" in {line.get_color() for line in figure.axes[0].lines}
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert sorted(labels) == sorted(["Op.A", r"Op.小さい \$x\$", "Op.<b>"])


@pytest.mark.filterwarnings("ignore:Glyph")  # this machine's font may not have it
@pytest.mark.parametrize("count", [0, 1, 60])
def test_latency_can_be_drawn(stats, tmp_path, count):
    some = pd.concat([stats.iloc[:1].rename(index={"Op.A": f"Op.N{n}"}) for n in range(count)] or [stats.iloc[:0]])
    figures.latency(some).savefig(tmp_path / "chart.png")
    figures.latency(stats).savefig(tmp_path / "all.svg")
    assert (tmp_path / "chart.png").stat().st_size > 1000


def test_plot_of_a_capture(tmp_path):
    class Charted(qp.Operation):
        STEP = qp.op("A step", budget_us=0.001)
        FREE = qp.op("Without a budget")

    with qp.record(tmp_path / "capture"):
        for member in (Charted.STEP, Charted.STEP, Charted.FREE):
            with member:
                pass
    capture = qp.open(tmp_path / "capture")
    assert capture.losses().empty
    chart = capture.plot()
    assert len(lines(chart)) == 3 * 2 + 1
    assert chart._repr_png_().startswith(b"\x89PNG")
    budgets = capture.budgets(check=False)
    assert budgets.index.tolist() == ["Charted.STEP"]
    assert budgets.loc["Charted.STEP"].tolist() == [0.001, 2, 2, 1.0, 0, 0.99]


def test_a_capture_without_budgets(tmp_path):
    class Budgetless(qp.Operation):
        STEP = qp.op()

    with qp.record(tmp_path / "capture"), Budgetless.STEP:
        pass
    capture = qp.open(tmp_path / "capture")
    assert capture.budgets().empty
    assert list(capture.budgets(check=False).columns) == [
        "budget_us",
        "count",
        "over",
        "share",
        "open_over",
        "quantile",
    ]
    assert capture.losses().empty
    assert len(lines(capture.plot())) == 3

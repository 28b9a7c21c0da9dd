"""The explorer without a browser: what its pages say, where its steps lead, and what it makes of odd captures."""

import re
import warnings

import pytest

import quantum_pulse as qp
from quantum_pulse.explorer import model as explorer_model
from quantum_pulse.explorer import widget
from quantum_pulse.explorer.places import Place, RefusedError, follow
from quantum_pulse.reading import scan
from quantum_pulse.view import budgets
from tests.view import captures
from tests.view.captures import SLOW_EXCHANGE


@pytest.fixture(autouse=True)
def nothing_remembered():
    widget._memories.clear()
    yield
    widget._memories.clear()


def finished(explorer):
    """`explorer`, when it has looked at all there is."""
    worker = explorer._worker
    if worker is not None:
        worker.join(60)
    return explorer


def explore(path, baseline=None):
    return finished(qp.open(path).explore(baseline))


def step(explorer, asked):
    explorer._on_message(explorer.widget, asked, None)
    return text(finished(explorer))


def text(explorer):
    """What the page says."""
    return " ".join(re.sub(r"<svg.*?</svg>|<[^>]*>", " ", explorer.widget.page, flags=re.DOTALL).split())


def number_of(explorer, name):
    return f"op-{explorer._model.names.index(name)}"


def test_from_all_operations_to_a_call_and_back():
    explorer = explore(SLOW_EXCHANGE)
    assert "Engine.SUBMIT was slow from 1.05 s to 1.85 s" in text(explorer)
    page = step(explorer, {"to": number_of(explorer, "Engine.SUBMIT")})
    assert "Over the wire to the exchange and back" in page
    assert "Parents and children" in page
    begin = explorer._model.begin_ns
    page = step(explorer, {"begin": str(begin + 1_200_000_000), "end": str(begin + 1_500_000_000)})
    assert "Engine.SUBMIT from +1.200 s to +1.500 s" in page
    assert "cpu_process_percent" in page, "what differs from the rest of the time"
    page = step(explorer, {"to": "call-1"})
    assert "ancestor" in page
    assert "faster call" in page
    for expected in ("Engine.SUBMIT from", "Over the wire", "All operations"):
        assert expected in step(explorer, {"to": "back"})
    assert 'class="back" disabled' in explorer.widget.page


def test_an_interval_counts_what_the_statistics_count():
    explorer = explore(SLOW_EXCHANGE)
    capture = qp.open(SLOW_EXCHANGE)
    step(explorer, {"to": number_of(explorer, "Engine.ORDER")})
    begin = explorer._model.begin_ns + 1_000_000_000
    page = step(explorer, {"begin": str(begin), "end": str(begin + 500_000_000)})
    from quantum_pulse.demo.operations import Engine

    starts = capture.samples(Engine.ORDER)["start"].astype("int64")
    expected = int(((starts >= begin) & (starts < begin + 500_000_000)).sum())
    assert f"calls {expected}" in page


def test_budgets_go_by_their_verdict():
    explorer = explore(SLOW_EXCHANGE)
    rows = qp.open(SLOW_EXCHANGE).budgets()
    assert set(rows["verdict"]) == {"kept", "missed", "inconclusive", "too_few"}
    page = explorer.widget.page.replace("&lt;", "<")
    for name, row in rows.to_dict("index").items():
        assert f'title="{budgets.details(row)}">{budgets.word(row)}</td>' in page, name
    assert len(re.findall(r'<td[^>]*class="[^"]*bad[^"]*"[^>]*>missed</td>', explorer.widget.page)) == 2, "those missed"
    page = step(explorer, {"to": number_of(explorer, "Engine.FEED_MESSAGE")})
    assert "budget 200 µs p99 within budget kept calls over budget < 0.1 %" in page.replace("&lt;", "<")
    begin = explorer._model.begin_ns
    page = step(explorer, {"begin": str(begin), "end": str(begin + 500_000_000)})
    assert "budget 200 µs" in page
    assert "within budget" not in page, "the verdict is on all calls"


def test_errors_are_told_apart():
    explorer = explore(SLOW_EXCHANGE)
    page = step(explorer, {"to": number_of(explorer, "Engine.RISK_VAR")})
    assert "LimitBreached 204" in page


def test_against_a_baseline():
    explorer = explore(SLOW_EXCHANGE, captures.ENGINE)
    assert "Compared with the baseline" in text(explorer)
    step(explorer, {"to": number_of(explorer, "Engine.SUBMIT")})
    assert 'class="before"' in explorer.widget.page, "its distribution is drawn over this one"


def test_a_cell_that_runs_again_goes_on_where_one_was():
    explorer = explore(SLOW_EXCHANGE)
    step(explorer, {"to": "op-3"})
    explorer.widget.tables = {"All operations / x": {"wanted": "risk"}}
    again = explore(SLOW_EXCHANGE)
    assert again._here == explorer._here != Place()
    assert again.widget.tables == explorer.widget.tables


@pytest.mark.parametrize(
    "asked",
    [
        {"to": "op-99999"}, {"to": "op--1"}, {"to": "call-0"}, {"to": "nowhere"}, {"to": 7}, {}, None, "op-1",
        {"begin": "1"}, {"low": "1", "high": "2"}, {"to": "op-9", "begin": "1", "end": "2"},
        {"begin": "9", "end": "3"}, {"begin": "x", "end": "y"}, {"to": "step-1"},
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused(asked):
    with pytest.raises(RefusedError):
        follow(Place(), asked, ["A.B"], 0)


def test_a_page_that_asks_for_nonsense_stays_as_it_is():
    explorer = explore(captures.ENGINE)
    before = explorer.widget.page
    assert step(explorer, {"to": "op-99999"})
    assert explorer.widget.page == before


def test_footers_first(monkeypatch):
    monkeypatch.setattr(explorer_model, "_FEW_SAMPLES", 1000)

    def read(*_):
        raise AssertionError("samples are read before the first page stands")

    with monkeypatch.context() as patched:
        patched.setattr(scan, "each", read)
        model = explorer_model.ExplorerModel(qp.open(SLOW_EXCHANGE)._source, None, lambda: None)
    assert model.overview.is_rough
    exact = qp.open(SLOW_EXCHANGE).stats()
    rough = model.overview.stats.loc[exact.index]
    assert (rough["count"] == exact["count"]).all()
    assert ((rough["p99_us"] / exact["p99_us"] - 1).abs() < 0.02).all()
    place = Place("Engine.SUBMIT")
    first = model.view(place, rough=True)
    assert (first.is_rough, first.slowest) == (True, None)
    whole = model.view(place, rough=False)
    assert (whole.is_rough, len(whole.slowest)) == (False, explorer_model.SLOW_CALLS)
    assert model.view(place, rough=True) is whole, "what is known better stays"


@pytest.mark.parametrize("kind", captures.KINDS, ids=lambda kind: kind.__name__)
def test_odd_captures(kind, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explorer = explore(kind(tmp_path / "capture"))
        page = explorer.widget.page
        assert "Nothing here" not in page
        for asked in ({"to": "op-0"}, {"to": "call-0"}):
            step(explorer, asked)
            assert "Nothing here" not in explorer.widget.page
            page += explorer.widget.page
        page += explorer._static()
    assert not re.search(r"\bnan\b|>None<", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL))
    assert "<script" not in page
    assert "<img" not in page
    assert "\u202e" not in page
    expected = {
        captures.without_metrics: "No system metrics were recorded",
        captures.with_losses: "12 samples are missing",
        captures.one_sample: "It runs inside no other operation",
        captures.only_errors: "KeyError",
    }
    assert expected.get(kind, "") in page


def test_it_shows_itself_without_a_notebook_too(capsys):
    explorer = explore(captures.ENGINE)
    explorer._ipython_display_()
    assert "displays in a notebook" in capsys.readouterr().out

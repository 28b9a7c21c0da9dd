"""`Capture.operations`: the operations of a capture for whoever does not have the enums."""

import copy
import pickle
import re
from collections.abc import Mapping

import pandas as pd
import pytest
from IPython.core.completer import IPCompleter, provisionalcompleter

import quantum_pulse as qp
from quantum_pulse.errors import UnknownOperationError
from quantum_pulse.operations import Category, Definition
from tests.reading.conftest import write_capture  # noqa: F401 - a fixture
from tests.recorder.work import forget_unused


class Shop(qp.Operation):
    SELL = qp.op("Selling <tea>", category="Counter", budget_us=50, expect_us=(1, 1000))
    WRAP = qp.op("Wrapping it", category="Counter")


class Store(qp.Operation):
    FETCH = qp.op()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A capture in which each call of SELL holds one of WRAP, and FETCH runs by itself."""
    path = tmp_path_factory.mktemp("operations") / "capture"
    with qp.record(path, metrics_interval_s=0.01):
        for _ in range(1000):
            with Shop.SELL, Shop.WRAP:
                pass
            with Store.FETCH:
                pass
    forget_unused(path)
    return path


@pytest.fixture
def capture(path):
    return qp.open(path)


def test_by_name_and_by_attribute(capture):
    operations = capture.operations
    assert isinstance(operations, Mapping)
    assert list(operations) == ["Shop.SELL", "Shop.WRAP", "Store.FETCH"]
    assert operations["Shop.SELL"] == operations.Shop.SELL == operations.Shop["SELL"] == operations.Shop["Shop.SELL"]
    assert list(operations.Shop) == ["Shop.SELL", "Shop.WRAP"]
    assert (len(operations), len(operations.Shop), len(operations.Store)) == (3, 2, 1)
    assert "Shop.SELL" in operations
    assert "WRAP" in operations.Shop
    assert "Store.FETCH" not in operations.Shop
    assert "Shop" not in operations
    assert operations.get("Shop.PAY") is None
    assert operations.Shop == {name: name for name in ("Shop.SELL", "Shop.WRAP")}


def test_it_is_read_only(capture):
    with pytest.raises(TypeError):
        capture.operations["Shop.PAY"] = capture.operations["Shop.SELL"]


ONE = {
    "samples": lambda capture, chosen: capture.samples(chosen),
    "iter_samples": lambda capture, chosen: pd.concat(capture.iter_samples(chosen)),
    "stats": lambda capture, chosen: capture.stats(operations=chosen, include_empty=True),
    "timeline": lambda capture, chosen: capture.timeline("10ms", chosen),
    "tree": lambda capture, chosen: capture.tree(chosen),
    "slowest": lambda capture, chosen: capture.slowest(5, chosen).table,
    "validate": lambda capture, chosen: capture.validate(chosen),
    "overhead": lambda capture, chosen: capture.overhead(chosen),
    "correlate": lambda capture, chosen: capture.correlate("1ms", operations=chosen).table,
    "compare": lambda capture, chosen: capture.compare(capture, operations=chosen).table,
    "contrast": lambda capture, chosen: capture.contrast(0, 0.001, operations=chosen).table,
}


@pytest.mark.parametrize("ask", ONE.values(), ids=ONE)
def test_accepted_as_members_are(capture, ask):
    operations = capture.operations
    for members, recorded in (
        (Shop.WRAP, operations["Shop.WRAP"]),
        ([Shop.SELL, Store.FETCH], [operations.Shop.SELL, operations["Store.FETCH"]]),
        (Shop, operations.Shop),
        ([*Shop, *Store], operations),
    ):
        expected = ask(capture, members)
        assert len(expected)
        pd.testing.assert_frame_equal(ask(capture, recorded), expected)


def test_accepted_where_there_is_one(capture):
    pd.testing.assert_frame_equal(capture.heatmap(capture.operations.Shop.SELL), capture.heatmap(Shop.SELL))
    chosen = capture.contrast(0, 0.001, chosen_by=capture.operations.Shop)
    assert chosen.chosen_by == ("Shop.SELL", "Shop.WRAP")
    expected = capture.stats(expected_interval_us={Shop.SELL: 0.1})
    assert expected.loc[("Counter", "Shop.SELL"), "count"] > 1000
    found = capture.stats(expected_interval_us={capture.operations.Shop.SELL: 0.1})
    pd.testing.assert_frame_equal(found, expected)


def test_accepted_by_exports(capture, tmp_path):
    for name, chosen in (("recorded", capture.operations.Shop), ("members", Shop)):
        assert capture.export(tmp_path / f"{name}.csv", operations=chosen).rows == 2000
    assert (tmp_path / "recorded.csv").read_bytes() == (tmp_path / "members.csv").read_bytes()


def test_accepted_by_other_captures(capture, write_capture):  # noqa: F811 - the fixture
    """What ran in one of two captures is asked of both."""
    other = qp.open(write_capture([[{"duration": 5}]]))
    assert other.samples(capture.operations.Shop).empty
    assert set(capture.compare(other, operations=capture.operations.Shop).table["verdict"]) == {"added"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Shop.SEL", "no operation 'Shop.SEL' is in this capture; did you mean Shop.SELL?"),
        ("fetch", "no operation 'fetch' is in this capture; did you mean Store.FETCH?"),
        ("§§§§", "no operation '§§§§' is in this capture; there are Shop.SELL, Shop.WRAP, Store.FETCH"),
        ("Shop", "'Shop' is not one operation but several: capture.operations.Shop"),
        (5, "no operation 5 is in this capture; there are Shop.SELL, Shop.WRAP, Store.FETCH"),
    ],
)
def test_an_unknown_name(capture, name, said):
    with pytest.raises(UnknownOperationError, match=f"^{re.escape(said)}$") as caught:
        capture.operations[name]
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, qp.QuantumPulseError)


def test_an_unknown_attribute(capture):
    with pytest.raises(AttributeError, match=r"no operation 'Shopp' is in this capture; did you mean Shop\?$"):
        _ = capture.operations.Shopp
    with pytest.raises(AttributeError, match=r"no operation 'SEL' is in this capture; did you mean SELL\?$"):
        _ = capture.operations.Shop.SEL
    assert not hasattr(capture.operations, "__wrapped__")


def test_a_string_is_told_where_operations_are(capture):
    said = r"the string 'Shop\.SEL'; did you mean Shop\.SELL, which is capture\.operations\['Shop\.SELL'\] without"
    for ask in (capture.heatmap, capture.samples, lambda name: capture.contrast(0, 1, chosen_by=[name])):
        with pytest.raises(TypeError, match=said):
            ask("Shop.SEL")


def test_several_where_there_is_one(capture):
    with pytest.raises(TypeError, match=r"is a member of an Operation enum, not Shop: SELL, WRAP Store: FETCH$"):
        capture.heatmap(capture.operations)


def test_classes_of_one_name_in_two_modules(write_capture):  # noqa: F811 - the fixture
    names = ("Work.READ", "package.two.Work.READ", "package.two.Work.WRITE")
    definitions = [Definition(name, "m", "", Category("Input"), 1) for name in names]
    operations = qp.open(write_capture([[{"operation": code} for code in range(3)]], operations=definitions)).operations
    assert operations.Work.READ == "Work.READ"
    assert list(operations.Work) == ["Work.READ"]
    assert operations.package.two.Work.READ == operations["package.two.Work.READ"] == "package.two.Work.READ"
    assert list(operations.package.two.Work) == ["package.two.Work.READ", "package.two.Work.WRITE"]


def test_tab_completes(capture):
    completer = IPCompleter(namespace={"capture": capture})
    for line, expected in (
        ("capture.operations.", {"Shop", "Store"}),
        ("capture.operations.Shop.", {"SELL", "WRAP"}),
        ('capture.operations["Sh', {"Shop.SELL", "Shop.WRAP"}),
    ):
        with provisionalcompleter():
            found = {one.text.lstrip(".") for one in completer.completions(line, len(line))}
        assert expected <= found
        assert not {name for name in found if name.startswith("_")}
    assert capture.operations.Shop._ipython_key_completions_() == ["SELL", "WRAP"]
    assert {"SELL", "WRAP", "items"} <= set(dir(capture.operations.Shop))


def test_it_shows_itself(capture):
    assert repr(capture.operations) == "Shop: SELL, WRAP\nStore: FETCH"
    assert repr(capture.operations.Shop) == "Shop: SELL, WRAP"
    assert repr(capture.operations.Shop.SELL) == "<Shop.SELL>"
    assert str(capture.operations.Shop.SELL) == f"{capture.operations.Shop.SELL}" == "Shop.SELL"
    page = capture.operations._repr_html_()
    for shown in ("Shop.SELL", "Selling &lt;tea&gt;", "Counter", "Store.FETCH"):
        assert shown in page
    assert "Store.FETCH" not in capture.operations.Shop._repr_html_()


def test_many_are_cut_and_what_is_no_text_is_cleaned(write_capture):  # noqa: F811 - the fixture
    names = [f"Many.MEMBER_{number:03d}" for number in range(300)] + [f"Enum{number:02d}.ONLY" for number in range(30)]
    names.append("A\x1b[31m.RED")
    definitions = [Definition(name, "m", "", Category("Input"), 1) for name in names]
    capture = qp.open(write_capture([[{"operation": code} for code in range(len(names))]], operations=definitions))
    lines = repr(capture.operations).splitlines()
    assert "\x1b" not in lines[0]
    assert lines[-1] == "and 12 more"
    assert len(lines) == 21
    assert repr(capture.operations.Many).endswith(" … (300 in all)")
    assert len(repr(capture.operations.Many).splitlines()) == 3


def test_copies_are_equal(capture):
    operations = capture.operations
    assert copy.copy(operations) == operations
    assert pickle.loads(pickle.dumps(operations)) == operations
    # They are accepted, too.
    for again in (copy.deepcopy(operations.Shop.SELL), pickle.loads(pickle.dumps(operations.Shop.SELL))):
        assert len(capture.samples(again)) == 1000

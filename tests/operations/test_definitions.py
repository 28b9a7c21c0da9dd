"""What is said of an operation, what it is made of, and what is taken for one."""

import copy
import enum
import json
import pickle
import sys
import time

import pytest

import quantum_pulse as qp
from quantum_pulse.errors import DefinitionError
from quantum_pulse.operations import DEFAULT_PRIORITY, checked, definition_of, plain_definition, registry
from tests.operations.conftest import samples


class Trading(qp.Operation):
    """Arbitrage engine."""

    PRICE_FEED_PARSING = qp.op("Parsing real-time price feeds", category="Market data", priority=1)
    ORDER_SUBMISSION = qp.op("Submitting orders", category="Execution", priority=1, budget_us=100)
    POSITION_UPDATE = qp.op(category="Execution", priority=3)
    HEARTBEAT = qp.op()


def test_a_definition_says_everything():
    submission = Trading.ORDER_SUBMISSION
    assert submission.description == "Submitting orders"
    assert submission.category == qp.Category("Execution")
    assert submission.priority == 1
    assert submission.budget_us == 100
    assert submission.definition.name == "Trading.ORDER_SUBMISSION"
    assert submission.definition.module == __name__
    assert Trading.__doc__ == "Arbitrage engine."


def test_defaults():
    heartbeat = Trading.HEARTBEAT
    assert heartbeat.description == ""
    assert heartbeat.category == qp.Category("Trading")
    assert heartbeat.priority == DEFAULT_PRIORITY == 3
    assert heartbeat.budget_us is None
    assert heartbeat.budget_quantile == 0.99
    assert qp.op(budget_us=5, budget_quantile=0.5)._again().budget_quantile == 0.5


def test_equal_definitions_are_not_aliases():
    class Alike(qp.Operation):
        A = qp.op()
        B = qp.op()

    assert list(Alike) == [Alike.A, Alike.B]
    assert Alike.A is not Alike.B
    assert Alike.A != Alike.B
    assert Alike.A.probe_id != Alike.B.probe_id
    assert len(Alike.__members__) == 2


def test_one_op_for_two_members_makes_two(recorder):
    shared = qp.op("Shared", budget_us=5)

    class Shared(qp.Operation):
        FIRST = shared
        SECOND = shared

    assert [member.name for member in Shared] == ["FIRST", "SECOND"]
    assert {member.description for member in Shared} == {"Shared"}
    with Shared.FIRST, Shared.SECOND:
        pass
    assert list(samples(recorder)["operation"]) == ["Shared.FIRST", "Shared.SECOND"]


def test_auto_is_a_definition_without_anything():
    class Automatic(qp.Operation):
        A = enum.auto()
        B = qp.op("Beta")
        C = enum.auto()

    assert [member.name for member in Automatic] == ["A", "B", "C"]
    assert Automatic.A.description == ""
    assert Automatic.A.category.name == "Automatic"
    assert len({member.probe_id for member in Automatic}) == 3


def test_a_category_object():
    feeds = qp.Category("Feeds", "What comes in", "#336699", 1)

    class Feed(qp.Operation):
        READ = qp.op(category=feeds)
        PARSE = qp.op(category=feeds, priority=9)

    assert Feed.READ.category == feeds
    assert Feed.READ.category.colour == "#336699"
    assert (Feed.READ.priority, Feed.PARSE.priority) == (3, 9)


@pytest.mark.parametrize("value", [1, "a description", None, ("text", "category"), object(), qp.op])
def test_a_plain_value_is_refused(value):
    with pytest.raises(DefinitionError, match=r"Wrong.*op\(\)") as caught:
        qp.Operation("Wrong", {"MEMBER": value})
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, qp.QuantumPulseError)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("description", 5),
        ("description", None),
        ("category", 5),
        ("category", b"bytes"),
        ("priority", "high"),
        ("priority", 1.5),
        ("priority", True),
        ("priority", None),
        ("budget_us", "100"),
        ("budget_us", 0),
        ("budget_us", -1),
        ("budget_us", True),
        ("budget_us", float("nan")),
        ("budget_quantile", 99),
        ("budget_quantile", 0.0),
        ("budget_quantile", "p99"),
        ("detail", 1),
        ("sample_every", 0),
        ("sample_every", 1.5),
        ("sample_every", True),
        ("sample_every", 1 << 31),
        ("expect_us", 5),
        ("expect_us", (5,)),
        ("expect_us", (5, 5)),
        ("expect_us", (-1, 5)),
        ("expect_us", (1, float("nan"))),
        ("expect_us", ("1", 5)),
    ],
)
def test_arguments_of_another_kind_are_refused(argument, value):
    with pytest.raises(DefinitionError, match=f"{argument} must be"):
        qp.op(**{argument: value})


@pytest.mark.parametrize(
    "options",
    [
        {"budget_us": float("inf")},
        {"budget_us": 10**400},
        {"budget_us": 5, "budget_quantile": 1e-17},
        {"budget_us": 5, "budget_quantile": 1 - 1e-15},
    ],
)
def test_budgets_that_no_operation_can_have(options):
    with pytest.raises(qp.QuantumPulseError, match="budget"):
        qp.op(**options)


def test_an_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="colour"):
        qp.op("x", colour="red")


def test_what_op_says_of_itself():
    assert repr(qp.op("x", priority=2)) == "op('x', category=None, priority=2, budget_us=None)"
    assert repr(qp.op(detail=True, expect_us=[1, 5])).endswith(", detail=True, expect_us=(1.0, 5.0))")


def test_a_definition_survives_json():
    definition = Trading.HEARTBEAT.definition._replace(expect_us=(1.5, 2.0), sample_every=7, detail=True)
    plain = json.loads(json.dumps(plain_definition(definition)))
    assert definition_of(plain) == definition
    # A later version may know more, an earlier one knew less.
    plain["new"] = plain["category"]["new"] = 1
    del plain["detail"]
    assert definition_of(plain) == definition._replace(detail=False)


def test_definitions_are_made_in_any_module():
    name = "a_module_that_does_not_exist"
    assert name not in sys.modules
    assert qp.Operation("Elsewhere", {"X": qp.op()}, module=name).X.definition.module == name


def test_numbers_resolve_to_definitions():
    for member in Trading:
        assert registry[member.probe_id] == member.definition
    assert registry.all()[Trading.HEARTBEAT.probe_id].name == "Trading.HEARTBEAT"


def test_str_and_repr():
    assert str(Trading.HEARTBEAT) == f"{Trading.HEARTBEAT}" == "Trading.HEARTBEAT"
    assert repr(Trading.HEARTBEAT) == "<Trading.HEARTBEAT>"
    assert repr(Trading.ORDER_SUBMISSION) == "<Trading.ORDER_SUBMISSION: Submitting orders>"


def test_members_travel_by_name():
    for member in Trading:
        assert copy.copy(member) is member
        assert copy.deepcopy({"key": [member]})["key"][0] is member
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(member, protocol)) is member
    assert Trading["HEARTBEAT"] is Trading.HEARTBEAT
    assert {Trading.HEARTBEAT: 1}[Trading.HEARTBEAT] == 1


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("Trading.ORDER_SUBMISION", "Trading.ORDER_SUBMISSION"),
        ("trading.order_submission", "Trading.ORDER_SUBMISSION"),
        ("HEARTBEAT", "Trading.HEARTBEAT"),
        ("Trading.PRICE_FEED", "Trading.PRICE_FEED_PARSING"),
    ],
)
def test_a_string_is_answered_with_the_nearest_member(wrong, nearest):
    with pytest.raises(TypeError, match=rf"{wrong}.*did you mean (\S+\.)?{nearest}\?"):
        checked(wrong)


def test_what_is_no_operation_is_refused():
    assert checked(Trading.HEARTBEAT) is Trading.HEARTBEAT
    with pytest.raises(TypeError, match="not the string") as caught:
        checked("§§§§§§§§")
    assert "did you mean" not in str(caught.value)
    for value in (5, None, Trading, qp.op()):
        with pytest.raises(TypeError, match="member of an Operation enum"):
            checked(value)


def test_a_capture_answers_likewise(recorder):
    with Trading.ORDER_SUBMISSION:
        pass
    recorder.flush()
    capture = qp.open(recorder.path)
    for value in ("Trading.ORDER_SUBMISION", ["Trading.ORDER_SUBMISION"]):
        with pytest.raises(TypeError, match=r"did you mean Trading\.ORDER_SUBMISSION"):
            capture.samples(value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": 5}, "name must be a string, not 5"),
        ({"description": None}, "description must be a string, not None"),
        ({"colour": 5}, "colour must be a string, not 5"),
        ({"budget_us": "5"}, "budget_us must be a number of microseconds, not '5'"),
        ({"budget_us": 0}, "budget_us must be more than 0, not 0"),
        ({"priority": "1"}, "priority must be an integer, 1 for what comes first, not '1'"),
    ],
)
def test_a_category_that_is_none(fields, said):
    with pytest.raises(qp.QuantumPulseError, match=said):
        qp.op(category=qp.Category(**{"name": "Work", **fields}))


def test_a_range_beyond_all_floats_has_no_upper_end():
    assert qp.op(expect_us=(1, 10**400)).expect_us == (1.0, float("inf"))


def test_the_budget_of_a_category_is_that_of_its_operations(tmp_path):
    quick = qp.Category("Quick", budget_us=1)

    class Budgeted(qp.Operation):
        PLAIN = qp.op(category=quick)
        OWN = qp.op(category=quick, budget_us=1e9)
        OTHER = qp.op(category="Other")

    assert [member.budget_us for member in Budgeted] == [1, 1e9, None]
    with qp.record(tmp_path / "capture"):
        for _ in range(1000):
            for member in Budgeted:
                with member:
                    time.sleep(0.00001)
    capture = qp.open(tmp_path / "capture")
    verdicts = capture.budgets()["verdict"]
    assert {str(name).rpartition(".")[2]: verdict for name, verdict in verdicts.items()} == {
        "PLAIN": "missed",
        "OWN": "kept",
    }
    assert capture.categories["Quick"].budget_us == 1

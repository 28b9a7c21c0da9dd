"""Mistakes in naming what is measured are told where they are made, with what would be right."""

import pytest

import quantum_pulse as qp
from quantum_pulse.errors import DefinitionError, UnknownOperationError


class Shop(qp.Operation):
    ORDER = qp.op("Taking an order")
    PAY = qp.op()


@pytest.mark.parametrize("timer", [qp.PausableTimer, lambda name: qp.PausableTimer(Shop.PAY, name)])
def test_a_timer_of_a_string_fails_before_the_work(timer):
    with pytest.raises(TypeError, match=r"not the string 'Shop\.ORDR'; did you mean Shop\.ORDER\?"):
        timer("Shop.ORDR")
    with pytest.raises(TypeError, match=r"a member of an Operation enum, not <enum 'Shop'>"):
        timer(Shop)


def test_both_ways_to_a_timer_refuse_one_operation_twice():
    with pytest.raises(ValueError, match=r"Shop\.PAY.*needs an operation of its own"):
        qp.PausableTimer(Shop.PAY, Shop.PAY)


def test_a_class_is_not_decorated():
    class Cart:
        pass

    with pytest.raises(TypeError, match=r"@Shop\.PAY decorates a function, not the class Cart; decorate the methods"):
        Shop.PAY(Cart)


INHERITED = sorted({name for base in qp.Operation.__mro__ for name in vars(base) if not name.startswith("_")})


@pytest.mark.parametrize("name", [*INHERITED, "name", "value", "timer", "probe_id"])
def test_a_member_does_not_hide_what_all_operations_have(name):
    with pytest.raises(DefinitionError, match=rf"Hidden\.{name}: '{name}' is an attribute that all operations have"):
        qp.Operation("Hidden", {"first": qp.op(), name: qp.op(), "last": qp.op()})


def test_a_member_does_not_hide_a_method_of_its_base():
    class Base(qp.Operation):
        def owner(self):
            return "shop"

    with pytest.raises(DefinitionError, match=r"Sub\.owner: 'owner' is an attribute"):

        class Sub(Base):
            owner = qp.op()

    class Fine(Base):
        OWNER = qp.op()

        def owner(self):  # no member: it may override
            return "bank"

    assert Fine.OWNER.owner() == "bank"


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(DefinitionError, match=r"op\(\) got an unexpected keyword argument 'budget'; .*budget_us"):
        qp.op(budget=100)
    with pytest.raises(DefinitionError, match="'zzz'; there are attributes, budget_quantile, budget_us, category"):
        qp.op(zzz=100)


def test_an_enum_is_no_block():
    said = r"Shop is a whole enum; time one of its members: with Shop\.ORDER: \.\.\."
    with pytest.raises(TypeError, match=said), Shop:
        pass


def test_an_unknown_member_names_the_nearest():
    with pytest.raises(UnknownOperationError, match="Shop has no operation 'ORDR'; did you mean 'ORDER'"):
        Shop["ORDR"]
    with pytest.raises(KeyError, match="there are ORDER, PAY"):
        Shop["#"]
    assert Shop["PAY"] is Shop.PAY
    # Python itself names the nearest attribute, given what it is asked of.
    with pytest.raises(AttributeError) as caught:
        Shop.ORDR  # noqa: B018
    assert (caught.value.name, caught.value.obj) == ("ORDR", Shop)


def test_the_slowest_calls_of_an_operation(tmp_path):
    with qp.record(tmp_path / "capture"), Shop.PAY:
        pass
    capture = qp.open(tmp_path / "capture")
    for given in (Shop.PAY, capture.operations.Shop.PAY):
        with pytest.raises(TypeError, match=r"the operation is the second argument: slowest\(10, Shop\.PAY\)"):
            capture.slowest(given)

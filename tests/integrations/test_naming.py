"""Names of operations that come from routes: the same in each process, and different for different routes."""

import doctest
import keyword

import pytest
from hypothesis import given
from hypothesis import strategies as st

import quantum_pulse as qp
from quantum_pulse.integrations import naming

SEGMENTS = st.one_of(
    st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)*", fullmatch=True),
    st.from_regex(r"\{[a-z_][a-z0-9_]*\}", fullmatch=True),
    st.text(min_size=1, max_size=8).filter(lambda text: "/" not in text),
)
TEMPLATES = st.lists(SEGMENTS, max_size=4).map(lambda parts: "/" + "/".join(parts))


@given(TEMPLATES, TEMPLATES)
def test_different_templates_have_different_names(one, other):
    names = {template: naming.member_name(template) for template in (one, other)}
    assert len(set(names.values())) == len(names)


@given(TEMPLATES)
def test_a_name_is_that_of_a_member(template):
    name = naming.member_name(template)
    assert name.isidentifier()
    assert name.isascii()
    assert not keyword.iskeyword(name)
    assert qp.Operation("Routes", {name: qp.op(template)})[name].description == template


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("/", "ROOT"),
        ("/orders", "ORDERS"),
        ("/orders/{id}", "ORDERS__BY_ID"),
        ("/orders/id", "ORDERS__ID"),
        ("/line-items", "LINE_ITEMS"),
        ("/line/items", "LINE__ITEMS"),
    ],
)
def test_plain_templates(template, name):
    assert naming.member_name(template) == name


@pytest.mark.parametrize(
    "template",
    ["/orders/{id}", "/orders/{id:int}", "orders/<int:id>/", "/orders/<id>", r"^orders/(?P<id>\d+(a|b)?)/$"],
)
def test_frameworks_write_one_template_differently(template):
    assert naming.normalized(template) == "/orders/{id}"


def test_what_the_docstrings_show():
    assert doctest.testmod(naming).failed == 0
    assert doctest.testmod(naming).attempted >= 5

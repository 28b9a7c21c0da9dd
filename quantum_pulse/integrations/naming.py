"""Operations that are found while a program runs: real members of an enum, with names that depend on a text alone."""

from __future__ import annotations

import hashlib
import re
import threading

from quantum_pulse.operations import Operation, op

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

#: Hexadecimal digits that tell apart what differs in characters that a name cannot have.
_DIGITS = 6


class FoundOperations:
    """Members of an enum called `enum`, made when their text first comes up.

    A later member is in a class of its own, of the same name and module, because an enum is complete once it is made.
    What is recorded knows operations by name, so that both are one enum there.
    """

    def __init__(
        self,
        enum: str,
        module: str,
        category: str,
        name: Callable[[str], str],
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        self._enum = enum
        self._module = module
        self._category = category
        self._name = name
        self._attributes = attributes
        self._members: dict[str, Operation] = {}
        self._lock = threading.Lock()

    def __getitem__(self, text: str) -> Operation:
        member = self._members.get(text)
        return self._make(text) if member is None else member

    def _make(self, text: str) -> Operation:
        with self._lock:
            if text not in self._members:
                self._members[text] = self._member(
                    self._name(text), op(text, category=self._category, attributes=self._attributes)
                )
            return self._members[text]

    def _member(self, name: str, definition: op) -> Operation:
        make_enum: Any = Operation  # type checkers take the call for that of a member
        return make_enum(self._enum, {name: definition}, module=self._module)[name]  # type: ignore[no-any-return]


def with_digits(name: str, text: str) -> str:
    """`name` with digits of `text`, for a name that does not say all of it."""
    digits = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS].upper()
    return f"{name}_{digits}"


def member_name(template: str) -> str:
    """The name of the operation of a route.

    Examples
    --------
    >>> member_name("/orders/{order_id}/line-items")
    'ORDERS__BY_ORDER_ID__LINE_ITEMS'
    >>> member_name("/")
    'ROOT'
    >>> member_name("/Robots.txt")
    'ROBOTS_TXT_91BBB0'
    """
    parts, is_plain = [], True
    for segment in template.strip("/").split("/"):
        parameter = re.fullmatch(r"\{([a-z0-9_]+)\}", segment)
        if parameter:
            parts.append(f"by_{parameter[1]}")
        else:
            is_plain &= re.fullmatch(r"(?!by-)[a-z0-9]+(-[a-z0-9]+)*", segment) is not None or template == "/"
            parts.append(re.sub(r"\W+", "_", segment.replace("{", "by_"), flags=re.ASCII).strip("_"))
    name = "__".join(part for part in parts if part).upper() or "ROOT"
    if not name[0].isalpha():
        name, is_plain = f"ROOT_{name}", False
    is_plain &= name != "ROOT" or template == "/"
    return name if is_plain else with_digits(name, template)


def normalized(template: str) -> str:
    """`template` as all frameworks would write it: ``/orders/{id}``, without types of parameters.

    Examples
    --------
    >>> [normalized(one) for one in ("/orders/{id:int}", "/orders/<int:id>/", "orders/<id>")]
    ['/orders/{id}', '/orders/{id}', '/orders/{id}']
    >>> normalized(r"^orders/(?P<id>[0-9]{1,4})/$")
    '/orders/{id}'
    """
    if "(?P<" in template:
        template = _without_groups(template)
    template = re.sub(r"<(?:[^<>:]+:)?(\w+)>", r"{\1}", template)
    template = re.sub(r"\{(\w+):[^{}]*\}", r"{\1}", template)
    return "/" + template.lstrip("^").rstrip("$").strip("/")


def _without_groups(pattern: str) -> str:
    """A regular expression with its named groups as parameters."""
    parts, place = [], 0
    for begin in re.finditer(r"\(\?P<(\w+)>", pattern):
        if begin.start() < place:
            continue  # inside of another group
        parts += [pattern[place : begin.start()], f"{{{begin[1]}}}"]
        depth, place = 1, begin.end()
        while depth and place < len(pattern):
            depth += (pattern[place] == "(") - (pattern[place] == ")")
            place += 2 if pattern[place] == "\\" else 1
    return "".join([*parts, pattern[place:]])

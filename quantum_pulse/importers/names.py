"""Names of a trace as operations: members of enums, which can be written as Python."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from quantum_pulse.operations import Category, Definition, writable

#: Different names that become operations. Later ones are one operation: a name with a number in it is no operation.
MOST_OPERATIONS: Final = 20_000
#: The enum of names that have no category.
DEFAULT_ENUM: Final = "Trace"
OTHER: Final = "OTHER"
_OTHER_NAME: Final = f"(names beyond the first {MOST_OPERATIONS:,})"
_MEMBER: Final = re.compile(r"[^\W\d]\w*\.[^\W\d]\w*")
#: Letters of an identifier that is made of a name.
_LONGEST: Final = 80


class Operations:
    """The operations of a trace, numbered as their names are first met."""

    def __init__(self) -> None:
        self.definitions: list[Definition] = []
        self._numbers: dict[tuple[str, str], int] = {}
        self._enums: dict[str, str] = {}
        self._taken: set[str] = set()
        self._other: int | None = None
        #: Calls under names that found no room are not counted, the names are.
        self.names_left_out = 0

    def number(self, category: str, name: str, *, is_member: bool = False) -> int:
        """The number of the operation called `name` in `category`; `is_member`: the name may be one of an operation."""
        key = (category, name)
        found = self._numbers.get(key)
        if found is None:
            if len(self._numbers) >= MOST_OPERATIONS:
                self.names_left_out += 1
                return self._other_number()
            found = self._numbers[key] = self._define(category, name, is_member)
        return found

    def _define(self, category: str, name: str, is_member: bool) -> int:
        category = writable(category)
        if is_member and (_MEMBER.fullmatch(name) or name in self._taken):
            full, description = name, ""
        else:
            full, description = self._free(f"{self._enum(category)}.{_identifier(name).upper()}"), writable(name)
        self._taken.add(full)
        shown = category or DEFAULT_ENUM
        self.definitions.append(Definition(writable(full), "", description, Category(shown)))
        return len(self.definitions) - 1

    def _other_number(self) -> int:
        if self._other is None:
            self._other = self._define("", OTHER, False)
            self.definitions[self._other] = self.definitions[self._other]._replace(description=_OTHER_NAME)
        return self._other

    def _enum(self, category: str) -> str:
        """The enum for a category: categories that look alike as identifiers have different ones."""
        found = self._enums.get(category)
        if found is None:
            words = _identifier(category).split("_") if category else [DEFAULT_ENUM]
            wanted = "".join(word[:1].upper() + word[1:] for word in words) or DEFAULT_ENUM
            used, found, number = set(self._enums.values()), wanted, 2
            while found in used:
                found, number = f"{wanted}{number}", number + 1
            self._enums[category] = found
        return found

    def _free(self, wanted: str) -> str:
        found, number = wanted, 2
        while found in self._taken:
            found, number = f"{wanted}_{number}", number + 1
        return found


def _identifier(text: str) -> str:
    """`text` as a Python identifier, by what can be read of it."""
    plain = unicodedata.normalize("NFKC", text)
    found = re.sub(r"\W+", "_", plain).strip("_")[:_LONGEST].strip("_")
    if not found or not found[0].isidentifier():
        found = f"N_{found}".strip("_")
    if keyword.iskeyword(found) or not found.isidentifier():
        found = f"{found.encode('ascii', 'ignore').decode()}_"
        found = found if found.isidentifier() else "NAME"
    return found


def enum_source(definitions: Iterable[Definition]) -> str:
    """Python source of the enums that `definitions` are members of.

    Operations whose name is not that of a member of an enum, as ``Class.MEMBER``, are left out with a comment.

    Examples
    --------
    >>> from quantum_pulse.operations import Category, Definition
    >>> print(enum_source([Definition("CpuOp.ATEN_ADD", "", "aten::add", Category("cpu_op"))]), end="")
    \"\"\"Operations of an imported trace.\"\"\"
    <BLANKLINE>
    import quantum_pulse as qp
    <BLANKLINE>
    <BLANKLINE>
    class CpuOp(qp.Operation):
        ATEN_ADD = qp.op("aten::add", category="cpu_op")
    """
    enums: dict[str, list[str]] = {}
    omitted = []
    for one in sorted(definitions, key=lambda one: one.name):
        enum, _, member = one.name.partition(".")
        if not _MEMBER.fullmatch(one.name) or keyword.iskeyword(enum) or _is_refused(member):
            omitted.append(one.name)
            continue
        arguments = [_literal(one.description)] if one.description else []
        if one.category.name != enum:
            arguments.append(f"category={_literal(one.category.name)}")
        enums.setdefault(enum, []).append(f"    {member} = qp.op({', '.join(arguments)})\n")
    lines = ['"""Operations of an imported trace."""\n\nimport quantum_pulse as qp\n']
    lines += [f"\n\nclass {enum}(qp.Operation):\n{''.join(dict.fromkeys(members))}" for enum, members in enums.items()]
    lines += [f"\n\n# No identifier: {_literal(name)}" for name in omitted]
    return "".join(lines)


def _is_refused(member: str) -> bool:
    """Whether an enum does not take `member` for the name of an operation."""
    return keyword.iskeyword(member) or member.startswith("_") or not member.isupper()


def _literal(text: str) -> str:
    """`text` as a Python literal in double quotes."""
    literal = repr(text)
    return literal if '"' in text else f'"{literal[1:-1].replace(chr(92) + chr(39), chr(39))}"'

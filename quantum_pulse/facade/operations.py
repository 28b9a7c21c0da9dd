"""The operations of a capture by name, for code that does not have the recorded program."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import shown
from quantum_pulse.errors import UnknownOperationError
from quantum_pulse.operations import nearest
from quantum_pulse.reading.selection import Recorded

if TYPE_CHECKING:
    import pandas as pd

#: Enums that are shown as text, lines of each, and the width of these.
_MOST_ENUMS: Final = 20
_MOST_LINES: Final = 3
_WIDTH: Final = 120


class RecordedOperations(Mapping[Recorded, Recorded]):
    """The operations of a capture by name, accepted wherever a member of an enum is.

    A mapping from names to operations. Its keys are operations too, so it is an iterable of
    operations as an enum is: ``capture.samples(capture.operations.Trading)``. Enums are attributes, and
    so are their members: ``capture.operations.Trading.SUBMIT`` or
    ``capture.operations["Trading.SUBMIT"]``. If an enum has the name of a method of mappings, use the names of its
    operations.

    See Also
    --------
    Capture.operations : The operations of a capture.

    Examples
    --------
    >>> capture = qp.sample("engine")
    >>> capture.operations["Engine.ORDER"]
    <Engine.ORDER>
    >>> len(capture.samples(capture.operations.Engine.ORDER))
    1939
    """

    def __init__(self, definitions: pd.DataFrame, within: str = "") -> None:
        """Take the operations of `definitions`, as of `Capture.definitions`, whose names begin with `within`."""
        self._definitions = definitions
        self._within = within
        self._operations = {str(name): Recorded(name) for name in definitions.index}

    def __getitem__(self, name: str) -> Recorded:
        """Return the operation of a name.

        Parameters
        ----------
        name : str
            Its full name, such as "Trading.SUBMIT"; of one enum, the part after the dot is enough.

        Returns
        -------
        Recorded
            The operation.

        Raises
        ------
        UnknownOperationError
            If there is none of that name. It names the nearest.

        Examples
        --------
        >>> qp.sample("engine").operations["Engine.ORDER"]
        <Engine.ORDER>
        """
        for spelling in (f"{self._within}{name}", name):
            if spelling in self._operations:
                return self._operations[spelling]
        if name in self._attributes():
            whole = f"{self._within}{name}"
            raise UnknownOperationError(f"{name!r} is not one operation but several: capture.operations.{whole}")
        raise UnknownOperationError(_unknown(name, self._operations))

    def __getattr__(self, name: str) -> Any:
        # Special methods are no operations, and copies are asked for them before they know their own.
        if name.startswith("__"):
            raise AttributeError(name)
        whole = f"{self._within}{name}"
        if whole in self._operations:
            return self._operations[whole]
        inside = [known for known in self._operations if known.startswith(f"{whole}.")]
        if not inside:
            raise AttributeError(_unknown(name, self._attributes()))
        return RecordedOperations(self._definitions.loc[inside], f"{whole}.")

    def __iter__(self) -> Iterator[Recorded]:
        return iter(self._operations.values())

    def __len__(self) -> int:
        return len(self._operations)

    def _attributes(self) -> list[str]:
        """What can follow with a dot: enums, or members of this one."""
        return list(dict.fromkeys(name.partition(".")[0] for name in self._short()))

    def _short(self) -> list[str]:
        return [name[len(self._within) :] for name in self._operations]

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name for name in self._attributes() if name.isidentifier())]

    def _ipython_key_completions_(self) -> list[str]:
        return self._short()

    def __repr__(self) -> str:
        enums: dict[str, list[str]] = {}
        for name in self._operations:
            enum, _, member = shown.clean(name).rpartition(".")
            enums.setdefault(enum, []).append(member)
        lines = [
            textwrap.fill(
                f"{enum}: {', '.join(members)}",
                _WIDTH,
                subsequent_indent="    ",
                max_lines=_MOST_LINES,
                placeholder=f" … ({len(members)} in all)",
                break_long_words=False,
                break_on_hyphens=False,
            )
            for enum, members in enums.items()
        ]
        left = len(lines) - _MOST_ENUMS
        return "\n".join(lines[:_MOST_ENUMS] + ([f"and {left} more"] if left > 0 else [])) or "no operations"

    def _repr_html_(self) -> str:
        return str(self._definitions.to_html(max_rows=100, notebook=True))


def _unknown(name: str, known: Collection[str]) -> str:
    near = nearest(str(name), known)
    hint = f"; did you mean {near}?" if near else f"; there are {', '.join(list(known)[:8])}" if known else ""
    return f"no operation {name!r} is in this capture{hint}"

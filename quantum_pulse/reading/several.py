"""Read several captures as one: of several processes, hosts or days."""

from __future__ import annotations

import glob
import os
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from quantum_pulse import arguments
from quantum_pulse.errors import EmptyCaptureError, NotACaptureError
from quantum_pulse.reading.reader import Source

#: One directory or more, or a pattern such as "captures/*".
Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


class Several(Source):
    """The parts of several captures. Where an operation changed its category between them, the newest counts."""

    def __init__(self, sources: list[Source]) -> None:
        together = Path(os.path.commonpath([source.path.resolve() for source in sources]))
        super().__init__(together)
        # Kept, because what was in rings is in files that go when these go.
        self._sources = dict(zip(_names([source.path for source in sources]), sources, strict=True))
        for name, source in self._sources.items():
            for table, parts in source.parts.items():
                self.parts[table] += [part._replace(capture=name) for part in parts]
            self.recordings |= {f"{name}/{recording}": own for recording, own in source.recordings.items()}
            self.open |= {f"{name}/{recording}": own for recording, own in source.open.items()}
        self._categories = self._changed_categories()

    @property
    def captures(self) -> list[str]:
        """Names of the captures."""
        return list(self._sources)

    def by_capture(self) -> list[tuple[str | None, Source]]:
        """Return each capture with its name."""
        return [(name, source.restricted(self.within)) for name, source in self._sources.items()]

    def categories_of(self) -> Mapping[str, str]:
        """Map operations whose category changed between captures to the newest one."""
        return self._categories

    def _changed_categories(self) -> dict[str, str]:
        newest: dict[str, str] = {}
        changed = set()
        for definition in self.definitions():
            name, category = str(definition["name"]), str(definition["category"]["name"])
            if newest.setdefault(name, category) != category:
                changed.add(name)
            newest[name] = category
        return {name: newest[name] for name in changed}

    def _all_losses(self) -> list[dict[str, Any]]:
        """Return the losses of all captures, each with the `capture` that it is of."""
        found = [{**loss, "capture": name} for name, source in self._sources.items() for loss in source.losses()]
        for path, loss in self._damage.items():
            own = (part.capture for parts in self.parts.values() for part in parts if part.path == path)
            found.append({**loss, "capture": next(own, None)})
        return found

    def check_not_empty(self) -> None:
        """Raise EmptyCaptureError if no capture has samples."""
        if not self.has_samples() and not self.losses():
            raise EmptyCaptureError(f"none of these captures has samples: {', '.join(self._sources)}")


def expand(paths: Paths) -> tuple[list[Path], bool]:
    """The directories that `paths` names, and whether they may be several. Raises NotACaptureError for none."""
    if isinstance(paths, str | os.PathLike):
        text = str(_path(paths))
        if os.path.lexists(text) or not glob.has_magic(text):
            return [Path(text)], False
        found = [path for path in map(Path, sorted(glob.glob(text, recursive=True))) if path.is_dir()]  # noqa: PTH207 - the pattern may be absolute
        if not found:
            raise NotACaptureError(f"nothing matches {text}")
        return found, True
    # A table is iterable too: its column names would be taken for paths.
    if isinstance(paths, bytes | Mapping) or not isinstance(paths, Iterable) or hasattr(paths, "columns"):
        shown = textwrap.shorten(repr(paths), 80, placeholder=" …")
        raise TypeError(f"expected the path of a capture, a pattern or several paths, not {shown}")
    # The same directory twice would count twice.
    chosen = list({path.resolve(): path for path in map(_path, paths)}.values())
    if not chosen:
        raise NotACaptureError("an empty list names no capture")
    return chosen, True


def _path(given: object) -> Path:
    try:
        return arguments.path(given, "the path of a capture", "captures/monday")
    except ValueError as error:
        raise NotACaptureError(str(error)) from None


def _names(paths: list[Path]) -> list[str]:
    """The last components of each path, as few as distinguish the paths."""
    whole = [path.resolve().parts for path in paths]
    length = 1
    while len({parts[-length:] for parts in whole}) < len(whole):
        length += 1
    return ["/".join(parts[-length:]) for parts in whole]

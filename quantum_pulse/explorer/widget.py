"""Show `Capture.explore` in a notebook: a live widget, and a static snapshot for the saved notebook."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.errors import QuantumPulseError
from quantum_pulse.explorer import pages, places
from quantum_pulse.explorer.model import ExplorerModel
from quantum_pulse.explorer.places import Place
from quantum_pulse.view import html, numbers

if TYPE_CHECKING:
    import anywidget

_log = logging.getLogger("quantum_pulse")

#: The cell waits up to this long for the complete overview, so that the snapshot in a saved notebook has it.
_WAIT_S: Final = 10.0
_FEW_SAMPLES: Final = 1_000_000
#: Most places in the history.
_MOST_PAST: Final = 100


@dataclass
class _Memory:
    """Where the user was in a capture, so that a cell that runs again continues there."""

    past: list[Place] = field(default_factory=lambda: [Place()])
    tables: dict[str, Any] = field(default_factory=dict)


#: By capture and baseline, as they are restricted.
_memories: dict[tuple[object, ...], _Memory] = {}


class Explorer:
    """An application in the notebook to explore a capture, as `Capture.explore` makes it.

    A notebook displays it. Elsewhere it prints what it would show.

    Attributes
    ----------
    widget : anywidget.AnyWidget
        The widget, to place in a layout of other widgets.

    See Also
    --------
    Capture.explore : Make one.

    Examples
    --------
    >>> qp.sample("engine").explore()
    <Explorer of ...engine: ... calls of ... operations; displays in a notebook>
    """

    def __init__(self, model: ExplorerModel, operation: str | None = None) -> None:
        self._model = model
        key = tuple((str(one.path), one.within) if one is not None else None for one in (model.source, model.baseline))
        self._memory = _memories.setdefault(key, _Memory())
        # A place may be gone from a capture that is still written, or recorded anew.
        self._memory.past = [one for one in self._memory.past if one.operation in (None, *model.names)] or [Place()]
        if operation is not None and self._memory.past[-1].operation != operation:
            self._memory.past.append(Place(operation))
        self._lock = threading.RLock()
        self._worker: threading.Thread | None = None
        self._is_refined = False
        self._picture: Any = None
        self.widget: anywidget.AnyWidget = _widget_class()(
            begin=str(model.begin_ns), tables=self._memory.tables, picture=f"qp-snapshot-{uuid.uuid4().hex}"
        )
        self.widget.on_msg(self._on_message)
        self.widget.observe(self._on_tables, "tables")
        self._show(moved=True)

    def __repr__(self) -> str:
        calls = numbers.count(self._model.overview.stats["count"].sum())
        return (
            f"<Explorer of {self._model.source.path}: {calls} calls of {len(self._model.names)} operations; "
            "displays in a notebook>"
        )

    def _ipython_display_(self) -> None:
        from IPython import get_ipython

        if not hasattr(get_ipython(), "kernel"):
            print(repr(self))
            return
        _display(self.widget)
        worker = self._worker
        if worker is not None and self._model.samples <= _FEW_SAMPLES:
            worker.join(_WAIT_S)
        with self._lock:
            self._picture = _display(_html(self._static()), display_id=True)

    def _static(self) -> str:
        """The snapshot; the widget hides it as long as it is alive."""
        return f'<div class="{self.widget.picture}">{pages.static(self._model)}</div>'

    @property
    def _here(self) -> Place:
        return self._memory.past[-1]

    def _on_tables(self, change: Any) -> None:
        self._memory.tables = change["new"]

    def _on_message(self, _widget: Any, asked: Any, _buffers: Any) -> None:
        """Follow a step that the page requests, and say that it was heard."""
        self._follow(asked)
        self.widget.heard += 1

    def _follow(self, asked: Any) -> None:
        with self._lock:
            past = self._memory.past
            if asked == {"to": "back"}:
                if len(past) > 1:
                    past.pop()
            else:
                slowest = self._model.slowest(self._here)
                listed = 0 if slowest is None else len(slowest)
                try:
                    there = places.follow(self._here, asked, self._model.names, listed)
                except places.RefusedError as error:
                    _log.debug("explorer: %s", error)
                    return
                if there != self._here:
                    past.append(there)
                    del past[:-_MOST_PAST]
            self._show(moved=True)

    def _show(self, *, moved: bool) -> None:
        """Send what is known of this place, and start to read the rest."""
        with self._lock:
            place = self._here
            view = None
            try:
                if place.operation is not None:
                    view = self._model.view(place, rough=True)
                is_whole = self._model.is_whole(place)
                busy = "" if self._is_refined and is_whole else "analysing …" if is_whole else "reading samples …"
                text = pages.write(self._model, place, view, has_past=len(self._memory.past) > 1, busy=busy)
            except (QuantumPulseError, OSError, LookupError) as error:
                text = pages.failure(self._model, place, error)
                is_whole = True
            with self.widget.hold_sync():
                self.widget.page = text
                if moved:
                    self.widget.visit += 1
            if not (is_whole and self._is_refined):
                self._start_work()

    def _start_work(self) -> None:
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name="quantum-pulse-explorer", daemon=True)
            self._worker.start()

    def _work(self) -> None:
        """Refine until all is exact: first the current place, then the overview."""
        while True:
            with self._lock:
                place = self._here
                is_whole = self._model.is_whole(place)
                if is_whole and self._is_refined:
                    self._worker = None
                    return
            try:
                if not is_whole:
                    self._model.read(place)
                else:
                    self._is_refined = not self._model.refine()
                    self._update_picture()
            except Exception as error:  # noqa: BLE001 - whatever it is, the page must show it
                _log.warning("the explorer could not analyse %s: %s", self._model.source.path, error)
                with self._lock:
                    self._is_refined = True
                    self._worker = None
                    self.widget.page = pages.failure(self._model, place, error)
                return
            with self._lock:
                if place == self._here:
                    self._show(moved=False)

    def _update_picture(self) -> None:
        with self._lock:
            if self._picture is not None:
                self._picture.update(_html(self._static()))


@cache
def _widget_class() -> Callable[..., anywidget.AnyWidget]:
    """The widget class, defined on first use: a service that only records does not need it."""
    import anywidget
    import traitlets

    script = f"{html.definitions()}\n{_asset('explorer.js')}"
    style = f"{html.page_style()}\n{_asset('explorer.css')}"

    class ExplorerWidget(anywidget.AnyWidget):
        """A page of HTML. Steps come back as messages, see `places.follow`."""

        _esm = script
        _css = style
        page = traitlets.Unicode().tag(sync=True)
        #: Increases with each step to another place, but not when the page of a place is refined.
        visit = traitlets.Int().tag(sync=True)
        #: How many steps were followed or refused: a page knows by it that the kernel is alive.
        heard = traitlets.Int().tag(sync=True)
        #: When the capture begins, Unix time in ns.
        begin = traitlets.Unicode().tag(sync=True)
        #: Folding, sorting and filters of the tables, by page and table.
        tables = traitlets.Dict().tag(sync=True)
        #: CSS class of the snapshot, which the widget hides as long as it is alive.
        picture = traitlets.Unicode().tag(sync=True)

        def __repr__(self) -> str:
            # What a saved notebook shows of it.
            return "An interactive explorer, while the kernel runs. Its last state:"

    return ExplorerWidget


def _display(shown: Any, **options: Any) -> Any:
    from IPython import display

    return display.display(shown, **options)  # type: ignore[no-untyped-call]


def _html(text: str) -> Any:
    from IPython import display

    return display.HTML(text)  # type: ignore[no-untyped-call]


def _asset(name: str) -> str:
    return resources.files("quantum_pulse.explorer").joinpath("assets", name).read_text(encoding="utf-8")

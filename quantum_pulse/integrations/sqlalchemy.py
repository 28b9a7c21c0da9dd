"""SQLAlchemy: waits for a connection, statements, and the fetching of rows; of engines and of asynchronous ones."""

from __future__ import annotations

import functools

from sqlalchemy import event

from quantum_pulse.core import core
from quantum_pulse.operations import Operation, op

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from typing import Any, Final, TypeVar

    E = TypeVar("E")

#: On the context of a statement's execution: its block.
_BLOCK: Final = "_quantum_pulse_block"


class Sql(Operation):
    """What is recorded of a database."""

    WAIT = op("Until the pool has a connection, opening one included", category="Database")
    EXECUTE = op("A statement, until the database answers", category="Database")
    FETCH = op("Fetching rows of an answer", category="Database")


def instrument(engine: E) -> E:
    """Record what an engine does: `Sql.WAIT`, `Sql.EXECUTE` and `Sql.FETCH`.

    Parameters
    ----------
    engine
        An `Engine` or an `AsyncEngine`.

    Returns
    -------
    engine
        The same engine.

    Raises
    ------
    TypeError
        For anything else.

    Notes
    -----
    A statement that fails has the driver's exception as its error. Drivers that hand over all rows with the answer, as
    the asynchronous ones do, spend the time in `EXECUTE`. Of statements that bypass SQLAlchemy's own execution
    (`exec_driver_sql`) fetching is not recorded.

    Examples
    --------
    >>> from sqlalchemy import create_engine
    >>> engine = sqlalchemy.instrument(create_engine("sqlite://"))
    """
    own = getattr(engine, "sync_engine", engine)
    if not hasattr(own, "pool") or not hasattr(own, "dialect"):
        raise TypeError(f"sqlalchemy.instrument takes an Engine or an AsyncEngine, not {engine!r}")
    if event.contains(own, "before_cursor_execute", _begin):
        return engine
    event.listen(own, "before_cursor_execute", _begin)
    event.listen(own, "after_cursor_execute", _end)
    event.listen(own, "handle_error", _fail)
    event.listen(own, "after_execute", _observe_result)
    event.listen(own, "engine_disposed", _observe_pool)
    _observe_pool(own)
    return engine


def _observe_pool(engine: Any) -> None:
    """Time how long its pool takes to give a connection. An engine that was disposed of has another pool."""
    if not isinstance(engine.pool.connect, _Timed):
        engine.pool.connect = _Timed(Sql.WAIT, engine.pool.connect)


class _Timed:
    """A function that is timed, known by its type."""

    def __init__(self, operation: Operation, function: Any) -> None:
        functools.update_wrapper(self, function)
        self._operation = operation
        self._function = function

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        with self._operation:
            return self._function(*arguments, **options)


def _begin(_connection: Any, _cursor: Any, _statement: Any, _parameters: Any, context: Any, _many: bool) -> None:
    setattr(context, _BLOCK, core.Block(Sql.EXECUTE))


def _end(_connection: Any, _cursor: Any, _statement: Any, _parameters: Any, context: Any, _many: bool) -> None:
    block = getattr(context, _BLOCK, None)
    if block is not None:
        block.end()


def _fail(failed: Any) -> None:
    block = getattr(failed.execution_context, _BLOCK, None)
    if block is not None:
        block.end(type(failed.original_exception))


def _observe_result(
    _connection: Any, _statement: Any, _multiparams: Any, _params: Any, _options: Any, result: Any
) -> None:
    strategy = getattr(result, "cursor_strategy", None)
    if strategy is not None and getattr(result, "returns_rows", False) and not isinstance(strategy, _Fetches):
        result.cursor_strategy = _Fetches(strategy)


class _Fetches:
    """How a result fetches rows, timed."""

    def __init__(self, strategy: Any) -> None:
        self._strategy = strategy

    def fetchone(self, *arguments: Any, **options: Any) -> Any:
        with Sql.FETCH:
            return self._strategy.fetchone(*arguments, **options)

    def fetchmany(self, *arguments: Any, **options: Any) -> Any:
        with Sql.FETCH:
            return self._strategy.fetchmany(*arguments, **options)

    def fetchall(self, *arguments: Any, **options: Any) -> Any:
        with Sql.FETCH:
            return self._strategy.fetchall(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._strategy, name)

"""Celery: tasks that a worker runs, and how long they have waited for it."""

from __future__ import annotations

import re
import time

import celery
from celery import signals

from quantum_pulse.core import core
from quantum_pulse.integrations.naming import FoundOperations, with_digits
from quantum_pulse.operations import Operation, op

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from typing import Any, Final

    from quantum_pulse.core._native import Block

#: In the headers of a message: when it was sent, in ns since the epoch.
_SENT: Final = "quantum_pulse_sent_ns"


class Queue(Operation):
    """What is recorded of the queues of Celery."""

    WAIT = op("From the sending of a task to its start", category="Celery", attributes={"name": str})


def task_name(name: str) -> str:
    """The name of the operation of a task.

    Examples
    --------
    >>> task_name("shop.tasks.send_letter")
    'SHOP__TASKS__SEND_LETTER'
    """
    found = re.sub(r"\W+", "_", name.replace(".", "__"), flags=re.ASCII).strip("_").upper()
    is_plain = re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*(\.[a-z][a-z0-9]*(_[a-z0-9]+)*)*", name) is not None
    return found if is_plain else with_digits(f"TASK_{found}" if not found[:1].isalpha() else found, name)


_tasks = FoundOperations("Tasks", __name__, "Celery", task_name, {"state": str | None, "retries": int})
_apps: Final[list[Any]] = []
#: Tasks that run in this process: a pool of threads or greenlets runs several at once.
_open: Final[dict[str, Block]] = {}


def instrument(app: Any) -> Any:
    """Record each task that a worker runs as a call of an operation, a member of an enum called `Tasks`.

    Parameters
    ----------
    app
        A `celery.Celery` application.

    Returns
    -------
    app
        The same application.

    Raises
    ------
    TypeError
        If `app` is something else.

    Notes
    -----
    The operation of a task ``shop.send_letter`` is ``Tasks.SHOP__SEND_LETTER``. What a task records is inside of its
    call. A call has the attributes ``state``, such as SUCCESS or RETRY, and ``retries``. A task that fails has its
    exception as the error. Where the program that sends a task is instrumented too, `Queue.WAIT` is the time from its
    sending to its start, by the clocks of both hosts, retries and delays that were asked for included.

    Examples
    --------
    >>> from celery import Celery
    >>> app = celery.instrument(Celery("shop"))
    """
    if not isinstance(app, celery.Celery):
        raise TypeError(f"celery.instrument takes a Celery application, not {app!r}")
    if not any(one is app for one in _apps):
        _apps.append(app)
    signals.before_task_publish.connect(_note_sending, weak=False)
    signals.task_prerun.connect(_begin, weak=False)
    signals.task_failure.connect(_fail, weak=False)
    signals.task_postrun.connect(_end, weak=False)
    return app


def _note_sending(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None:
        headers[_SENT] = time.time_ns()


def _begin(task_id: str, task: Any, **_: Any) -> None:
    if not any(one is task.app for one in _apps):
        return
    sent_ns = task.request.get(_SENT)
    if sent_ns is not None:
        wait_ns = max(0, time.time_ns() - int(sent_ns))
        core.add(Queue.WAIT(name=task.name), core.now() - wait_ns, wait_ns, None)
    _open[task_id] = core.Block(_tasks[task.name])


def _fail(task_id: str, exception: BaseException, **_: Any) -> None:
    block = _open.get(task_id)
    if block is not None:
        block.annotate(error=exception)


def _end(task_id: str, task: Any, state: str | None = None, **_: Any) -> None:
    block = _open.pop(task_id, None)
    if block is not None:
        block.annotate(state=state, retries=int(task.request.retries or 0))
        block.end()

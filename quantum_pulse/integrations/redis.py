"""Redis: commands and pipelines that a program sends, of clients and of asynchronous ones."""

from __future__ import annotations

import functools

import redis
import redis.asyncio

from quantum_pulse.operations import Operation, op

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from typing import Any, Final, TypeVar

    C = TypeVar("C", redis.Redis, redis.asyncio.Redis)

#: On the methods that have been replaced.
_MARK: Final = "_quantum_pulse"


class Redis(Operation):
    """What is recorded of Redis."""

    COMMAND = op("A command, until Redis has answered it", category="Redis", attributes={"command": str})
    PIPELINE = op("Commands that are sent together", category="Redis", attributes={"commands": int})


def instrument(client: C) -> C:
    """Record each command of a client as a call of `Redis.COMMAND`, and each pipeline as one of `Redis.PIPELINE`.

    Parameters
    ----------
    client
        A `redis.Redis` or a `redis.asyncio.Redis`.

    Returns
    -------
    client
        The same client.

    Raises
    ------
    TypeError
        If `client` is neither.

    Notes
    -----
    A command has its name as the attribute ``command``, and a pipeline has the number of its commands, ``commands``.
    Waiting for a connection of the pool is part of the time, and so is a retry. The error is that of the library, such
    as `ResponseError`. What a subscription receives is not recorded.

    Examples
    --------
    >>> import redis as client_library
    >>> client = redis.instrument(client_library.Redis())
    >>> client.close()
    """
    if not isinstance(client, redis.Redis | redis.asyncio.Redis):
        raise TypeError(f"redis.instrument takes a redis.Redis or a redis.asyncio.Redis, not {client!r}")
    if hasattr(client.execute_command, _MARK):
        return client
    observed = _observed_async if isinstance(client, redis.asyncio.Redis) else _observed
    pipelines = client.pipeline

    @functools.wraps(pipelines)
    def pipeline(*arguments: Any, **options: Any) -> Any:
        made: Any = pipelines(*arguments, **options)
        made.execute = observed(made.execute, lambda *_: Redis.PIPELINE(commands=len(made.command_stack)))
        made.immediate_execute_command = observed(made.immediate_execute_command, _command)
        return made

    changed: Any = client
    changed.execute_command = observed(client.execute_command, _command)
    setattr(changed.execute_command, _MARK, True)
    changed.pipeline = pipeline
    return client


def _command(*arguments: Any) -> Any:
    return Redis.COMMAND(command=str(arguments[0]).upper())


def _observed(execute: Any, call: Any) -> Any:
    @functools.wraps(execute)
    def observed(*arguments: Any, **options: Any) -> Any:
        with call(*arguments):
            return execute(*arguments, **options)

    return observed


def _observed_async(execute: Any, call: Any) -> Any:
    @functools.wraps(execute)
    async def observed(*arguments: Any, **options: Any) -> Any:
        with call(*arguments):
            return await execute(*arguments, **options)

    return observed

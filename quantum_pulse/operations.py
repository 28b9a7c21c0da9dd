"""What is measured: operations are members of an enum, never strings.

A member *is* the context manager and the decorator (see `core`); this module gives it a definition and a number.
"""

from __future__ import annotations

import enum
import functools
import sys
import threading
import types

from quantum_pulse import attributes as declarations
from quantum_pulse.arguments import nearest, real
from quantum_pulse.attributes import Attribute, attribute_of, plain_attribute
from quantum_pulse.core import core
from quantum_pulse.errors import DefinitionError, UnknownOperationError
from quantum_pulse.timers import PausableTimer

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import Any, NamedTuple, Never, NoReturn, Self, TypeVar, overload

    from quantum_pulse.core._native import Attributed, AttributeValue, Probe

    F = TypeVar("F", bound=Callable[..., Any])
else:
    from quantum_pulse.tuples import NamedTuple

    Probe = core.Probe

DEFAULT_PRIORITY = 3
#: Of the durations of an operation with a budget so many must keep it, unless it says otherwise: its p99.
DEFAULT_BUDGET_QUANTILE = 0.99
#: So that it is a number of nanoseconds as any duration is.
LARGEST_BUDGET_US = 1e15


class Category(NamedTuple):
    """A group of operations, for display and for statistics.

    Parameters
    ----------
    name : str
        Its name.
    description : str, default ""
        What the operations have in common.
    colour : str, optional
        A CSS colour. By default the view chooses one.
    priority : int, default 3
        Its rank; 1 comes first.
    budget_us : float, optional
        The time that a call of its operations may take, in microseconds, where an operation does not
        declare a budget of its own.

    See Also
    --------
    op : Define an operation of a category.

    Examples
    --------
    >>> execution = qp.Category("Execution", "Orders on their way", colour="#0072b2", priority=1)
    >>> class Trading(qp.Operation):
    ...     SUBMIT = qp.op("Submit an order", category=execution)
    >>> Trading.SUBMIT.category.name
    'Execution'
    """

    name: str
    description: str = ""
    colour: str | None = None
    priority: int = DEFAULT_PRIORITY
    budget_us: float | None = None


class Definition(NamedTuple):
    """The definition of an operation.

    Attributes
    ----------
    name : str
        ``Class.MEMBER``.
    module : str
        The module of the class, which distinguishes classes of the same name.
    description : str
        What the operation does.
    category : Category
        The group that it belongs to.
    priority : int
        Its rank, 1 for the most important.
    budget_us : float or None
        The time that a call may take, in microseconds.
    detail : bool
        Whether it is recorded at the level "full" only.
    sample_every : int
        One of so many calls is recorded.
    expect_us : tuple of float or None
        The range of plausible durations, in microseconds.
    budget_quantile : float
        The share of calls that must keep the budget.
    attributes : tuple of Attribute
        The attributes that it declares.
    cpu_time : bool
        Whether the CPU time of its blocks is recorded.

    Examples
    --------
    >>> class Trading(qp.Operation):
    ...     SUBMIT = qp.op("Submit an order", budget_us=100)
    >>> Trading.SUBMIT.definition.budget_us
    100
    """

    name: str
    module: str
    description: str
    category: Category
    priority: int = DEFAULT_PRIORITY
    budget_us: float | None = None
    detail: bool = False
    sample_every: int = 1
    expect_us: tuple[float, float] | None = None
    budget_quantile: float = DEFAULT_BUDGET_QUANTILE
    attributes: tuple[Attribute, ...] = ()
    cpu_time: bool = False


def plain_definition(definition: Definition) -> dict[str, Any]:
    """Return the definition as JSON can have it, in footers and in the journal beside the rings."""
    return {
        **definition._asdict(),
        "category": definition.category._asdict(),
        "attributes": [plain_attribute(one) for one in definition.attributes],
    }


def definition_of(plain: dict[str, Any]) -> Definition:
    """Return the definition that `plain` was made of. Fields that this version does not know are left out.

    Raises KeyError or TypeError where `plain` is something else.
    """
    category = {name: plain["category"][name] for name in Category._fields if name in plain["category"]}
    known = {name: plain[name] for name in Definition._fields if name in plain}
    expect_us = plain.get("expect_us")
    return Definition(
        **{
            **known,
            "category": Category(**category),
            "attributes": tuple(map(attribute_of, plain.get("attributes") or ())),
            "expect_us": None if expect_us is None else (float(expect_us[0]), float(expect_us[1])),
        }
    )


def writable(text: str) -> str:
    """Return `text` as UTF-8 can have it: surrogates, as file names may hold them, become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


class op:  # noqa: N801 - reads as a keyword in the body of an enum
    """Define an operation: a member of an `Operation` enum.

    Parameters
    ----------
    description : str, default ""
        What the operation does, in words.
    category : str or Category, optional
        The group that it belongs to. By default the name of the enum.
    priority : int, default 3
        Its rank, 1 for the most important.
    budget_us : float, optional
        The time that a call may take, in microseconds; by default that of its category, if it has one.
    budget_quantile : float, default 0.99
        The share of calls that must keep the budget: 0.99 if the p99 must.
    detail : bool, default False
        Whether to record it at the level "full" only.
    sample_every : int, default 1
        Record one of so many calls, chosen at random, with that weight.
    expect_us : tuple of float, optional
        The range of plausible durations, ``(low, high)`` in microseconds; see `Capture.validate`.
    attributes : mapping of str to type, optional
        What tells calls apart, as names and types: ``{"route": str, "status": int, "tenant": str}``. A type is str,
        int, float, bool, an Enum or a Literal, which allow their members only, and any of these with ``| None``.
        Values are given by ``with Api.REQUEST(route="/orders"):`` and by `annotate`.
    cpu_time : bool, default False
        Whether to record the CPU time of the thread in each block too. It costs two system calls per block.
    **unknown
        Any other argument is an error that names the nearest parameter.

    Raises
    ------
    DefinitionError
        If an argument is unknown or invalid. It is a `TypeError` too.

    See Also
    --------
    Operation : The base class of the enums.
    Category : A group with a colour and a rank.

    Examples
    --------
    >>> class Trading(qp.Operation):
    ...     SUBMIT = qp.op("Submit an order", category="Execution", priority=1, budget_us=100)
    ...     HEARTBEAT = qp.op()
    >>> Trading.SUBMIT
    <Trading.SUBMIT: Submit an order>
    """

    # Compared by identity: an enum takes members of equal value for aliases, and two operations may well look alike.
    __slots__ = (
        "attributes",
        "budget_quantile",
        "budget_us",
        "category",
        "cpu_time",
        "description",
        "detail",
        "expect_us",
        "priority",
        "sample_every",
    )

    def __init__(
        self,
        description: str = "",
        *,
        category: str | Category | None = None,
        priority: int = DEFAULT_PRIORITY,
        budget_us: float | None = None,
        budget_quantile: float = DEFAULT_BUDGET_QUANTILE,
        detail: bool = False,
        sample_every: int = 1,
        expect_us: tuple[float, float] | None = None,
        attributes: Mapping[str, object] | None = None,
        cpu_time: bool = False,
        **unknown: Never,
    ) -> None:
        for name in unknown:
            near = nearest(name, self.__slots__)
            hint = f"did you mean {near}?" if near else f"there are {', '.join(self.__slots__)}"
            raise DefinitionError(f"op() got an unexpected keyword argument {name!r}; {hint}")
        if not isinstance(description, str):
            raise DefinitionError(f"op(): description must be a string, not {description!r}")
        if category is not None and not isinstance(category, str | Category):
            hint = "; does a member of that name hide a category?" if isinstance(category, op) else ""
            raise DefinitionError(f"op(): category must be a string or a Category, not {category!r}{hint}")
        if isinstance(category, Category):
            _check_category(category)
        if not isinstance(priority, int) or isinstance(priority, bool):
            raise DefinitionError(f"op(): priority must be an integer, 1 for the most important, not {priority!r}")
        _check_budget("op", budget_us)
        if not isinstance(budget_quantile, float) or not 1e-6 <= budget_quantile <= 1 - 1e-6:
            raise DefinitionError(
                f"op(): budget_quantile must be between 0 and 1, as 0.99 for the p99, not {budget_quantile!r}"
            )
        if not isinstance(detail, bool):
            raise DefinitionError(f"op(): detail must be True or False, not {detail!r}")
        if not isinstance(sample_every, int) or isinstance(sample_every, bool) or not 1 <= sample_every < 1 << 31:
            raise DefinitionError(f"op(): sample_every must be an integer of at least 1, not {sample_every!r}")
        if not isinstance(cpu_time, bool):
            raise DefinitionError(f"op(): cpu_time must be True or False, not {cpu_time!r}")
        declarations.declared(attributes)
        self.attributes = dict(attributes or {})
        self.cpu_time = cpu_time
        self.description = description
        self.category = category
        self.priority = priority
        self.budget_us = budget_us
        self.budget_quantile = budget_quantile
        self.detail = detail
        self.sample_every = sample_every
        self.expect_us = None if expect_us is None else _range_of(expect_us)

    def _again(self) -> op:
        """Return an equal definition that is not the same object."""
        return op(**{name: getattr(self, name) for name in self.__slots__})

    def __repr__(self) -> str:
        options = f"category={self.category!r}, priority={self.priority}, budget_us={self.budget_us}"
        rare: dict[str, object] = {
            "budget_quantile": DEFAULT_BUDGET_QUANTILE,
            "detail": False,
            "sample_every": 1,
            "expect_us": None,
            "attributes": {},
            "cpu_time": False,
        }
        more = [f", {name}={value!r}" for name, usual in rare.items() if (value := getattr(self, name)) != usual]
        return f"op({self.description!r}, {options}{''.join(more)})"


def _check_budget(where: str, budget_us: Any) -> None:
    if budget_us is None:
        return
    if isinstance(budget_us, bool) or not isinstance(budget_us, int | float):
        raise DefinitionError(f"{where}(): budget_us must be a number of microseconds, not {budget_us!r}")
    if not budget_us > 0:
        raise DefinitionError(f"{where}(): budget_us must be more than 0, not {budget_us!r}")
    if budget_us > LARGEST_BUDGET_US:
        raise DefinitionError(f"{where}(): budget_us must be at most {LARGEST_BUDGET_US:g}, which is thirty years")


def _check_category(category: Category) -> None:
    _check_budget("Category", category.budget_us)
    for name in ("name", "description", "colour"):
        text = getattr(category, name)
        if not isinstance(text, str) and not (name == "colour" and text is None):
            raise DefinitionError(f"Category(): {name} must be a string, not {text!r}")
    if not isinstance(category.priority, int) or isinstance(category.priority, bool):
        raise DefinitionError(
            f"Category(): priority must be an integer, 1 for what comes first, not {category.priority!r}"
        )


def _range_of(pair: Any) -> tuple[float, float]:
    if isinstance(pair, tuple | list) and len(pair) == 2:
        low, high = map(real, pair)
        if 0 <= low < high:
            return low, high
    raise DefinitionError(f"op(): expect_us must be two numbers of microseconds, (low, high), not {pair!r}")


class Registry:
    """Numbers for definitions, process-wide. An operation defined again unchanged keeps its number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._definitions: list[Definition] = []
        self._numbers: dict[Definition, int] = {}
        self._owners: dict[str, str] = {}
        #: Members of all enums, for changes while they are recorded.
        self.members: list[Operation] = []
        #: One of so many calls is recorded, by name of an operation, an enum or a category: over what they declare.
        self.sampling: dict[str, int] = {}
        #: Told of each new definition, so that a running recording can note it before its first sample.
        self.on_new: Callable[[int, Definition], None] | None = None
        #: Called once, before the first definition: a program that defines none need not be recorded.
        self.on_first: Callable[[], None] | None = None

    def number(self, definition: Definition) -> int:
        """Return the number of a definition, a new one if it is new."""
        on_first, self.on_first = self.on_first, None
        if on_first is not None:
            on_first()
        with self._lock:
            owner = self._owners.setdefault(definition.name, definition.module)
            if owner != definition.module:
                definition = definition._replace(name=f"{definition.module}.{definition.name}")
            known = self._numbers.get(definition)
            if known is not None:
                return known
            number = len(self._definitions)
            self._definitions.append(definition)
            self._numbers[definition] = number
            if self.on_new is not None:
                self.on_new(number, definition)
            return number

    def __getitem__(self, number: int) -> Definition:
        return self._definitions[number]

    def every(self, definition: Definition) -> int:
        """One of how many calls is recorded: what is said of an operation goes before its enum's."""
        enum, category = definition.name.rpartition(".")[0], definition.category.name
        found = (self.sampling.get(name) for name in (definition.name, enum, category))
        return next((every for every in found if every is not None), definition.sample_every)

    def sample(self, sampling: Mapping[str, int]) -> None:
        """Replace what is said of the sampling of operations, those that are defined later included."""
        self.sampling = dict(sampling)
        for member in list(self.members):
            member.probe_every = self.every(member.definition)

    def rates(self) -> dict[int, int]:
        """By number of the operation: one of so many calls is recorded, where that is not what it declares."""
        every = ((number, self.every(one), one.sample_every) for number, one in enumerate(self.all()))
        return {number: now for number, now, declared in every if now != declared}

    def all(self) -> list[Definition]:
        """Return all definitions so far; the index is the number."""
        return list(self._definitions)


registry = Registry()


def _refuse_attribute(number: int, name: str, value: object) -> None:
    """Raise what is to be known of an attribute that a core refuses."""
    definition = registry[number]
    declarations.refuse(definition.name, definition.attributes, name, value)


core.set_refusal(_refuse_attribute)

if TYPE_CHECKING:

    def annotate(*, error: str | BaseException | None = None, **attributes: AttributeValue) -> None:
        """Describe the innermost open block of this execution context.

        Where no block is open, and where nothing is recorded, it does nothing.

        Parameters
        ----------
        error : str, BaseException or None, optional
            What failed, such as ``"http 502"``, or an exception, whose type is named. The call then
            counts as failed, whether or not an exception leaves the block. None takes it back.
        **attributes : str, int, float, bool, enum member or None
            Values of attributes that the operation of the block declares. They replace earlier ones.

        Raises
        ------
        TypeError
            For an attribute that the operation does not declare, or a value of another type.

        See Also
        --------
        op : Declare the attributes of an operation.

        Examples
        --------
        >>> class Api(qp.Operation):
        ...     REQUEST = qp.op("One request", attributes={"status": int})
        >>> with qp.record("captures/api"):
        ...     with Api.REQUEST:
        ...         qp.annotate(status=502, error="http 502")
        >>> qp.open("captures/api").stats()["errors"].item()
        1
        """

else:
    annotate = core.annotate


class _OperationType(enum.EnumType):
    if not TYPE_CHECKING:  # type checkers know enums, and refuse what is refused here

        def __new__(metacls, name, bases, body, **options):
            inherited = {attribute for base in bases for one in base.__mro__ for attribute in vars(one)}
            for member, value in body.items():
                if isinstance(value, op | enum.auto) and member in inherited:
                    raise DefinitionError(
                        f"{name}.{member}: {member!r} is an attribute that all operations have; choose another name, "
                        f"as {_another_name(member)!r}"
                    )
            return super().__new__(metacls, name, bases, body, **options)

        def __getitem__(cls, name):
            try:
                return cls._member_map_[name]
            except KeyError:
                near = nearest(str(name), cls._member_map_)
                hint = f"did you mean {near!r}?" if near else f"there are {', '.join(list(cls._member_map_)[:8])}"
                raise UnknownOperationError(f"{cls.__name__} has no operation {name!r}; {hint}") from None

        def __enter__(cls):
            some = next(iter(cls._member_map_), "MEMBER")
            raise TypeError(f"{cls.__name__} is a whole enum; time one of its members: with {cls.__name__}.{some}: ...")

        def __exit__(cls, *_):
            """Needed for a block to get as far as `__enter__`."""


def _another_name(member: str) -> str:
    return member.upper() if member != member.upper() else f"{member}_"


if sys.version_info < (3, 12):
    # There EnumType has a __getattr__, for which each look at a class, as in `with Trading.SUBMIT`, takes 100 ns more.
    # It would find members, but they are in the class itself; see __init_subclass__.
    core.plain_attributes(_OperationType)


class Operation(Probe, enum.Enum, metaclass=_OperationType):
    """Base class of the enums that name what is measured.

    A member times a block as a context manager, ``with Trading.SUBMIT: ...``, and as a decorator,
    ``@Trading.SUBMIT``, a function, a coroutine or a generator of either kind, from its first step to its
    last. Each call is one sample. Outside a recording both do next to nothing.

    Parameters
    ----------
    *values : op
        The definition of a member: ``NAME = op("what it does")``.

    Raises
    ------
    DefinitionError
        If a member is not defined with `op`, or hides an attribute that all operations have.

    See Also
    --------
    op : Define a member.
    PausableTimer : Time work that is done in pieces.

    Examples
    --------
    >>> class Trading(qp.Operation):
    ...     PARSE = qp.op("Parse one message")
    ...     SUBMIT = qp.op("Submit an order", budget_us=100)
    >>> @Trading.PARSE
    ... def parse(message):
    ...     return message.split("=")
    >>> with qp.record("captures/monday"):
    ...     with Trading.SUBMIT:
    ...         name, price = parse("price=1")
    >>> qp.last().tree()["depth"].to_dict()
    {'Trading.SUBMIT': 0, 'Trading.SUBMIT > Trading.PARSE': 1}
    """

    def __new__(cls, *values: Any) -> Self:
        """Make the member that `op` defines."""
        # An enum hands over a tuple as several arguments.
        definition = values[0] if len(values) == 1 else values
        if not isinstance(definition, op):
            raise DefinitionError(
                f"{cls.__name__}: define members with op(), as in NAME = op('what it does'), not {definition!r}"
            )
        member: Self = object.__new__(cls)
        # A value of its own, so that one op() used for two members makes two members.
        member._value_ = definition._again()
        return member

    @staticmethod
    def _generate_next_value_(*_: Any) -> op:
        """Return what `enum.auto()` means."""
        return op()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for member in cls:
            registry.members.append(member)
            member.probe_every = registry.every(member.definition)
            member.probe_detail = member._value_.detail
            member.probe_id = registry.number(member.definition)
            member.probe_cpu_time = member._value_.cpu_time
            member.probe_attributes = declarations.for_core(member._value_.attributes)
            # As later Pythons do, and EnumType refuses: it takes this for a change of the member.
            if sys.version_info < (3, 12):
                type.__setattr__(cls, member.name, member)

    @property
    def definition(self) -> Definition:
        """The definition of the operation, as a `Definition`."""
        spec: op = self._value_
        category = spec.category if spec.category is not None else type(self).__name__
        if not isinstance(category, Category):
            category = Category(category)
        return Definition(
            name=writable(f"{type(self).__name__}.{self._name_}"),
            module=writable(type(self).__module__),
            description=writable(spec.description),
            category=category._replace(name=writable(category.name), description=writable(category.description)),
            priority=spec.priority,
            budget_us=category.budget_us if spec.budget_us is None else spec.budget_us,
            detail=spec.detail,
            sample_every=spec.sample_every,
            expect_us=spec.expect_us,
            budget_quantile=spec.budget_quantile,
            attributes=declarations.declared(spec.attributes),
            cpu_time=spec.cpu_time,
        )

    @property
    def description(self) -> str:
        """What the operation does, in words; it may be empty."""
        return self._value_.description  # type: ignore[no-any-return]

    @property
    def category(self) -> Category:
        """The `Category` that the operation belongs to."""
        return self.definition.category

    @property
    def priority(self) -> int:
        """The rank of the operation, 1 for the most important."""
        return self._value_.priority  # type: ignore[no-any-return]

    @property
    def budget_us(self) -> float | None:
        """The time that a call may take, in microseconds; None if there is no budget."""
        return self.definition.budget_us

    @property
    def budget_quantile(self) -> float:
        """The share of calls that must keep the budget: 0.99 if the p99 must."""
        return self._value_.budget_quantile  # type: ignore[no-any-return]

    @property
    def detail(self) -> bool:
        """Whether the operation is recorded at the level "full" only."""
        return self._value_.detail  # type: ignore[no-any-return]

    @property
    def sample_every(self) -> int:
        """One of so many calls is recorded."""
        return self._value_.sample_every  # type: ignore[no-any-return]

    @property
    def expect_us(self) -> tuple[float, float] | None:
        """The range of plausible durations in microseconds, ``(low, high)``; None if there is none."""
        return self._value_.expect_us  # type: ignore[no-any-return]

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """What tells calls of the operation apart."""
        return declarations.declared(self._value_.attributes)

    @property
    def cpu_time(self) -> bool:
        """Whether the CPU time of each block is recorded."""
        return self._value_.cpu_time  # type: ignore[no-any-return]

    def timer(self, *, elapsed: Operation | None = None, **attributes: AttributeValue) -> PausableTimer:
        """Make a timer that records one sample of this operation, without the pauses in it.

        Parameters
        ----------
        elapsed : Operation, optional
            Another operation, which gets a sample of the same work with the pauses included.
        **attributes
            Values of attributes that the operation declares.

        Returns
        -------
        PausableTimer
            The timer, which is paused, and is also a context manager.

        Raises
        ------
        TypeError
            If `elapsed` is not an operation, or an attribute is not declared or of another type.
        ValueError
            If `elapsed` is this operation itself.

        Examples
        --------
        >>> class Trading(qp.Operation):
        ...     PARSE = qp.op("Parse one message")
        ...     HANDLE = qp.op("Handle one message, with the waits")
        >>> with Trading.PARSE.timer(elapsed=Trading.HANDLE) as timer:
        ...     timer.pause()
        ...     timer.resume()
        >>> timer.active_ns < timer.elapsed_ns
        True
        """
        return PausableTimer(self, elapsed, **attributes)

    if TYPE_CHECKING:  # the core does it

        @overload
        def __call__(self, function: F, /) -> F: ...
        @overload
        def __call__(self, **attributes: AttributeValue) -> Attributed: ...
        def __call__(self, *args: Any, **attributes: Any) -> Any:
            """Decorate a function, so that each call is one sample; or give values to attributes.

            ``with Api.REQUEST(route="/orders"): ...`` and ``@Api.REQUEST(route="/orders")`` time a block and a function
            with attributes.
            """

    def _decorated(self, function: Any, timing: Any) -> Any:
        """`function` so that each call is one sample; `timing` is the operation, or what has its attributes."""
        if isinstance(function, type):
            raise TypeError(
                f"@{self.definition.name} decorates a function, not the class {function.__name__}; "
                "decorate the methods that are to be timed, __init__ among them"
            )
        if not callable(function):
            raise TypeError(f"@{self.definition.name} decorates a function, not {function!r}")
        return _decorate(timing, function)

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self._name_}"

    def __repr__(self) -> str:
        return f"<{self}: {self.description}>" if self.description else f"<{self}>"

    # Members travel between processes and through copies by name: the value is unique to this process.
    def __reduce_ex__(self, protocol: Any) -> Any:
        return getattr, (type(self), self._name_)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self


# Flags of a function's code that say what a call of it returns. `inspect` has them as CO_GENERATOR and so on.
_GENERATOR = 0x20
_COROUTINE = 0x80
_ASYNC_GENERATOR = 0x200


def _flags(function: Any) -> int:
    """Flags of the code that runs when `function` is called; 0 where that returns neither of the three."""
    # Attributes can mark a function as something else than its code is, as inspect.markcoroutinefunction does.
    if type(function) is types.FunctionType and vars(function).keys() <= {"__wrapped__"}:
        return function.__code__.co_flags
    import inspect

    if inspect.isasyncgenfunction(function):
        return _ASYNC_GENERATOR
    if inspect.iscoroutinefunction(function) or _is_marked_by_asyncio(function):
        return _COROUTINE
    return _GENERATOR if inspect.isgeneratorfunction(function) else 0


def _is_marked_by_asyncio(function: Any) -> bool:
    """Whether asyncio takes `function` for a coroutine function, whatever its code is, as it does with an AsyncMock."""
    if getattr(function, "_is_coroutine", None) is None:
        return False
    import asyncio

    return asyncio.iscoroutinefunction(function)


def _decorate(operation: Any, function: Any) -> Any:
    flags = _flags(function)
    if flags & _ASYNC_GENERATOR:

        @functools.wraps(function)
        async def async_generator(*args: Any, **kwargs: Any) -> Any:
            with operation:
                inner = function(*args, **kwargs)
                try:
                    value = await anext(inner)
                    while True:
                        try:
                            sent = yield value
                        except GeneratorExit:
                            await inner.aclose()
                            raise
                        except BaseException as error:  # noqa: BLE001 - the inner generator decides what to do with it
                            value = await inner.athrow(error)
                        else:
                            value = await inner.asend(sent)
                except StopAsyncIteration:
                    return

        return async_generator
    if flags & _COROUTINE:

        @functools.wraps(function)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            with operation:
                return await function(*args, **kwargs)

        return coroutine
    if flags & _GENERATOR:

        @functools.wraps(function)
        def generator(*args: Any, **kwargs: Any) -> Any:
            with operation:
                return (yield from function(*args, **kwargs))

        return generator
    return core.timed(operation, function)


def checked(value: object, recorded: Collection[str] = ()) -> Operation:
    """Return `value` if it is an operation; otherwise raise a TypeError that names the nearest member.

    `recorded`: names in the capture that is asked, whose operations can be had without their enum.
    """
    if isinstance(value, Operation):
        return value
    return _refuse(value, recorded)


def _refuse(value: object, recorded: Collection[str]) -> NoReturn:
    if not isinstance(value, str):
        import textwrap

        # Of several operations there may be many.
        shown = textwrap.shorten(repr(value), 80, placeholder=" …")
        raise TypeError(f"an operation is a member of an Operation enum, not {shown}")
    near = nearest(value, [*recorded, *(definition.name for definition in registry.all())])
    hint = "" if near is None else f"; did you mean {near}?"
    if near in recorded:
        hint = f"; did you mean {near}, which is capture.operations[{near!r}] without its enum?"
    raise TypeError(f"an operation is a member of an Operation enum, not the string {value!r}{hint}")

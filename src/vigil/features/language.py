"""The language in which features are written: arithmetic on fields of the event and on folds of its entities' past.

A `Node` is a value per event. Nodes are combined with the usual operators; a missing value (no past, division by zero)
is NaN inside the engine, spreads through every operation, and is replaced by the feature's default at the end.

>>> from vigil.features.language import Entity, Measure, feature, field
>>> customer = Entity("customer", ("customer_id",))
>>> spent = Measure("spent", field("amount"), quantum=0.01)
>>> ratio = feature("ratio", field("amount") / customer.mean(spent, "30d"), group="sales", unit="ratio", reason="...")
>>> str(ratio.node)
'(amount / customer.spent.mean[30d])'
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from vigil.clock import DAY, HOUR, MINUTE
from vigil.errors import ContractError

WINDOWS: dict[str, tuple[int, int]] = {
    "1h": (5 * MINUTE, 12),
    "24h": (HOUR, 24),
    "today": (DAY, 1),
    "7d": (DAY, 7),
    "14d": (DAY, 14),
    "30d": (DAY, 30),
    "90d": (DAY, 90),
}
"""Length of each window as (grain in microseconds, number of grains).

A window holds the events whose grain is the event's own or one of the `n - 1` before it, and that precede the event in
the log: its length lies between `n - 1` and `n` grains.
"""

Number = int | float


class Operation(StrEnum):
    """What the virtual machine can do with one or two values."""

    ADD = "+"
    SUBTRACT = "-"
    MULTIPLY = "*"
    DIVIDE = "/"
    GREATER = ">"
    AT_LEAST = ">="
    EQUAL = "=="
    MINIMUM = "min"
    MAXIMUM = "max"
    SQRT = "sqrt"
    LOG = "log"
    FLOOR = "floor"
    FALLBACK = "fallback"


class Fold(StrEnum):
    """How an entity's past is folded into its state."""

    SUM = "sum"
    MAX = "max"
    LAST = "last"
    LAST_TIME = "last_time"
    FIRST_TIME = "first_time"
    RUN_LENGTH = "run_length"
    RUN_AGE = "run_age"


@dataclass(frozen=True, eq=False)
class Node:
    """A float64 value per event."""

    def __add__(self, other: "Node | Number") -> "Node":
        return Operate(Operation.ADD, self, as_node(other))

    def __radd__(self, other: Number) -> "Node":
        return as_node(other) + self

    def __sub__(self, other: "Node | Number") -> "Node":
        return Operate(Operation.SUBTRACT, self, as_node(other))

    def __rsub__(self, other: Number) -> "Node":
        return as_node(other) - self

    def __mul__(self, other: "Node | Number") -> "Node":
        return Operate(Operation.MULTIPLY, self, as_node(other))

    def __rmul__(self, other: Number) -> "Node":
        return as_node(other) * self

    def __truediv__(self, other: "Node | Number") -> "Node":
        return Operate(Operation.DIVIDE, self, as_node(other))

    def __rtruediv__(self, other: Number) -> "Node":
        return as_node(other) / self

    def __gt__(self, other: "Node | Number") -> "Node":
        return Operate(Operation.GREATER, self, as_node(other))

    def __ge__(self, other: "Node | Number") -> "Node":
        return Operate(Operation.AT_LEAST, self, as_node(other))

    def __lt__(self, other: "Node | Number") -> "Node":
        return as_node(other) > self

    def __le__(self, other: "Node | Number") -> "Node":
        return as_node(other) >= self

    def equals(self, other: "Node | Number") -> "Node":
        """Return 1 where the two are equal, else 0."""
        return Operate(Operation.EQUAL, self, as_node(other))

    def at_least(self, floor: "Node | Number") -> "Node":
        """Return the larger of the two."""
        return Operate(Operation.MAXIMUM, self, as_node(floor))

    def at_most(self, ceiling: "Node | Number") -> "Node":
        """Return the smaller of the two."""
        return Operate(Operation.MINIMUM, self, as_node(ceiling))

    def clip(self, low: Number, high: Number) -> "Node":
        """Return the value held within [low, high]."""
        return self.at_least(low).at_most(high)

    def floor(self) -> "Node":
        """Return the largest whole number that is not greater."""
        return Operate(Operation.FLOOR, self, as_node(0))

    def sqrt(self) -> "Node":
        """Return the square root; 0 for a negative value."""
        return Operate(Operation.SQRT, self, as_node(0))

    def log(self) -> "Node":
        """Return the natural logarithm; missing for a value that is not positive."""
        return Operate(Operation.LOG, self, as_node(0))

    def fallback(self, other: "Node | Number") -> "Node":
        """Return `other` where this value is missing."""
        return Operate(Operation.FALLBACK, self, as_node(other))


@dataclass(frozen=True, eq=False)
class Constant(Node):
    """The same number for every event."""

    value: float

    def __str__(self) -> str:
        short = f"{self.value:g}"
        return short if float(short) == self.value else repr(self.value)


@dataclass(frozen=True, eq=False)
class Field(Node):
    """A field of the event itself; missing where its kind of event has none."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class Operate(Node):
    """An operation on two values; one that needs a single value ignores the second."""

    operation: Operation
    left: Node
    right: Node

    def __str__(self) -> str:
        if self.operation in (Operation.SQRT, Operation.LOG, Operation.FLOOR):
            return f"{self.operation}({self.left})"
        if self.operation in (Operation.MINIMUM, Operation.MAXIMUM, Operation.FALLBACK):
            return f"{self.operation}({self.left}, {self.right})"
        return f"({self.left} {self.operation} {self.right})"


@dataclass(frozen=True, eq=False)
class Measure:
    """What an event adds to the folds of its entities: a number held in whole quanta, so that sums are exact.

    A missing value adds nothing. The value may depend on other folds: these then show the past without this event.
    """

    name: str
    value: Node
    quantum: float = 1.0

    def __str__(self) -> str:
        return f"{self.name} := {self.value} in {self.quantum:g}"


@dataclass(frozen=True, eq=False)
class Entity:
    """What has a past: the events that carry the same values in `columns`.

    An event that lacks the columns may be led to the entity by `lookup`: the key (`key_code`) that another entity
    remembers.
    """

    name: str
    columns: tuple[str, ...]
    lookup: Node | None = None

    def __str__(self) -> str:
        return f"{self.name} by {'+'.join(self.columns)}" + (f" or {self.lookup}" if self.lookup else "")

    def sum(self, measure: Measure, window: str | None = None) -> Node:
        """Return the sum over the window, or over the whole past."""
        return Aggregate(self, measure, Fold.SUM, _known(window))

    def count(self, window: str | None = None, of: "Measure | None" = None) -> Node:
        """Return the number of transactions, or the sum of the 0/1 measure `of`, in the window or the whole past."""
        return self.sum(of or EVENTS, window)

    def mean(self, measure: Measure, window: str | None = None) -> Node:
        """Return the mean over transactions; missing without any."""
        return Named(self._label(measure, "mean", window), self.sum(measure, window) / self.count(window))

    def std(self, measure: Measure, window: str | None = None) -> Node:
        """Return the sample standard deviation over transactions; missing with fewer than two."""
        count, total = self.count(window), self.sum(measure, window)
        squares = self.sum(square(measure), window)
        variance = (squares - total * total / count) / (count - 1)
        return Named(self._label(measure, "std", window), variance.sqrt())

    def max(self, measure: Measure, window: str) -> Node:
        """Return the largest non-negative value in the window; missing without any."""
        return Aggregate(self, measure, Fold.MAX, _known(window))

    def last(self, measure: Measure) -> Node:
        """Return the latest value; missing without any. Of several at one time the largest counts."""
        return Aggregate(self, measure, Fold.LAST, None)

    def since_last(self, measure: Measure) -> Node:
        """Return microseconds since the measure was last there; missing without any."""
        return field("time") - Aggregate(self, measure, Fold.LAST_TIME, None)

    def run_length(self, measure: Measure, broken_by: Measure, window: str) -> Node:
        """Return the sum of the measure over the latest grains of the window that hold nothing of `broken_by`."""
        return Aggregate(self, measure, Fold.RUN_LENGTH, _known(window), broken_by)

    def run_age(self, measure: Measure, broken_by: Measure, window: str) -> Node:
        """Return how many grains ago such a run began; missing while there is none."""
        return Aggregate(self, measure, Fold.RUN_AGE, _known(window), broken_by)

    def since_first(self, measure: Measure) -> Node:
        """Return microseconds since the measure was first there; missing without any."""
        return field("time") - Aggregate(self, measure, Fold.FIRST_TIME, None)

    def _label(self, measure: Measure, what: str, window: str | None) -> str:
        return f"{self.name}.{measure.name}.{what}" + (f"[{window}]" if window else "")


@dataclass(frozen=True, eq=False)
class Named(Node):
    """A formula under a short name."""

    name: str
    node: Node

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class Aggregate(Node):
    """A fold of one measure over the past of one entity."""

    entity: Entity
    measure: Measure
    fold: Fold
    window: str | None
    broken_by: Measure | None = None
    """What ends a run."""

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What the fold is fed with."""
        return (self.measure,) if self.broken_by is None else (self.measure, self.broken_by)

    def __str__(self) -> str:
        breaker = f" until {self.broken_by.name}" if self.broken_by else ""
        name = f"{self.entity.name}.{self.measure.name}{breaker}.{self.fold}"
        return f"{name}[{self.window}]" if self.window else name


@dataclass(frozen=True, eq=False)
class Feature:
    """A number that the members see: what it is called, how it is computed, and why it is there."""

    name: str
    node: Node
    group: str
    unit: str
    reason: str
    default: float = 0.0

    @property
    def windows(self) -> tuple[str, ...]:
        """The windows that the feature looks at, shortest first; "lifetime" for folds without one."""
        found = {node.window or "lifetime" for node in walk(self.node) if isinstance(node, Aggregate)}
        order = [*WINDOWS, "lifetime"]
        return tuple(sorted(found, key=order.index))


def field(name: str) -> Node:
    """Return a field of the event; the compiler refuses a name that `log.FIELDS` lacks."""
    return Field(name)


def feature(name: str, node: Node, *, group: str, unit: str, reason: str, default: float = 0.0) -> Feature:
    """Return a feature definition."""
    return Feature(name=name, node=node, group=group, unit=unit, reason=reason, default=default)


def as_node(value: Node | Number) -> Node:
    """Return a number as a constant, a node as it is."""
    return value if isinstance(value, Node) else Constant(float(value))


def square(measure: Measure) -> Measure:
    """Return the measure of the squared values, exact in squared quanta."""
    whole = (measure.value * (1 / measure.quantum) + 0.5).floor()
    return Measure(f"{measure.name}_squared", whole * whole * (measure.quantum**2), quantum=measure.quantum**2)


def children(node: Node) -> tuple[Node, ...]:
    """Return the nodes that a node needs directly; a fold needs those of its measure and of its entity's key."""
    if isinstance(node, Operate):
        return (node.left, node.right)
    if isinstance(node, Named):
        return (node.node,)
    if isinstance(node, Aggregate):
        values = tuple(measure.value for measure in node.measures)
        return (*values, node.entity.lookup) if node.entity.lookup else values
    return ()


def walk(node: Node) -> Iterator[Node]:
    """Yield the node and everything below it in the same event: what feeds a fold is the past and not walked."""
    yield node
    if isinstance(node, Operate):
        yield from walk(node.left)
        yield from walk(node.right)
    elif isinstance(node, Named):
        yield from walk(node.node)


def _known(window: str | None) -> str | None:
    if window is not None and window not in WINDOWS:
        raise ContractError(f"unknown window {window!r}: one of {', '.join(WINDOWS)}")
    return window


EVENTS = Measure("events", Field("is_transaction"))
"""1 for every transaction; verdicts, stock and deliveries are not counted."""

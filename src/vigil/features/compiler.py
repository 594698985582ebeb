"""From feature definitions to the tables and programs of the kernel.

Folds whose measures or keys depend on other folds run in a later stage than these; within a stage every entity has one
block of state. See `vigil.features.kernel` for the meaning of each table.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from vigil.clock import HOUR
from vigil.contracts.keys import ContentHash, hash_json
from vigil.errors import Bug, ContractError
from vigil.features import kernel
from vigil.features.fields import FIELDS, KEY_COLUMNS
from vigil.features.kernel import Code, Tables
from vigil.features.language import (
    WINDOWS,
    Aggregate,
    Constant,
    Entity,
    Feature,
    Field,
    Fold,
    Measure,
    Named,
    Node,
    Operate,
    Operation,
    children,
)

GRACE = HOUR
"""How late an event may be and still find all grains of its windows: every ring is longer by as much."""

_OPERATIONS = {
    Operation.ADD: kernel.ADD,
    Operation.SUBTRACT: kernel.SUBTRACT,
    Operation.MULTIPLY: kernel.MULTIPLY,
    Operation.DIVIDE: kernel.DIVIDE,
    Operation.GREATER: kernel.GREATER,
    Operation.AT_LEAST: kernel.AT_LEAST,
    Operation.EQUAL: kernel.EQUAL,
    Operation.MINIMUM: kernel.MINIMUM,
    Operation.MAXIMUM: kernel.MAXIMUM,
    Operation.SQRT: kernel.SQRT,
    Operation.LOG: kernel.LOG,
    Operation.FLOOR: kernel.FLOOR,
    Operation.FALLBACK: kernel.FALLBACK,
}
_SINGLES = {
    Fold.SUM: kernel.SINGLE_SUM,
    Fold.MAX: kernel.SINGLE_MAX,
    Fold.LAST: kernel.SINGLE_LAST,
    Fold.LAST_TIME: kernel.SINGLE_LAST_TIME,
    Fold.FIRST_TIME: kernel.SINGLE_FIRST_TIME,
}


_RUNS = (Fold.RUN_LENGTH, Fold.RUN_AGE)
"""What a run's ring tells, in the order of its outputs."""

_RING_KINDS = {
    Fold.SUM: kernel.RING_SUM,
    Fold.MAX: kernel.RING_MAX,
    Fold.RUN_LENGTH: kernel.RING_RUN,
    Fold.RUN_AGE: kernel.RING_RUN,
}


@dataclass(frozen=True)
class Block:
    """The state of one entity in one stage."""

    entity: Entity
    row: int
    """Its row in `Tables.blocks`."""
    width: int
    """Its state in int64 values."""
    key_measure: int | None
    """Measure column that leads an event to the entity by `Entity.lookup`."""


@dataclass(frozen=True)
class Stage:
    """What runs together: first the measures are computed, then the blocks fold them."""

    measures: Code
    results: kernel.Int64s
    """(register, measure column)"""
    per_unit: kernel.Floats
    """Quanta per unit of each result."""
    blocks: tuple[Block, ...]
    emits_all: bool
    """Whether a later stage needs the aggregates of every event, not only of transactions."""


@dataclass(frozen=True)
class Program:
    """Compiled feature definitions."""

    features: tuple[Feature, ...]
    fields: tuple[str, ...]
    """The event's fields that the programs read, in the order of the columns."""
    tables: Tables
    stages: tuple[Stage, ...]
    code: Code
    results: kernel.Int64s
    """The register of each feature."""
    defaults: kernel.Floats
    n_aggregates: int
    n_measures: int
    aggregate_columns: dict[str, int]
    threads: int
    """Threads of a run; the entities of a stage are folded side by side, to the same bits."""

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names in the order of the vector."""
        return tuple(feature.name for feature in self.features)

    @cached_property
    def schema_hash(self) -> ContentHash:
        """The key of the feature schema: names, formulas, measures, entities, windows, and defaults."""
        parts = {
            "features": [[feature.name, str(feature.node), feature.default] for feature in self.features],
            "measures": self.measures,
            "entities": self.entities,
            "names": self.abbreviations,
            "windows": WINDOWS,
        }
        return hash_json(parts)

    @cached_property
    def abbreviations(self) -> tuple[str, ...]:
        """Every name that stands for a formula, with the formula."""
        nodes = _reachable(feature.node for feature in self.features)
        return tuple(sorted({f"{node} := {node.node}" for node in nodes if isinstance(node, Named)}))

    @cached_property
    def measures(self) -> tuple[str, ...]:
        """Name, formula and quantum of every measure."""
        nodes = _reachable(feature.node for feature in self.features)
        folds = [node for node in nodes if isinstance(node, Aggregate)]
        return tuple(sorted({str(measure) for fold in folds for measure in fold.measures}))

    @cached_property
    def entities(self) -> tuple[str, ...]:
        """Name and key columns of every entity."""
        nodes = _reachable(feature.node for feature in self.features)
        return tuple(sorted({str(node.entity) for node in nodes if isinstance(node, Aggregate)}))


def compile_features(features: Sequence[Feature], threads: int | None = None) -> Program:
    """Return the program of `features`, in their order; ContractError names what cannot be compiled.

    Without a number of threads a run takes as many as there are processors.
    """
    _check_names(features)
    plan = _Plan()
    folds = [node for node in _reachable(feature.node for feature in features) if isinstance(node, Aggregate)]
    for fold in folds:
        plan.add(fold)
    for stage in range(plan.n_stages):
        plan.lay_out(stage)
    stages = tuple(plan.compile_stage(stage) for stage in range(plan.n_stages))
    assembler = _Assembler(plan)
    registers = [assembler.emit(feature.node) for feature in features]
    return Program(
        features=tuple(features),
        fields=tuple(plan.fields),
        tables=plan.tables(),
        stages=stages,
        code=assembler.code(),
        results=np.array(registers, dtype=np.int64),
        defaults=np.array([feature.default for feature in features], dtype=np.float64),
        n_aggregates=len(plan.aggregates),
        n_measures=len(plan.measures),
        aggregate_columns=dict(plan.aggregates),
        threads=threads or os.cpu_count() or 1,
    )


def _check_names(features: Sequence[Feature]) -> None:
    names = [feature.name for feature in features]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise ContractError(f"feature defined twice: {', '.join(twice)}" if twice else "no feature is defined")


def _reachable(roots: Iterable[Node]) -> list[Node]:
    """Return every node below `roots` once, what feeds a fold included, in a fixed order.

    Two nodes that read alike are both there: they may differ in what their names stand for.
    """
    found: dict[int, Node] = {}
    stack = list(roots)[::-1]
    while stack:
        node = stack.pop()
        if id(node) not in found:
            found[id(node)] = node
            stack.extend(children(node))
    return list(found.values())


@dataclass
class _Plan:
    """What the tables will say, gathered fold by fold."""

    aggregates: dict[str, int] = field(default_factory=dict)
    measures: dict[str, int] = field(default_factory=dict)
    fields: dict[str, int] = field(default_factory=dict)
    folds: dict[tuple[int, str], list[Aggregate]] = field(default_factory=dict)
    entities: dict[str, Entity] = field(default_factory=dict)
    definitions: dict[str, Measure] = field(default_factory=dict)
    formulas: dict[str, str] = field(default_factory=dict)
    blocks: dict[tuple[int, str], Block] = field(default_factory=dict)
    block_rows: list[tuple[int, ...]] = field(default_factory=list)
    rings: list[tuple[int, ...]] = field(default_factory=list)
    ring_measures: list[int] = field(default_factory=list)
    windows: list[tuple[int, int]] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    singles: list[tuple[int, ...]] = field(default_factory=list)

    @property
    def n_stages(self) -> int:
        return max((stage for stage, _ in self.folds), default=-1) + 1

    def add(self, fold: Aggregate) -> None:
        """Give the fold a column and a block, or raise ContractError if it contradicts another definition."""
        self._agree(fold)
        if str(fold) in self.aggregates:
            return
        self.aggregates[str(fold)] = len(self.aggregates)
        for measure in _measures_of(fold):
            self.measures.setdefault(measure.name, len(self.measures))
        self.folds.setdefault((_stage(fold), fold.entity.name), []).append(fold)

    def _agree(self, fold: Aggregate) -> None:
        for measure in _measures_of(fold):
            known = self.definitions.setdefault(measure.name, measure)
            if str(known) != str(measure):
                raise ContractError(f"two measures are called {measure.name}: {known} and {measure}")
        entity = self.entities.setdefault(fold.entity.name, fold.entity)
        if entity.columns != fold.entity.columns or str(entity.lookup) != str(fold.entity.lookup):
            raise ContractError(f"two entities are called {entity.name}: {entity.columns} and {fold.entity.columns}")
        unknown = set(entity.columns) - set(KEY_COLUMNS)
        if unknown:
            raise ContractError(f"entity {entity.name} uses {sorted(unknown)}, which are no keys of an event")

    def check_name(self, node: Named) -> None:
        """Raise ContractError if the name stands for another formula already."""
        formula = self.formulas.setdefault(node.name, str(node.node))
        if formula != str(node.node):
            raise ContractError(f"two formulas are called {node.name}: {formula} and {node.node}")
        if node.name in FIELDS or node.name in self.aggregates:
            raise ContractError(f"a formula is called {node.name}, as a field or a fold is: give it another name")

    def field_column(self, name: str) -> int:
        """Return the column of an event's field, which is created by its first use."""
        if name not in FIELDS:
            raise ContractError(f"no event has a field {name!r}: one of {', '.join(FIELDS)}")
        return self.fields.setdefault(name, len(self.fields))

    def lay_out(self, stage: int) -> None:
        """Write the table rows of every block of the stage."""
        for (at, name), folds in self.folds.items():
            if at != stage:
                continue
            first_ring, first_single, width = len(self.rings), len(self.singles), 0
            for ring in _rings(folds):
                width = self._add_ring(ring, width)
            for fold in folds:
                if fold.window is None:
                    column = self.aggregates[str(fold)]
                    self.singles.append((_SINGLES[fold.fold], width, self.measures[fold.measure.name], column))
                    width += 2 if fold.fold is Fold.LAST else 1
            entity = self.entities[name]
            key_measure = self.measures[lookup_measure(entity).name] if entity.lookup else None
            self.blocks[stage, name] = Block(entity, len(self.block_rows), width, key_measure)
            self.block_rows.append((first_ring, len(self.rings), first_single, len(self.singles), width))

    def _add_ring(self, ring: list[Aggregate], offset: int) -> int:
        """Append one ring that starts at `offset` of the state and return where it ends."""
        grain = WINDOWS[str(ring[0].window)][0]
        measures = list(dict.fromkeys(measure.name for fold in ring for measure in fold.measures))
        lengths = sorted({WINDOWS[str(fold.window)][1] for fold in ring})
        columns = {(_output(fold), WINDOWS[str(fold.window)][1]): self.aggregates[str(fold)] for fold in ring}
        outputs = _RUNS if ring[0].fold in _RUNS else measures
        buckets = max(lengths) - (-GRACE // grain)
        row = (offset, grain, buckets, len(measures), len(self.ring_measures), len(lengths), len(self.windows))
        self.rings.append((*row, _RING_KINDS[ring[0].fold]))
        self.ring_measures += [self.measures[name] for name in measures]
        for length in lengths:
            self.windows.append((length, len(self.outputs)))
            self.outputs += [columns.get((name, length), -1) for name in outputs]
        return offset + 2 + len(measures) * (len(lengths) + buckets)

    def compile_stage(self, stage: int) -> Stage:
        """Return the program of the stage's measures and its blocks."""
        folds = [fold for (at, _), group in self.folds.items() if at == stage for fold in group]
        assembler = _Assembler(self)
        names = list(dict.fromkeys(measure.name for fold in folds for measure in _measures_of(fold)))
        results = [(assembler.emit(self.definitions[name].value), self.measures[name]) for name in names]
        return Stage(
            measures=assembler.code(),
            results=np.array(results, dtype=np.int64).reshape(-1, 2),
            per_unit=np.array([_per_unit(self.definitions[name]) for name in names]),
            blocks=tuple(block for (at, _), block in self.blocks.items() if at == stage),
            emits_all=stage + 1 < self.n_stages,
        )

    def tables(self) -> Tables:
        """Return what was gathered as arrays."""
        return Tables(
            blocks=_table(self.block_rows, 5),
            rings=_table(self.rings, 8),
            ring_measures=np.array(self.ring_measures, dtype=np.int64),
            windows=_table(self.windows, 2),
            outputs=np.array(self.outputs, dtype=np.int64),
            singles=_table(self.singles, 4),
        )


def _stage(fold: Aggregate) -> int:
    """Return 0, or one more than the latest stage among the folds that feed this one."""
    below = [node for node in _reachable(children(fold)) if isinstance(node, Aggregate)]
    return max((_stage(node) + 1 for node in below), default=0)


def _measures_of(fold: Aggregate) -> tuple[Measure, ...]:
    return (*fold.measures, lookup_measure(fold.entity)) if fold.entity.lookup else fold.measures


def lookup_measure(entity: Entity) -> Measure:
    """Return the measure whose value is the code of the entity's key."""
    if entity.lookup is None:
        raise Bug(f"{entity.name} has no lookup")
    return Measure(f"{entity.name}.key", entity.lookup)


def _rings(folds: Sequence[Aggregate]) -> list[list[Aggregate]]:
    """Return the windowed folds in groups that share a ring: same grain, same kind, same set of windows.

    A run has a ring of its own, for it needs what feeds it and what breaks it side by side.
    """
    windows: dict[tuple[str, Fold, int], set[int]] = {}
    windowed = [(fold, *WINDOWS[fold.window]) for fold in folds if fold.window is not None]
    for fold, grain, length in windowed:
        windows.setdefault((fold.measure.name, fold.fold, grain), set()).add(length)
    groups: dict[tuple[object, ...], list[Aggregate]] = {}
    for fold, grain, length in windowed:
        if fold.fold in _RUNS:
            key: tuple[object, ...] = (*(measure.name for measure in fold.measures), grain, length)
        else:
            key = (fold.fold, grain, frozenset(windows[fold.measure.name, fold.fold, grain]))
        groups.setdefault(key, []).append(fold)
    return list(groups.values())


def _output(fold: Aggregate) -> str:
    """Return what tells the fold from others of its ring: its measure, or for a run which side of it."""
    return fold.fold if fold.fold in _RUNS else fold.measure.name


def _per_unit(measure: Measure) -> float:
    return 1.0 / measure.quantum


def _table(rows: Sequence[Sequence[int]], columns: int) -> kernel.Int64s:
    return np.array(rows, dtype=np.int64).reshape(-1, columns)


class _Assembler:
    """Writes one program; equal expressions share a register."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan
        self._registers: dict[str, int] = {}
        self._instructions: list[tuple[int, int, int]] = []
        self._constants: list[float] = []

    def emit(self, node: Node) -> int:
        """Return the register that will hold the node's value."""
        key = str(node)
        if isinstance(node, Named):
            self._plan.check_name(node)
        if key not in self._registers:
            self._registers[key] = self._append(node)
        return self._registers[key]

    def _append(self, node: Node) -> int:
        match node:
            case Constant():
                return self._write(kernel.LOAD_CONSTANT, constant=node.value)
            case Field():
                return self._write(kernel.LOAD_FIELD, self._plan.field_column(node.name))
            case Aggregate():
                is_whole = node.fold in (Fold.LAST_TIME, Fold.FIRST_TIME, Fold.RUN_AGE)
                unit = 1.0 if is_whole else _per_unit(node.measure)
                return self._write(kernel.LOAD_AGGREGATE, self._plan.aggregates[str(node)], constant=unit)
            case Named():
                return self.emit(node.node)
            case Operate():
                left, right = self.emit(node.left), self.emit(node.right)
                return self._write(_OPERATIONS[node.operation], left, right)
        raise ContractError(f"{node!r} is not part of the feature language")

    def _write(self, operation: int, left: int = 0, right: int = 0, constant: float = 0.0) -> int:
        self._instructions.append((operation, left, right))
        self._constants.append(constant)
        return len(self._instructions) - 1

    def code(self) -> Code:
        """Return the program so far."""
        instructions = np.array(self._instructions, dtype=np.int32).reshape(-1, 3)
        return Code(instructions, np.array(self._constants, dtype=np.float64))

"""What can be compiled, what is refused and how, and what the schema's hash stands for."""

import re
from collections.abc import Callable

import numpy as np
import pytest

from tests.features.logs import CONFIG, PROGRAM, in_log_order, sale, tables_of
from vigil.contracts.events import Event
from vigil.errors import ContractError
from vigil.features.compiler import Program, compile_features
from vigil.features.definitions import GROUPS, FeatureConfig, define
from vigil.features.engine import compute_tables
from vigil.features.language import EVENTS, Constant, Entity, Feature, Measure, Named, Node, feature, field

customer = Entity("customer", ("customer_id",))
spent = Measure("spent", field("amount"), quantum=0.01)


def simple(node: Node, name: str = "x", **changes: object) -> Feature:
    texts = {"group": "test", "unit": "number", "reason": "because"}
    return feature(name, node, **{**texts, **changes})  # type: ignore[arg-type]


def compiled(*nodes: Node) -> Program:
    return compile_features([simple(node, f"x{n}") for n, node in enumerate(nodes)])


def values(node: Node, events: list[Event], default: float = -99.0) -> list[float]:
    """Return what the formula says of each transaction."""
    program = compile_features([simple(node, default=default)])
    return [float(value) for value in compute_tables(program, tables_of(in_log_order(events))).values[:, 0]]


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "an unknown field": (
        lambda: compiled(field("colour") + 1),
        "no event has a field 'colour': one of time, hour,",
    ),
    "an unknown field inside a fold": (
        lambda: compiled(customer.sum(Measure("colours", field("colour")), "7d")),
        "no event has a field 'colour'",
    ),
    "an unknown window": (
        lambda: customer.count("8d"),
        "unknown window '8d': one of 1h, 24h, today, 7d,",
    ),
    "an unknown window of a run": (
        lambda: customer.run_length(EVENTS, spent, "1y"),
        "unknown window '1y'",
    ),
    "an unknown group": (
        lambda: define(FeatureConfig(groups=("sales", "magic"))),
        "unknown feature group 'magic': one of calendar, sales,",
    ),
    "a feature defined twice": (
        lambda: compile_features([simple(Constant(1.0)), simple(Constant(2.0))]),
        "feature defined twice: x",
    ),
    "no feature at all": (
        lambda: compile_features([]),
        "no feature is defined",
    ),
    "two measures of one name": (
        lambda: compiled(customer.sum(spent), customer.sum(Measure("spent", field("quantity")))),
        "two measures are called spent: spent := amount in 0.01 and spent := quantity in 1",
    ),
    "two measures that differ in their quantum": (
        lambda: compiled(customer.sum(spent), customer.sum(Measure("spent", field("amount")))),
        "two measures are called spent: spent := amount in 0.01 and spent := amount in 1",
    ),
    "two entities of one name": (
        lambda: compiled(customer.count(), Entity("customer", ("card_id",)).count()),
        "two entities are called customer: ('customer_id',) and ('card_id',)",
    ),
    "two formulas of one name": (
        lambda: compiled(Named("score", field("hour")), Named("score", field("weekday"))),
        "two formulas are called score: hour and weekday",
    ),
    "a formula with the name of a field": (
        lambda: compiled(Named("hour", field("weekday"))),
        "a formula is called hour, as a field or a fold is: give it another name",
    ),
    "a formula with the name of a fold": (
        lambda: compiled(customer.count(), Named("customer.events.sum", field("weekday"))),
        "a formula is called customer.events.sum, as a field or a fold is: give it another name",
    ),
    "an entity by something that is no key": (
        lambda: compiled(Entity("price", ("amount",)).count()),
        "entity price uses ['amount'], which are no keys of an event",
    ),
    "a node of one's own": (
        lambda: compiled(Node()),
        "is not part of the feature language",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compiled_is_named(case: str) -> None:
    call, message = REFUSED[case]
    with pytest.raises(ContractError, match=re.escape(message)):
        call()


def test_a_name_that_two_groups_define_differently_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    clash = [simple(Constant(1.0), "amount", group="calendar")]
    monkeypatch.setattr("vigil.features.definitions.calendar", lambda: clash)
    with pytest.raises(ContractError, match="amount is defined differently in calendar and protocol"):
        define(FeatureConfig())


def test_groups_come_in_the_order_of_the_catalogue_whatever_order_is_asked_for() -> None:
    one, other = (define(FeatureConfig(groups=groups)) for groups in (("protocol", "sales"), ("sales", "protocol")))
    assert [feature.name for feature in one] == [feature.name for feature in other]


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_compiles_alone_and_computes_what_it_does_among_all(group: str) -> None:
    events: list[Event] = [sale(n, 97 * n, n % 11, product_id="p1") for n in range(80)]
    program = compile_features(define(FeatureConfig(groups=(group,))))
    everything = compute_tables(PROGRAM, tables_of(events)).values
    columns = [PROGRAM.names.index(name) for name in program.names]
    assert np.array_equal(compute_tables(program, tables_of(events)).values, everything[:, columns])


BASE = simple(field("amount") / customer.mean(spent, "30d"))
OTHER_SCHEMA = {
    "name": simple(BASE.node, "y"),
    "formula": simple(customer.mean(spent, "30d") / field("amount")),
    "constant": simple(field("amount") / customer.mean(spent, "30d") * 1.000000001),
    "window": simple(field("amount") / customer.mean(spent, "7d")),
    "default": simple(BASE.node, default=1.0),
    "measure": simple(field("amount") / customer.mean(Measure("spent", field("amount") * 2, quantum=0.01), "30d")),
    "quantum": simple(field("amount") / customer.mean(Measure("spent", field("amount"), quantum=0.1), "30d")),
    "entity": simple(field("amount") / Entity("customer", ("card_id",)).mean(spent, "30d")),
    "fold": simple(field("amount") / customer.max(spent, "30d")),
}
SAME_SCHEMA = {
    "unit": simple(BASE.node, unit="ratio"),
    "reason": simple(BASE.node, reason="another one"),
    "group": simple(BASE.node, group="sales"),
}


@pytest.mark.parametrize("what", OTHER_SCHEMA)
def test_the_schema_hash_changes_with_anything_that_changes_values(what: str) -> None:
    assert compile_features([OTHER_SCHEMA[what]]).schema_hash != compile_features([BASE]).schema_hash


@pytest.mark.parametrize("what", SAME_SCHEMA)
def test_the_schema_hash_does_not_change_with_texts(what: str) -> None:
    assert compile_features([SAME_SCHEMA[what]]).schema_hash == compile_features([BASE]).schema_hash


def test_the_schema_hash_changes_with_the_order_of_the_vector() -> None:
    one, other = simple(field("hour"), "a"), simple(field("month"), "b")
    assert compile_features([one, other]).schema_hash != compile_features([other, one]).schema_hash


CUTOFFS = {name: getattr(CONFIG, name) for name in FeatureConfig.model_fields if name != "groups"}


@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_the_schema_hash_changes_with_every_cutoff(cutoff: str) -> None:
    changed = define(CONFIG.model_copy(update={cutoff: CUTOFFS[cutoff] + 1}))
    assert compile_features(changed).schema_hash != PROGRAM.schema_hash


def test_the_schema_hash_is_the_same_for_the_same_definitions() -> None:
    assert compile_features(define(FeatureConfig())).schema_hash == PROGRAM.schema_hash


def test_a_lookup_is_part_of_the_schema() -> None:
    led = [
        Entity("supplier", ("supplier_id",), lookup=customer.last(Measure("c", field(name))))
        for name in ("hour", "month")
    ]
    hashes = {compiled(entity.count("90d")).schema_hash for entity in led}
    assert len(hashes) == 2


ARITHMETIC: dict[str, tuple[Node, float]] = {
    "sum": (field("amount") + 1, 13.0),
    "reversed sum": (1 + field("amount"), 13.0),
    "difference": (field("amount") - 2, 10.0),
    "reversed difference": (2 - field("amount"), -10.0),
    "product": (3 * field("amount"), 36.0),
    "quotient": (field("amount") / 8, 1.5),
    "reversed quotient": (6 / field("amount"), 0.5),
    "division by zero is missing": (field("amount") / (field("amount") - 12), -99.0),
    "greater": (field("amount") > 12, 0.0),
    "at least": (field("amount") >= 12, 1.0),
    "less": (field("amount") < 13, 1.0),
    "at most": (field("amount") <= 11, 0.0),
    "equal": (field("amount").equals(12), 1.0),
    "maximum": (field("amount").at_least(20), 20.0),
    "minimum": (field("amount").at_most(5), 5.0),
    "clip": (field("amount").clip(0, 1), 1.0),
    "floor": ((field("amount") / 5).floor(), 2.0),
    "floor of a negative value": ((field("amount") / -5).floor(), -3.0),
    "root": ((field("amount") + 4).sqrt(), 4.0),
    "root of a negative value": ((field("amount") - 50).sqrt(), 0.0),
    "logarithm": (field("amount").log(), float(np.float32(np.log(12)))),
    "logarithm of zero is missing": ((field("amount") - 12).log(), -99.0),
    "fallback": (field("on_hand").fallback(7), 7.0),
    "fallback that is not needed": (field("amount").fallback(7), 12.0),
    "a missing field is missing": (field("on_hand"), -99.0),
    "missing spreads through a comparison": (field("on_hand") > 1, -99.0),
    "missing spreads through a maximum": (field("on_hand").at_least(1), -99.0),
    "no past is missing": (customer.last(spent), -99.0),
    "no past sums to zero": (customer.sum(spent, "7d"), 0.0),
    "an infinite value is missing": (field("amount") * 1e300 * 1e300, -99.0),
}


@pytest.mark.parametrize("case", ARITHMETIC)
def test_arithmetic(case: str) -> None:
    node, expected = ARITHMETIC[case]
    assert values(node, [sale(1, 0, 12)]) == [expected]


def test_folds_over_the_whole_past() -> None:
    events: list[Event] = [sale(1, 0, 5), sale(2, 10, 9), sale(3, 30, 2)]
    assert values(customer.sum(spent), events) == [0, 5, 14]
    assert values(customer.count(), events) == [0, 1, 2]
    assert values(customer.mean(spent), events) == [-99, 5, 7]
    assert values(customer.last(spent), events) == [-99, 5, 9]
    assert values(customer.since_last(spent) / 60_000_000, events) == [-99, 10, 20]
    assert values(customer.since_first(spent) / 60_000_000, events) == [-99, 10, 30]
    assert values(customer.max(spent, "7d"), events) == [-99, 5, 9]
    assert values(customer.std(spent), [*events, sale(4, 40)])[-1] == pytest.approx(np.std([5, 9, 2], ddof=1))


def test_a_window_ends_with_the_own_grain_and_forgets_whole_grains() -> None:
    hour = [sale(n, minutes) for n, minutes in enumerate((0, 4, 5, 59, 60, 64, 65))]
    assert values(customer.count("1h"), hour) == [0, 1, 2, 3, 2, 3, 3]
    days = [sale(n, 1_440 * day) for n, day in enumerate((0, 1, 6, 7, 13, 14))]
    assert values(customer.count("7d"), days) == [0, 1, 2, 2, 1, 1]
    assert values(customer.count("today"), [sale(1, 0), sale(2, 1_439), sale(3, 1_440)]) == [0, 1, 0]


def test_the_largest_of_several_at_one_time_is_the_last() -> None:
    events: list[Event] = [sale(1, 0, 5), sale(2, 0, 9), sale(3, 0, 7), sale(4, 1)]
    assert values(customer.last(spent), events) == [-99, 5, 9, 9]


def test_the_largest_of_a_window_may_be_zero_but_not_negative() -> None:
    assert values(customer.max(spent, "7d"), [sale(1, 0, -5), sale(2, 1, 0), sale(3, 2, 8)]) == [-99, -99, 0]


def test_an_event_that_lacks_the_key_has_no_past_and_joins_none() -> None:
    events: list[Event] = [sale(1, 0), sale(2, 1, customer_id=None), sale(3, 2)]
    assert values(customer.count(), events) == [0, -99, 1]

"""Two kinds of bets on every slot: that one arm shows too many outcomes, and that it does not.

A bet is fair at best while its hypothesis is true, so its wealth exceeds 1/a with a chance of a at most, at whatever
moment somebody looks (Ville's inequality). Outcomes are counted as Poisson, which bounds whatever is independent, and
the suspect's are set against those of the other arm in the same slot: the rate of the slot itself cancels out of the
expectation, so that whatever hits both arms blames neither.

Outcomes that come in bursts are worth less: a slot is divided by the spread that the slots before it have shown. No
bet wins more than a bounded factor in one slot. Bets on `worse` are placed anew at every slot, so that a long good time
hides nothing that breaks later.
"""

from dataclasses import dataclass
from math import exp, expm1, log, log1p

from vigil.rollout.evidence.settings import Tolerance
from vigil.rollout.evidence.state import Wealth

EXCESSES = (0.1, 0.3, 1.0, 3.0)
"""Bets on `worse`, by how much more often than tolerated they expect an outcome."""

REACHES = (0.2, 0.4, 0.8, 1.6)
"""Bets on `fine`, by what an outcome costs where the other arm is large."""

MAX_GROWTH = 1.0
"""Of the logarithm of a bet in one slot: a hiccup of one replica blames nobody."""

MAX_FINE = 20.0
"""Where the logarithm of a bet on `fine` stops growing, so that what breaks later is seen soon."""

SUSPECTED, CAUTIOUS = (1.5, 20.0), (2.0, 10.0)
"""The spread that bets on `worse`, and those on `fine`, take for granted, and for how many slots it stands."""

FIRST_OUTCOMES = 2.0
"""Outcomes of each arm, at the same rate, before rates are known."""

AT_ONCE, RESTART_SLOTS = 0.5, 50.0
"""Part of the capital that is bet from the first slot on, and slots after which half of the rest is bet."""


@dataclass(frozen=True)
class Outcomes:
    """What the arms did in a slot: outcomes out of so many; without the other arm the margin is the limit."""

    suspect: float
    suspect_of: float
    other: float
    other_of: float
    tolerance: Tolerance
    slack: float = 1.0
    """How many margins `fine` allows."""

    @property
    def odds(self) -> float:
        """The suspect's tolerated number of outcomes for one of the other arm, the margin left out."""
        return self.tolerance.ratio * self.suspect_of / self.other_of if self.other_of else 0.0


def bet(wealth: Wealth, seen: Outcomes) -> Wealth:
    """Return the wealth after a slot; one without the suspect tells nothing."""
    if seen.suspect_of <= 0:
        return wealth
    deviation = _deviation(wealth, seen)
    return Wealth(
        worse=_bet_on_worse(wealth, seen),
        fine=_bet_on_fine(wealth, seen),
        rounds=wealth.rounds + 1,
        suspect=wealth.suspect + seen.suspect,
        suspect_of=wealth.suspect_of + seen.suspect_of,
        other=wealth.other + seen.other,
        other_of=wealth.other_of + seen.other_of,
        spread=wealth.spread + (deviation or 0.0),
        spread_of=wealth.spread_of + (deviation is not None),
    )


def worse_strength(wealth: Wealth) -> float:
    """Return the logarithm of the mixed wealth of all bets on `worse`."""
    if not wealth.worse:
        return 0.0
    return _log_add(_log_mean(wealth.worse), log(_still_to_place(wealth.rounds)))


def fine_strength(wealth: Wealth) -> float:
    """Return the logarithm of the mixed wealth of all bets on `fine`."""
    return _log_mean(wealth.fine) if wealth.fine else 0.0


def spread(wealth: Wealth, known: tuple[float, float]) -> float:
    """Return by how much bursts have made slots vary more than independent outcomes would: at least 1."""
    first, slots = known
    return max(1.0, (first * slots + wealth.spread) / (slots + wealth.spread_of))


def _bet_on_worse(wealth: Wealth, seen: Outcomes) -> tuple[float, ...]:
    won = _won(wealth, seen)
    fresh = log(_still_to_place(wealth.rounds) - _still_to_place(wealth.rounds + 1))
    before = [_log_add(value, fresh) for value in wealth.worse] or [fresh] * len(won)
    return tuple(value + growth for value, growth in zip(before, won, strict=True))


def _won(wealth: Wealth, seen: Outcomes) -> list[float]:
    width, odds = spread(wealth, SUSPECTED), seen.odds
    won = []
    for excess in EXCESSES:
        rise = excess / (1 + excess * odds)
        growth = log1p(rise) * seen.suspect - log1p(excess * odds) * seen.other
        growth -= rise * seen.suspect_of * seen.tolerance.margin
        won.append(min(MAX_GROWTH, growth / width))
    return won


def _bet_on_fine(wealth: Wealth, seen: Outcomes) -> tuple[float, ...]:
    before = wealth.fine or (0.0,) * len(REACHES)
    width, odds = spread(wealth, CAUTIOUS), seen.odds
    after = []
    for value, reach in zip(before, REACHES, strict=True):
        tilt = reach / (1 + reach * odds)
        fall = -expm1(-tilt)
        growth = seen.suspect_of * seen.slack * seen.tolerance.margin * fall - tilt * seen.suspect
        if seen.other_of:
            growth += log1p(odds * fall) * seen.other
        after.append(min(MAX_FINE, value + min(MAX_GROWTH, growth / width)))
    return tuple(after)


def _deviation(wealth: Wealth, seen: Outcomes) -> float | None:
    """Return the squared deviation of a slot from the arms' rates so far, in units of independent outcomes."""
    outcomes = seen.suspect + seen.other
    if not outcomes or not seen.other_of:
        return None
    expected, others = _usual(wealth) * seen.suspect_of, seen.other_of
    share = expected / (expected + others)
    return (seen.suspect - share * outcomes) ** 2 / (outcomes * share * (1 - share))


def _usual(wealth: Wealth) -> float:
    """Return the suspect's rate so far over that of the other arm, drawn to 1 while little is known."""
    of = wealth.suspect_of + wealth.other_of
    if not (known := wealth.suspect + wealth.other):
        return 1.0
    weight = FIRST_OUTCOMES * of / known
    mine = (wealth.suspect + FIRST_OUTCOMES) / (wealth.suspect_of + weight)
    return mine / ((wealth.other + FIRST_OUTCOMES) / (wealth.other_of + weight))


def _still_to_place(rounds: int) -> float:
    """Return the part of the capital that has not been bet after so many slots."""
    return (1 - AT_ONCE * (rounds > 0)) / (1 + rounds / RESTART_SLOTS)


def _log_mean(values: tuple[float, ...]) -> float:
    top = max(values)
    return top + log(sum(exp(value - top) for value in values) / len(values))


def _log_add(left: float, right: float) -> float:
    low, high = sorted((left, right))
    return high + log1p(exp(low - high))

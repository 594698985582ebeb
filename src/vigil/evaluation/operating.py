"""Metrics of one way to work: a daily budget of alerts or cards, or a threshold. Each is a ratio of sums over rows."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vigil.errors import ContractError
from vigil.evaluation.bootstrap import Blocks, Statistics, ratio
from vigil.evaluation.rows import AnyArray, BoolArray, FloatArray, IntArray, ScoredRows, codes
from vigil.evaluation.settings import MetricSettings


@dataclass(frozen=True, eq=False)
class Ratio:
    """A metric as the sum of one value over rows by that of another, and a constant that is added."""

    numerator: FloatArray
    denominator: FloatArray
    offset: float = 0.0


def ratio_statistics(ratios: Mapping[str, Ratio], blocks: Blocks) -> Statistics:
    """Return the function from block weights to the ratios; what is alerted stays as it was in the whole."""
    sums = {
        name: (blocks.sums(part.numerator), blocks.sums(part.denominator), part.offset) for name, part in ratios.items()
    }

    def statistics(weights: FloatArray) -> dict[str, FloatArray]:
        return {name: offset + ratio(weights @ top, weights @ bottom) for name, (top, bottom, offset) in sums.items()}

    return statistics


def budget_shares(scores: FloatArray, days: IntArray, per_day: float) -> FloatArray:
    """Return each row's share of an alert when the `per_day` highest scores of every day are alerted.

    Rows that tie for the last places share them equally: the expectation over a random order.
    """
    if not len(scores):
        return np.zeros(0)
    order = np.lexsort((-scores, days))
    day, score = days[order], scores[order]
    new_day = np.r_[True, day[1:] != day[:-1]]
    new_tie = new_day | np.r_[True, score[1:] != score[:-1]]
    place = np.arange(len(order))
    ahead = place[new_tie] - np.maximum.accumulate(np.where(new_day, place, 0))[new_tie]
    size = np.diff(np.r_[place[new_tie], len(order)])
    share = np.clip(per_day - ahead, 0, size) / size
    shares = np.empty(len(order))
    shares[order] = np.repeat(share, size)
    return shares


@dataclass(frozen=True, eq=False)
class CardDays:
    """The cards looked at, one row for each card and day: when, which, whether it was compromised."""

    days: IntArray
    cards: IntArray
    compromised: BoolArray


def top_cards(scores: FloatArray, labels: BoolArray, days: IntArray, cards: AnyArray, top: int) -> CardDays:
    """Return the `top` cards of each day by their highest score; cards found compromised are left out afterwards.

    The card precision of the Fraud Detection Handbook. Ties go to the card whose id sorts first.
    """
    distinct, card = codes(cards)
    found = np.zeros(len(distinct), np.bool_)
    picked: list[tuple[IntArray, IntArray, BoolArray]] = []
    order = np.argsort(days, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(days[order])) + 1) if len(order) else []:
        left = rows[~found[card[rows]]]
        highest = np.full(len(distinct), -np.inf)
        np.maximum.at(highest, card[left], scores[left])
        compromised = np.zeros(len(distinct), np.bool_)
        compromised[card[left[labels[left]]]] = True
        present = np.flatnonzero(np.isfinite(highest))
        chosen = present[np.argsort(-highest[present], kind="stable")][:top]
        found[chosen[compromised[chosen]]] = True
        picked.append((np.full(len(chosen), days[rows[0]]), chosen, compromised[chosen]))
    if not picked:
        return CardDays(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.bool_))
    return CardDays(*(np.concatenate(part) for part in zip(*picked, strict=True)))


def card_precision(rows: ScoredRows, top: int) -> float | None:
    """Return the mean over the days of the share of compromised cards among the `top` of the day; None without rows."""
    if not len(rows):
        return None
    entities = rows.need_entities("the card precision")
    looked_at = top_cards(rows.scores, rows.need_labels("the card precision"), rows.days, entities, top)
    return float(looked_at.compromised.sum()) / (top * len(np.unique(rows.days)))


def card_statistics(rows: ScoredRows, blocks: Blocks, settings: MetricSettings) -> Statistics:
    """Return the function from block weights to `card_precision`; the cards looked at stay the same."""
    labels, entities = rows.need_labels("the card precision"), rows.need_entities("the card precision")
    looked_at = top_cards(rows.scores, labels, rows.days, entities, settings.top_cards)
    distinct, card = codes(entities)
    pairs, first_row = np.unique(rows.days * len(distinct) + card, return_index=True)
    code = blocks.code[first_row[np.searchsorted(pairs, looked_at.days * len(distinct) + looked_at.cards)]]
    places = settings.top_cards * len(np.unique(rows.days))
    found = np.bincount(code, weights=looked_at.compromised.astype(np.float64), minlength=blocks.count)
    seen = np.bincount(code, minlength=blocks.count) * (places / max(1, len(code)))

    def statistics(weights: FloatArray) -> dict[str, FloatArray]:
        return {"card_precision": ratio(weights @ found, weights @ seen)}

    return statistics


def budget_ratios(rows: ScoredRows, settings: MetricSettings) -> dict[str, Ratio]:
    """Return precision and recall when the best `alerts_per_day` rows of every day are alerted."""
    labels = rows.need_labels("precision at the alert budget").astype(np.float64)
    shares = budget_shares(rows.scores, rows.days, settings.alerts_per_day)
    return {
        "precision_at_budget": Ratio(shares * labels, shares),
        "recall_at_budget": Ratio(shares * labels, labels),
    }


def costs(alerted: BoolArray, labels: BoolArray, amounts: FloatArray, cost_per_alert: float) -> FloatArray:
    """Return each row's cost: the amount of a missed fraud (a refund costs nothing), the work of an alert."""
    return np.where(alerted, cost_per_alert, np.where(labels, np.maximum(amounts, 0.0), 0.0))


def threshold_array(threshold: ArrayLike, length: int) -> FloatArray:
    """Return the threshold of each row, from one number or from one for each row."""
    values = np.asarray(threshold, np.float64)
    if values.shape not in ((), (length,)) or np.isnan(values).any():
        raise ContractError(f"threshold has shape {values.shape} or holds NaN: one number, or one for each of {length}")
    return np.broadcast_to(values, (length,))


def threshold_ratios(rows: ScoredRows, threshold: ArrayLike, settings: MetricSettings) -> dict[str, Ratio]:
    """Return the metrics of alerting every row whose score reaches its threshold."""
    labels = rows.need_labels("a metric at a threshold")
    alerted = rows.scores >= threshold_array(threshold, len(rows))
    hit, one = (alerted & labels).astype(np.float64), np.ones(len(rows))
    majority = labels if labels.mean() > 0.5 else ~labels
    rows_per_day = len(rows) / len(np.unique(rows.days))
    found = {
        "precision": Ratio(hit, alerted.astype(np.float64)),
        "recall": Ratio(hit, labels.astype(np.float64)),
        "false_positive_rate": Ratio((alerted & ~labels).astype(np.float64), (~labels).astype(np.float64)),
        "alerts_per_day": Ratio(alerted * rows_per_day, one),
        "accuracy": Ratio((alerted == labels).astype(np.float64), one),
        "trivial_accuracy": Ratio(majority.astype(np.float64), one),
    }
    if rows.amounts is not None:
        cost = costs(alerted, labels, rows.amounts, settings.cost_per_alert)
        idle = costs(np.zeros(len(rows), np.bool_), labels, rows.amounts, settings.cost_per_alert)
        found["cost_per_1000"] = Ratio(1000 * cost, one)
        found["cost_saved"] = Ratio(idle - cost, idle)
    return found


def calibration_ratios(rows: ScoredRows) -> dict[str, Ratio]:
    """Return the Brier score of scores that are probabilities, all in [0, 1]; nothing for others."""
    labels = rows.need_labels("the Brier score").astype(np.float64)
    if not len(rows) or rows.scores.min() < 0 or rows.scores.max() > 1:
        return {}
    return {"brier": Ratio((rows.scores - labels) ** 2, np.ones(len(rows)))}

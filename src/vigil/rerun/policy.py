"""Whether an event starts a run: a pure function of the event, of the runs that there were, and of the time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from vigil.monitoring.verdicts import Answer
from vigil.rerun.records import Asked, Decision, Rerun, run_name
from vigil.rerun.settings import ModelRules

_DAY = timedelta(hours=24)


@dataclass(frozen=True)
class Ruling:
    """A decision, its reason, and when the same event may come again."""

    decision: Decision
    why: str
    run: str | None = None
    wait: timedelta | None = None


def decide(asked: Asked, past: Sequence[Rerun], rules: ModelRules, now: datetime) -> Ruling:
    """Return what is to be done about an event that is new, or that came too early before.

    `past` holds the records of the same model. A run that goes on is never doubled, not even by force.
    """
    if asked.answer is not Answer.RERUN:
        return Ruling(Decision.NOTHING_TO_DO, f"nothing to do: {_instead(asked.answer)}")
    runs = [one for one in past if one.counts and one.asked.event_id != asked.event_id]
    for one in runs:
        if one.is_open:
            return Ruling(Decision.COALESCED, f"a run of {asked.model} goes on: {one.run}", run=one.run)
    if not asked.force:
        wait = _cool_down(runs, rules, now)
        if wait:
            return Ruling(Decision.COOLING_DOWN, f"the last run ended less than {rules.cool_down} ago", wait=wait)
        wait = _budget(runs, rules, now)
        if wait:
            return Ruling(Decision.OVER_BUDGET, f"{rules.budget_per_day} runs within 24 hours are enough", wait=wait)
    return Ruling(Decision.START, asked.summary, run=run_name(asked.model, asked.event_id))


def _instead(answer: Answer) -> str:
    return {
        Answer.HOLD: "the data is at fault, and its owner is told",
        Answer.ROLL_BACK: "the rollout takes the model back",
        Answer.ASK: "a person is asked",
    }[answer]


def _cool_down(runs: Sequence[Rerun], rules: ModelRules, now: datetime) -> timedelta | None:
    """Return how long is left; never more than the whole, should the clock have been set back."""
    ends = [one.ended for one in runs if one.ended]
    left = max(ends) + rules.cool_down - now if ends else timedelta()
    return min(left, rules.cool_down) if left > timedelta() else None


def _budget(runs: Sequence[Rerun], rules: ModelRules, now: datetime) -> timedelta | None:
    """Return when the oldest of the runs that fill the day leaves it."""
    recent = sorted(one.started for one in runs if one.started and one.started > now - _DAY)
    if len(recent) < rules.budget_per_day:
        return None
    return min(recent[-rules.budget_per_day] + _DAY - now, _DAY)

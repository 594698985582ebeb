"""The simulated chain of the demo: months to learn from, then days in which the story happens."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

from vigil.clock import to_micros
from vigil.simulate import PRESETS, SimulationConfig, preset

PRESET = "retail"
LEARNED_DAYS = 120
"""Days before the live ones."""
LIVE_DAYS = 11
UNIT_SITE = "S0007"
UNIT_DAY, MENDED_DAY, DRIFT_DAY = 5, 6, 8
"""Days from the first live one on which a till's unit breaks, is mended, and the population begins to move."""

_PLACED = ("micro_flood", "silent_feed", "stock_out", "sales_dip", "broken_unit")
_FIRST_START, _APART = 34, 11
"""Days: the flood comes first, since one in the days on which thresholds are set would set them for floods alone."""


def story_world() -> SimulationConfig:
    """Return the chain: what goes wrong by itself does so while there is something to learn from it."""
    return preset(PRESET, {"days": LEARNED_DAYS + LIVE_DAYS, "incidents": [*_ordinary(), *_story()]})


def _ordinary() -> list[dict[str, Any]]:
    """Return the incidents of the preset; those that last for days are over before the live ones."""
    found = [dict(one) for one in PRESETS[PRESET]["incidents"] if one["kind"] != "population_drift"]
    for number, incident in enumerate(one for one in found if one["kind"] in _PLACED):
        incident["start_day"] = _FIRST_START + _APART * number
    return found


def _story() -> list[dict[str, Any]]:
    unit = {"kind": "broken_unit", "name": "tills-in-cents", "site": UNIT_SITE, "days": MENDED_DAY - UNIT_DAY}
    moved = {"kind": "population_drift", "amount_factor": 1.5, "mix_share": 0.3, "over_days": 0.5}
    return [
        {**unit, "start_day": LEARNED_DAYS + UNIT_DAY},
        {**moved, "start_day": LEARNED_DAYS + DRIFT_DAY},
    ]


def moment(config: SimulationConfig, live_day: float) -> int:
    """Return the time (microseconds) so many days after the first live one began, in UTC."""
    first = datetime.combine(config.start + timedelta(days=LEARNED_DAYS), time(), UTC)
    return to_micros(first + timedelta(days=live_day))

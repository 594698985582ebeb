from typing import Any

import pandas as pd
import pytest

from vigil.simulate import Simulated, preset, simulate

BRIEF: dict[str, Any] = {
    "days": 60,
    "chain": {"sites": 6, "products": 40, "customers_per_site": 150},
    "demand": {"sales_per_site_day": 40.0},
}
"""About 14,000 sales; takes a tenth of a second."""


def brief(*incidents: dict[str, Any], **overrides: Any) -> Simulated:
    return simulate(preset("quiet", {**BRIEF, "incidents": list(incidents), **overrides}))


def frame(simulated: Simulated, kind: str) -> pd.DataFrame:
    """The events with local time, and keys as plain text."""
    events = simulated.tables[kind].to_pandas()
    for column in events.select_dtypes("category"):
        events[column] = events[column].astype(object)
    events["event_time"] = events.event_time.astype("datetime64[ns, UTC]")
    minutes = pd.to_timedelta(events.utc_offset_minutes, unit="min")
    return events.assign(local=(events.event_time + minutes).dt.tz_localize(None))


@pytest.fixture(scope="session")
def quiet() -> Simulated:
    return brief()


@pytest.fixture(scope="session")
def small() -> Simulated:
    return simulate(preset("small"))


@pytest.fixture(scope="session")
def year() -> Simulated:
    return simulate(preset("quiet", {"days": 365, "chain": {"sites": 8}, "demand": {"sales_per_site_day": 60.0}}))

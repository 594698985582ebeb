"""The parts of the alert desk put together from the settings."""

from vigil.alerts.journal import Journal
from vigil.settings import Settings


def open_journal(settings: Settings) -> Journal:
    """Return the journal in VIGIL_HOME/alerts."""
    return Journal(settings.home.absolute() / "alerts")

"""The watch over one served revision: sequential evidence against its reference, and alarms that stay rare."""

from vigil.monitoring.watch.settings import WatchSettings
from vigil.monitoring.watch.watch import Watch

__all__ = ["Watch", "WatchSettings"]

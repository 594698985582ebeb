"""The model in production: what a candidate is held against, and until when the past has passed the gates."""

from dataclasses import dataclass

from vigil.clock import to_micros
from vigil.contracts.keys import ModelName
from vigil.registry.bundle import Bundle, load_bundle
from vigil.registry.registry import Registry
from vigil.registry.store import open_store
from vigil.settings import Settings
from vigil.training.rows import Moment


@dataclass(frozen=True, eq=False)
class Incumbent:
    """The version in production, and all that it consists of."""

    name: str
    bundle: Bundle

    @property
    def until(self) -> Moment:
        """End of the event times that it was trained on."""
        return Moment(to_micros(self.bundle.metadata.training_window.end))


def find_incumbent(model: str, settings: Settings) -> Incumbent | None:
    """Return the version of the model that is in production, after checking its bundle; None if there is none."""
    registry = Registry(open_store(settings.store_uri))
    state = registry.state(ModelName(model))
    if state.production is None:
        return None
    found = registry.bundle_of(state.version(state.production))
    bundle = load_bundle(found.uri, public_key=settings.public_key)
    return Incumbent(f"{model} version {state.production}", bundle)

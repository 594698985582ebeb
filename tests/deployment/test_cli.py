"""`vigil kserve show`: the InferenceService of a registered version, as it would be sent."""

from collections.abc import Iterator

import pytest
import yaml
from typer.testing import CliRunner

from tests.cluster import versions
from tests.deployment.samples import IMAGE
from tests.registry.emulator import Bucket, serve
from vigil.cli import app
from vigil.errors import ContractError
from vigil.registry.registry import Registry
from vigil.registry.store import open_store

MODEL, STORE = "card_fraud", "gs://vigil/models"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry with one version, which is in production, in an object store."""
    with serve(Bucket()) as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        monkeypatch.setenv("VIGIL_STORE", STORE)
        registry = Registry(open_store(STORE))
        bundle = versions.seal(registry.store, versions.reference(), 0.9)
        versions.enthrone(registry, versions.register(registry, bundle))
        yield registry


def shown(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["kserve", "--namespace", "fraud", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_version_in_production_is_shown_with_its_bundle(registry: Registry) -> None:
    service = yaml.safe_load(shown("--image", IMAGE, "show", MODEL))
    bundle = registry.state(MODEL).version("1").registration.bundle
    assert (service["metadata"]["name"], service["metadata"]["namespace"]) == ("card-fraud", "fraud")
    assert service["spec"]["predictor"]["annotations"]["vigil/bundle"] == bundle
    assert service["spec"]["predictor"]["labels"]["vigil/version"] == "1"


def test_grpc_has_a_service_of_its_own(registry: Registry) -> None:
    service = yaml.safe_load(shown("--image", "dev.local/vigil:1", "--profile", "local", "show", MODEL, "--grpc"))
    assert service["metadata"]["name"] == "card-fraud-grpc"


def test_an_image_is_asked_for(registry: Registry) -> None:
    with pytest.raises(ContractError, match="KServe needs the image of the servers"):
        shown("show", MODEL)

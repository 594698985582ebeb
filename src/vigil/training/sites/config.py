"""What a fleet of site models is told, as one document; `configs/site_metrics.yaml` comes with Vigil."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vigil.errors import ContractError
from vigil.evaluation.gates.evidence import describe
from vigil.fleet.panel import SiteFacts
from vigil.fleet.settings import FleetSettings
from vigil.fleet.storage import FactsDocument
from vigil.registry.metadata import Slug
from vigil.usecase import PipelineDocument, shipped

SHIPPED = "site_metrics"


class SiteGates(BaseModel):
    """What the candidate of a site has to be, on the holdout."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    worse_percent: float = Field(default=10.0, ge=0, description="error of a candidate above its champion's")
    naive_ratio: float = Field(default=1.5, gt=0, description="error by that of the value of a week before")
    incidents_month: float = Field(default=4.0, ge=0, description="incidents above the champion's")
    least_readings: int = Field(default=24, ge=1, description="fewer in the holdout do not tell")


class SitesConfig(PipelineDocument):
    """A fleet as a whole. Unknown keys are errors; what is not said has the defaults below."""

    version: Literal[1] = 1
    name: Slug = Field(max_length=27, description="of the fleet; its shards are NAME-shard-00 and so on")
    description: str = ""
    metrics: tuple[str, ...] = Field(default=(), description="all that the data have, if none is named")
    shards: int = Field(default=8, ge=1, le=40, description="tasks of a run")
    history_days: float = Field(default=800.0, gt=0, description="older readings are not learned from")
    holdout_days: float = Field(default=7.0, gt=0, description="end of the data that candidates are judged on")
    step_seconds: int | None = Field(default=None, ge=1, description="time between two readings; found in the data")
    fleet: FleetSettings = FleetSettings()
    defaults: FactsDocument = FactsDocument()
    sites: Mapping[str, FactsDocument] = Field(default_factory=dict, description="what is known of single sites")
    gates: SiteGates = SiteGates()

    def with_step(self, seconds: int) -> "SitesConfig":
        """Return the settings for readings that are so far apart."""
        return self.model_copy(update={"fleet": self.fleet.model_copy(update={"step_seconds": seconds})})

    def facts(self, names: set[str]) -> dict[str, SiteFacts]:
        """Return what is known of each of the sites."""
        return {site: self.sites.get(site, self.defaults).facts() for site in sorted(names)}


def parse_sites(text: str, source: str = "the settings of the sites") -> SitesConfig:
    """Return the settings in a YAML or JSON text, or raise ContractError naming `source` and the field."""
    try:
        content: Any = yaml.safe_load(text)
        return SitesConfig.model_validate(content)
    except yaml.YAMLError as error:
        raise ContractError(f"{source} is not YAML: {error}") from error
    except ValidationError as error:
        raise ContractError(f"{source}: {describe(error)}") from error


def load_sites(source: str = SHIPPED) -> SitesConfig:
    """Return the settings in a YAML file, or those that come with Vigil by their name."""
    path = shipped("configs") / f"{SHIPPED}.yaml" if source == SHIPPED else Path(source)
    if not path.is_file():
        raise ContractError(f"there are no settings of sites at {path}: give a YAML file or {SHIPPED}")
    return parse_sites(path.read_text(encoding="utf-8"), str(path))

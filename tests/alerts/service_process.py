"""`vigil alerts serve` as a process of its own, in a home that outlives it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.service_process import ServiceProcess


@dataclass
class Served(ServiceProcess):
    home: Path
    settings: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)

    def start(self) -> "Served":
        self.home.mkdir(parents=True, exist_ok=True)
        config = self.home / "alerts.yaml"
        config.write_text(yaml.safe_dump(self.settings))
        own = {"VIGIL_HOME": str(self.home / "vigil"), "VIGIL_ALERTS": str(config)}
        self.launch("alerts", self.home, config, {**own, **self.environment})
        return self

    def only(self) -> dict[str, Any]:
        (found,) = self.get("v1/incidents").json()
        incident: dict[str, Any] = found
        return incident

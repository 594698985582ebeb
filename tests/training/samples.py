"""A small business, a use case that trains on it in seconds, and its steps as the components run them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp import dsl

from components.apply_gates import apply_gates
from components.build_features import build_features
from components.evaluate import evaluate
from components.fit_ensemble import fit_ensemble
from components.register_model import register_model
from components.sanitize_training_data import sanitize_training_data
from components.train_autoencoder import train_autoencoder
from components.train_boosted import train_boosted
from components.train_isolation_forest import train_isolation_forest
from components.validate_ingest import validate_ingest
from vigil.contracts.keys import canonical_json
from vigil.simulate import preset, simulate, write
from vigil.usecase import UseCase, load_use_case, parse_use_case

SEEN = ["amount", "amount_over_baseline", "terminal_risk_24h"]
GATES: dict[str, Any] = {
    "version": 1,
    "name": "lenient",
    "sanitation": {
        "screens": ["incident_windows", "outliers", "poison"],
        "maximum_excluded": 0.3,
        "minimum_canary": 0.8,
    },
    "quality": {
        "floors": [{"metric": "average_precision", "at_least": 0.2, "judged_by": "value"}],
        "minimum_rows": 500,
        "minimum_positives": 5,
    },
    "production": {"margin": 1.0, "minimum_positives": 5},
    "ensemble": {"margin": 1.0, "minimum_positives": 5},
    "cases": {"required": ["known_incident", "all_zero", "huge"], "minimum_share": 0.8},
    "behaviour": {"required": ["larger_amount", "row_order"], "maximum_violations": 0.2},
    "fairness": None,
    "latency": None,
    "size": {"maximum_bytes": 10_000_000},
    "cost": {"per_run": 1.0, "per_1000_predictions": 1.0},
}
OVERRIDES: dict[str, Any] = {
    "features": {"groups": ["protocol", "risk", "business"]},
    "split": {
        "plan": {"train_days": 60, "calibration_days": 7, "delay_days": 7, "test_days": 7},
        "warm_up_days": 3,
    },
    "members": {
        "isolation_forest": {"features": SEEN, "trees": 25},
        "autoencoder": {"features": SEEN, "layers": [8, 1, 8], "epochs": 2, "rows_per_epoch": 4096, "noise": 0.0},
        "boosted": {"features": SEEN, "rounds": 30, "max_depth": 3, "max_bin": 64, "early_stopping": None},
    },
    "ensemble": {"least_frauds": 20},
    "thresholds": {"alerts_per_day": 30, "minimum_rows": 200},
    "metrics": {"alerts_per_day": 30, "resamples": 100, "minimum_positives": 5},
    "gates": GATES,
    "segments": {"site": {"column": "site_id"}},
    "checks": {"latency_calls": 20, "ablation_rows": 0, "behaviour_rows": 200, "canary_case": "known_incident"},
}


def use_case(**changes: Any) -> UseCase:
    """Return the small use case with some keys replaced."""
    base = load_use_case("retail_pos").model_dump(mode="json")
    return parse_use_case(canonical_json({**base, **OVERRIDES, **changes}).decode())


def write_raw(folder: Path) -> Path:
    """Write the events of a small chain with a lot of fraud, and return the folder."""
    incidents = [
        {"kind": "large_amounts", "share": 0.02},
        {"kind": "compromised_terminal", "count": 2, "share": 0.9, "days": 30},
        {"kind": "silent_feed", "feeds": ["transaction"], "hours": 20, "start_day": 15},
    ]
    chain = {"sites": 4, "customers_per_site": 80, "products": 20}
    simulated = simulate(preset("quiet", {"days": 42, "seed": 5, "chain": chain, "incidents": incidents}))
    write(simulated, folder)
    return folder


class Task:
    """The folders of one run of all steps, each made by its component's own function."""

    def __init__(self, root: Path, wanted: UseCase) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.use_case = wanted
        self.text = wanted.text
        self.decision = ""

    def at(self, name: str, kind: type[dsl.Artifact] = dsl.Artifact) -> Any:
        """Return the artifact of this name; the same one every time."""
        known = self.__dict__.setdefault("_artifacts", {})
        if name not in known:
            known[name] = kind(name=name, uri=str(self.root / name), metadata={})
        return known[name]

    def folder(self, name: str) -> Path:
        return Path(self.at(name).uri)

    def prepare(self, raw: Path, data_version: str = "") -> None:
        validate_ingest.python_func(
            self.text, str(raw), "", data_version, "code", self.at("events"), self.at("ingest.html", dsl.HTML)
        )
        build_features.python_func(self.text, "code", self.at("events"), self.at("features"), self.at("feature_state"))
        sanitize_training_data.python_func(
            self.text, "code", self.at("events"), self.at("features"), self.at("training_rows")
        )

    def fit(self) -> None:
        for train in (train_isolation_forest, train_autoencoder, train_boosted):
            name = train.name.removeprefix("train-").replace("-", "_")
            train.python_func(self.text, "code", self.at("features"), self.at("training_rows"), self.at(name))
        self.combine()

    def combine(self) -> None:
        fitted = [self.at(name) for name in ("isolation_forest", "autoencoder", "boosted")]
        fit_ensemble.python_func(
            self.text, "code", self.at("features"), self.at("training_rows"), *fitted, self.at("model")
        )

    def judge(self) -> str:
        seen = [self.at(name) for name in ("events", "features", "training_rows", "model", "evaluation")]
        curves = self.at("curves", dsl.ClassificationMetrics)
        evaluate.python_func(self.text, *seen, self.at("metrics", dsl.Metrics), curves)
        pages = self.at("gates.md", dsl.Markdown), self.at("gates.html", dsl.HTML)
        self.decision = apply_gates.python_func(self.text, self.at("evaluation"), self.at("verdicts"), *pages)
        return self.decision

    def register(self, why: Mapping[str, str] | None = None) -> Any:
        names = ("events", "features", "feature_state", "training_rows", "model", "evaluation", "verdicts")
        given = {"cause": "", "event_id": "", "started_by": "person:tester", **(why or {})}
        register_model.python_func(
            use_case=self.text, **given, **{name: self.at(name) for name in names}, registered=self.at("registered")
        )
        return self.at("registered").metadata

    def borrow(self, other: "Task", *names: str) -> None:
        """Use outputs of another run."""
        for name in names:
            self.__dict__.setdefault("_artifacts", {})[name] = other.at(name)

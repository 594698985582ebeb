"""Runs the first steps of a training on a few simulated days: that compiles the feature engine for all later runs."""

import sys
from pathlib import Path

from vigil.clock import system_clock
from vigil.deployment.template import load_profile
from vigil.simulate import preset, simulate, write
from vigil.training.features import build_features
from vigil.training.ingest import ingest
from vigil.usecase import load_use_case


def main(folder: Path) -> None:
    """Write events, features and states below `folder`; an image that lacks what is not code fails here."""
    load_profile("production")
    use_case = load_use_case("card_fraud")
    write(simulate(preset("quiet", {"days": 10, "chain": {"sites": 2}})), folder / "raw")
    ingest(use_case, str(folder / "raw"), "canonical-transaction", folder / "events", system_clock)
    manifest = build_features(use_case, folder / "events", folder / "features", folder / "states")
    sys.stdout.write(f"{manifest.rows}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

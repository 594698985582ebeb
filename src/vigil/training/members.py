"""One member is fitted, or abstains: a stated outcome, never an error."""

from pathlib import Path
from typing import Any

from vigil.contracts.artifacts import Manifest, read_manifest, seal
from vigil.contracts.keys import canonical_json
from vigil.errors import ContractError
from vigil.members.base import Member, TooFewLabels
from vigil.members.catalog import fit_member, load_member
from vigil.members.settings import MemberSettings
from vigil.training.folders import fresh, verified
from vigil.training.rows import divide, read_rows
from vigil.training.screened import NORMAL_MEMBERS, read_screened
from vigil.usecase import UseCase

KIND = "member"
_FILES, _ABSTAINED = "member", "abstained.json"


def train_member(use_case: UseCase, kind: str, features: Path, screened: Path, output: Path) -> Manifest:
    """Write the fitted member into a sealed folder, or why there is none."""
    rows = read_rows(use_case, features)
    parts = divide(rows)
    found = read_screened(screened)
    settings = use_case.members.settings(kind)
    fresh(output)
    if kind in NORMAL_MEMBERS and found.failures:
        reason = f"the training rows did not pass the screens: {'; '.join(found.failures)}"
        outcome: Member | TooFewLabels = TooFewLabels(kind, len(found.normal), len(found.normal), reason)
    else:
        chosen = found.normal if kind in NORMAL_MEMBERS else found.supervised
        outcome = fit_member(settings, rows.training(chosen, parts.labels))
    parents = {"features": read_manifest(features).content_hash, "rows": read_manifest(screened).content_hash}
    return seal(output, KIND, parents=parents, facts=_write(outcome, settings, output))


def _write(outcome: Member | TooFewLabels, settings: MemberSettings, output: Path) -> dict[str, Any]:
    if isinstance(outcome, TooFewLabels):
        (output / _ABSTAINED).write_bytes(canonical_json(vars(outcome)) + b"\n")
        return {"member": settings.name, "fitted": False, "reason": outcome.reason}
    for name, content in outcome.to_files().items():
        path = output / _FILES / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    facts = {name: value for name, value in outcome.facts.items() if isinstance(value, int | float | str)}
    return {"member": settings.name, "fitted": True, "threshold": outcome.threshold, **facts}


def read_member(folder: Path) -> Member | str:
    """Return the member of a sealed folder, or why it abstained."""
    manifest = verified(folder, KIND)
    if not manifest.facts["fitted"]:
        return str(manifest.facts["reason"])
    files = folder / _FILES
    return load_member({path.name: path.read_bytes() for path in sorted(files.iterdir())})


def read_members(folders: list[Path]) -> tuple[list[Member], dict[str, str]]:
    """Return the fitted members, and the reasons of those that abstained by name; ContractError if all did."""
    outcomes = {str(read_manifest(folder).facts["member"]): read_member(folder) for folder in folders}
    members = [outcome for outcome in outcomes.values() if isinstance(outcome, Member)]
    reasons = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, str)}
    if not members:
        raise ContractError(
            f"no member could be fitted: {'; '.join(f'{name}: {reason}' for name, reason in reasons.items())}"
        )
    return members, reasons

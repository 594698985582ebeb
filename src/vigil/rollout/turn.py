"""One tick in the making: the status as far as it has come, and what may be done to it."""

from datetime import datetime
from typing import Any

from vigil.contracts.keys import hash_json
from vigil.monitoring.verdicts import DriftVerdict, State
from vigil.rollout.evidence import EvidenceSettings
from vigil.rollout.observation import Observation
from vigil.rollout.spec import Spec
from vigil.rollout.spec import Step as StepSpec
from vigil.rollout.status import Act, ActKind, Counted, Phase, Status, Wish

POLICY = "policy:rollout"
"""The actor of what the machine decides itself."""

_SHADOWS = {
    Phase.STARTING: "candidate",
    Phase.SHADOWING: "candidate",
    Phase.BAKING: "production",
    Phase.PROMOTING: "production",
    Phase.WATCHING: "production",
}


class Turn:
    """The status of a tick, changed step by step; the one that came in is left as it was."""

    def __init__(self, spec: Spec, status: Status, seen: Observation, now: datetime) -> None:
        self.spec, self.status, self.seen, self.now = spec, status, seen, now
        since = (now - status.ticked).total_seconds() if status.ticked else 0.0
        self.jump = since if since < 0 or since > spec.patience.gap else 0.0
        """Seconds by which the clock went further than one tick may count."""
        self.passed = min(max(since, 0.0), spec.patience.gap)
        """Seconds that count."""

    @property
    def step(self) -> StepSpec:
        """The step that it is in, or was in last."""
        return self.spec.steps[self.status.step]

    @property
    def settings(self) -> EvidenceSettings:
        """What this step needs to know."""
        return self.spec.settings_at(self.status.step)

    def set(self, **changes: Any) -> None:  # noqa: ANN401 - fields of the status
        """Change fields of the status."""
        self.status = self.status.model_copy(update=changes)

    def act(self, kind: ActKind, reason: str, actor: str = POLICY) -> None:
        """Note an act for the audit log."""
        status = self.status
        act = Act(
            number=status.acts + 1,
            rollout=self.spec.id,
            kind=kind,
            at=self.now,
            actor=actor,
            reason=reason[:4000],
            phase=status.phase,
            percent=status.wish.percent,
            version=self.spec.candidate.version,
            evidence=hash_json(status.evidence.model_dump(mode="json")),
        )
        self.set(acts=act.number, outbox=(*status.outbox, act))

    def enter(self, phase: Phase, step: int | None = None) -> None:
        """Go to a phase: what was counted and waited for in the one before no longer matters."""
        number = self.status.step if step is None else step
        self.set(
            phase=phase,
            step=number,
            since=self.now,
            watched=0.0,
            waited=0.0,
            in_force=None,
            counted=Counted(),
            before=self.status.evidence.samples,
            holds=(),
            silence={**self.status.silence, "split": 0.0},
        )
        if phase is not Phase.PROMOTING:  # which keeps the split of the bake until the registry follows
            self.set(wish=self._wish())

    def enter_step(self, number: int) -> None:
        """Go to a step."""
        percent = self.spec.steps[number].percent
        phase = Phase.SHADOWING if percent == 0 else Phase.CANARY if percent < 100 else Phase.BAKING
        self.enter(phase, number)

    def roll_back(self, cause: str, ending: Phase = Phase.ROLLED_BACK, actor: str = POLICY) -> None:
        """Take all traffic back from the candidate."""
        self.act(ActKind.ABORT if ending is Phase.ABORTED else ActKind.ROLLBACK, cause, actor)
        self.enter(Phase.ROLLING_BACK)
        self.set(cause=cause, ending=ending, paused=None)

    def end(self, phase: Phase, kind: ActKind, reason: str) -> None:
        """Come to an outcome."""
        self.enter(phase)
        self.set(ended=self.now, cause=reason, paused=None)
        self.act(kind, reason)

    def verdicts(self) -> list[DriftVerdict]:
        """Return what the watch says of both versions now, without what it said of the candidate before the start."""
        found = [one.verdict for one in self.seen.watch or () if one.state is State.DRIFTING and one.verdict]
        old = self.status.old_verdicts or ()
        return [one for one in found if self._is_ours(one) and not (self.blames_candidate(one) and one.id in old)]

    def blames_candidate(self, verdict: DriftVerdict) -> bool:
        """Return whether a verdict is about the candidate."""
        return verdict.bundle == self.spec.candidate.bundle or verdict.revision == self.status.candidate_revision

    def _is_ours(self, verdict: DriftVerdict) -> bool:
        bundles = (self.spec.candidate.bundle, self.spec.production.bundle)
        return verdict.bundle in bundles or verdict.revision in self._revisions()

    def _revisions(self) -> tuple[str | None, ...]:
        return self.status.candidate_revision, self.status.production_revision

    def _wish(self) -> Wish:
        phase, serving = self.status.phase, self.seen.serving
        percent = {Phase.WATCHING: 100, Phase.SUCCEEDED: 100, Phase.CANARY: self.step.percent}.get(phase, 0)
        if phase is Phase.BAKING:
            percent = serving.bake_percent if serving else 100
        runs = phase in _SHADOWS or phase in (Phase.CANARY, Phase.SUCCEEDED)
        return Wish.model_validate({"percent": percent, "shadow": _SHADOWS.get(phase, "none"), "candidate": runs})

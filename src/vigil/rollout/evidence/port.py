"""The evidence behind the port of the state machine, which keeps it as plain JSON."""

from dataclasses import dataclass

from pydantic import JsonValue

from vigil.monitoring.samples import Slot
from vigil.rollout import judging
from vigil.rollout.evidence.folding import fold
from vigil.rollout.evidence.judgement import Verdict, judge
from vigil.rollout.evidence.settings import EvidenceSettings, Signal
from vigil.rollout.evidence.state import Evidence

_OF_TRAFFIC = frozenset({Signal.ERRORS, Signal.LATENCY})
_VERDICTS = {
    Verdict.WORSE: judging.Verdict.FAIL,
    Verdict.FINE: judging.Verdict.PASS,
    Verdict.INCONCLUSIVE: judging.Verdict.INCONCLUSIVE,
}


@dataclass(frozen=True)
class SequentialJudge:
    """Judges a candidate by always-valid tests.

    Until it has answered a client, a candidate is a shadow: errors and latency are not asked for yet.
    """

    settings: EvidenceSettings = EvidenceSettings()

    def fold(self, state: JsonValue, slot: Slot, candidate: str, production: str) -> JsonValue:
        """Return the state with one more slot; None is no state yet."""
        found: JsonValue = fold(_evidence(state), slot, candidate, production, self.settings).model_dump(mode="json")
        return found

    def judge(self, state: JsonValue) -> judging.Judgement:
        """Return what the state says: a pass names the signals, anything else why."""
        evidence = _evidence(state)
        is_shadow = not evidence.samples.requests
        required = [signal for signal in self.settings.required if not (is_shadow and signal in _OF_TRAFFIC)]
        found = judge(evidence, self.settings, required=required)
        whole = judging.Finding(test="all", verdict=_VERDICTS[found.verdict], statement=found.statement)
        tests = (
            judging.Finding(test=test.name, verdict=_VERDICTS[test.verdict], statement=test.statement)
            for test in found.tests
        )
        return judging.Judgement(verdict=_VERDICTS[found.verdict], findings=(whole, *tests))


def _evidence(state: JsonValue) -> Evidence:
    return Evidence() if state is None else Evidence.model_validate(state)

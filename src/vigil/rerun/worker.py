"""The one that starts and watches runs: an idempotent step over the open records, so that killing it loses nothing."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from vigil.clock import Clock, system_clock
from vigil.contracts.cloud_events import new_event, to_structured
from vigil.errors import ContractError, Unavailable, VigilError
from vigil.rerun.journal import Journal
from vigil.rerun.launcher import Launcher, Seen
from vigil.rerun.policy import decide
from vigil.rerun.records import FINISHED_EVENT, Asked, Decision, Outcome, Rerun, Stage, run_name
from vigil.rerun.settings import RerunSettings

_LONGEST_PAUSE = timedelta(minutes=10)

_log = logging.getLogger(__name__)

FollowUp = Callable[[Rerun], str]
"""Starts what follows a run that registered a version, and returns what that is; "" for nothing."""


@dataclass(frozen=True)
class Taken:
    """What became of an event that came in."""

    rerun: Rerun
    is_new: bool
    retry_after: timedelta | None = None


@dataclass
class Desk:
    """Takes wishes in: several processes may do so at once."""

    journal: Journal
    settings: RerunSettings
    clock: Clock = system_clock

    def take(self, asked: Asked) -> Taken:
        """Decide about a wish, and return the decision once it is on disk."""
        wait: list[timedelta | None] = [None]
        now = self.clock()

        def decided(past: Sequence[Rerun]) -> Rerun:
            ruling = decide(asked, past, self.settings.rules(asked.model), now)
            wait[0] = ruling.wait
            rerun = Rerun(asked=asked, decision=ruling.decision, why=ruling.why, received=now, run=ruling.run)
            if ruling.decision is Decision.START:
                rerun = rerun.model_copy(update={"stage": Stage.INTENDED, "due": now})
            return rerun

        entry = self.journal.enter(asked, now, decided)
        _log.info(
            "an event was decided" if entry.is_new else "an event came again",
            extra={"event_id": asked.event_id, "model": asked.model, "decision": entry.rerun.decision},
        )
        return Taken(entry.rerun, entry.is_new, wait[0])


@dataclass
class Worker:
    """Starts what is intended, watches what runs, and records how it ended. Only one at a time: see `alone`."""

    journal: Journal
    settings: RerunSettings
    launcher: Launcher
    sinks: Sequence[str] = ()
    """URLs that are told the end of each run."""
    follow_up: FollowUp = lambda _: ""
    clock: Clock = system_clock
    unanswered: int = field(default=0, init=False)
    """Calls of the launcher that were not answered."""

    def step(self) -> int:
        """Do what is due for each open record, and return how many are open."""
        still_open = self.journal.open_ones()
        for rerun in still_open:
            if rerun.due is None or rerun.due <= self.clock():
                self._advance(rerun)
        return len(still_open)

    def _advance(self, rerun: Rerun) -> None:
        try:
            if rerun.stage is Stage.INTENDED:
                self._start(rerun)
            else:
                self._watch(rerun)
        except VigilError as error:
            # Even what the server refuses proves nothing about a run that may have been started.
            self.unanswered += isinstance(error, Unavailable)
            self._later(rerun, str(error))

    def _start(self, rerun: Rerun) -> None:
        """Look for the run, and start it if there is none."""
        seen = self.launcher.find(rerun)
        if seen is None and (other := self.launcher.others(rerun)):
            why = f"a run of {rerun.asked.model} goes on: {other}"
            self._change(rerun, decision=Decision.COALESCED, why=why, run=other, stage=None, due=None)
            return
        if seen is None and rerun.attempts >= self.settings.most_attempts:
            reason = f"given up after {rerun.attempts} attempts to start it: {rerun.trouble}"
            self._finish(rerun, Stage.FAILED, Outcome(reason=reason))
            return
        seen = seen or self._attempt(rerun)
        if seen is not None:
            _log.info("a rerun is under way", extra={"run": rerun.run, "model": rerun.asked.model, "url": seen.url})
            self._saw(self._change(rerun, started=rerun.started or self.clock()), seen)

    def _attempt(self, rerun: Rerun) -> Seen | None:
        """Return the run that was started; None if it cannot be, which is on record then.

        The attempt is on disk before the call goes out. Whoever goes on after a crash waits until the call has surely
        come to its end, and only then looks for the run.
        """
        due = self.clock() + timedelta(seconds=self.settings.settle_seconds)
        rerun = self._change(rerun, attempts=rerun.attempts + 1, due=due)
        try:
            return self.launcher.start(rerun)
        except ContractError as error:
            # A proxy can spoil the answer to a start that has succeeded.
            seen = self.launcher.find(rerun)
            if seen is None:
                self._finish(rerun, Stage.FAILED, Outcome(reason=str(error)))
            return seen

    def _watch(self, rerun: Rerun) -> None:
        seen = self.launcher.find(rerun)
        if seen is None:
            self._finish(rerun, Stage.FAILED, Outcome(reason="the run is gone: somebody has deleted it"))
        else:
            self._saw(rerun, seen)

    def _saw(self, rerun: Rerun, seen: Seen) -> None:
        due = self.clock() + timedelta(seconds=self.settings.poll_seconds)
        stage = seen.stage if not seen.stage.is_over else Stage.RUNNING
        rerun = self._change(rerun, run_id=seen.run_id, url=seen.url, stage=stage, due=due, trouble="")
        if seen.stage is Stage.SUCCEEDED:
            self._finish(rerun, seen.stage, self.launcher.outcome(rerun))
        elif seen.stage.is_over:
            self._finish(rerun, seen.stage, Outcome(reason=seen.error or f"the run was {seen.stage}"))

    def _finish(self, rerun: Rerun, stage: Stage, outcome: Outcome) -> None:
        """Record the end and what is to be told of it in one step, then start what follows."""
        ended = rerun.model_copy(update={"stage": stage, "outcome": self._followed(rerun, outcome)})
        now = self.clock()
        ended = ended.model_copy(update={"ended": now, "due": None})
        letters = [(url, finished_event(ended, now)) for url in self.sinks]
        values = {name: getattr(ended, name) for name in ("stage", "outcome", "ended", "due")}
        self.journal.change(rerun.asked.event_id, letters, **values)
        _log.info("a rerun is over", extra={"run": rerun.run, "stage": stage, "version": outcome.version or "none"})

    def _followed(self, rerun: Rerun, outcome: Outcome) -> Outcome:
        if outcome.version is None:
            return outcome
        try:
            followed = self.follow_up(rerun.model_copy(update={"outcome": outcome}))
        except ContractError as error:
            followed = f"nothing: {error}"
        return outcome.model_copy(update={"followed_by": followed})

    def _later(self, rerun: Rerun, trouble: str) -> None:
        """Look again later; after an attempt to start not before the request has surely come to its end."""
        now = self.journal.find(rerun.asked.event_id) or rerun
        pause = timedelta(seconds=self.settings.poll_seconds)
        if now.attempts > rerun.attempts:
            pause = timedelta(seconds=self.settings.settle_seconds) * 2 ** min(rerun.attempts, 3)
        self._change(now, due=self.clock() + min(pause, _LONGEST_PAUSE), trouble=trouble)
        _log.warning("a rerun has to wait", extra={"run": rerun.run, "cause": trouble})

    def _change(self, rerun: Rerun, **values: object) -> Rerun:
        return self.journal.change(rerun.asked.event_id, **values)


def finished_event(rerun: Rerun, at: datetime) -> str:
    """Return the CloudEvent of a run that is over, as structured JSON; the same end has the same id."""
    identity = f"{run_name(rerun.asked.model, rerun.asked.event_id)}-finished"
    content = rerun.model_dump(mode="json")
    event = new_event(FINISHED_EVENT, "vigil/rerun", content, at, identity, rerun.asked.model)
    return to_structured(event)[1].decode()

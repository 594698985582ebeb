"""What the demo prints."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from vigil.demo.parity import Parity
from vigil.demo.traffic import Answers, Decision
from vigil.evaluation.gates.evaluate import GateReport
from vigil.monitoring.verdicts import DriftVerdict
from vigil.orchestration.runs import LocalRun
from vigil.runtime.status import RuntimeStatus
from vigil.settings import Settings
from vigil.simulate import Simulated

_SHOWN = 4
"""Decisions that are printed with their reasons."""
_MOST_REASONS = 3
_MOST_EVIDENCE = 5
_ACTIONS = ("allow", "alert", "hold")


class Screen:
    """Prints each part of the demo as it comes."""

    def __init__(self, console: Console, settings: Settings) -> None:
        self.console = console
        self._settings = settings
        self._chapter = 0

    def chapter(self, title: str) -> None:
        """Print the head of the next part."""
        self._chapter += 1
        self.console.print()
        self.console.rule(f"[bold]{self._chapter}. {title}", align="left")

    def say(self, text: str, style: str = "") -> None:
        """Print a sentence as it is."""
        self.console.print(Text(text, style), soft_wrap=True, highlight=False)

    def end_live(self) -> None:
        """Begin a new line after a live view; rich does so in a terminal only."""
        if not self.console.is_terminal:
            self.console.line()

    @contextmanager
    def work(self, title: str) -> Iterator[Callable[[str, float], None]]:
        """Show that work goes on; what is yielded takes the name of a step and a share that is not shown."""
        with Progress(TextColumn("{task.description}"), TimeElapsedColumn(), console=self.console) as bar:
            task = bar.add_task(title, total=None)
            yield lambda step, _: bar.update(task, description=f"{title}: {step}")
            bar.update(task, description=title)

    @contextmanager
    def count(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show how much of `total` is done; what is yielded takes how much more."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console) as bar:
            task = bar.add_task(title, total=total)
            yield lambda more: bar.advance(task, more)

    def opening(self, data: Path | None) -> None:
        """Say what is going to happen."""
        given = f"the raw data in {data}" if data else "a simulated chain of sites"
        self.say(
            f"Vigil takes {given} through the training pipeline, holds the model against its gates, serves it on "
            "KServe servers, and sends live traffic that training has not seen."
        )
        self.say(f"Everything is written below {self._settings.home}.", "dim")
        self.chapter("Raw data")
        if data:
            self.say(f"{data}, {data.stat().st_size / 1e6:,.1f} MB")

    def simulated(self, simulated: Simulated) -> None:
        """Say what was simulated."""
        rows = ", ".join(f"{count:,} {kind}" for kind, count in simulated.rows.items())
        kinds = ", ".join(sorted({incident.kind for incident in simulated.incidents}))
        self.say(f"{rows}. Hidden in them: {kinds}.")

    def runtime(self, status: RuntimeStatus) -> None:
        """Say where the endpoint will be."""
        self.say(f"{status.endpoint} is up and waits for a first model (pid {status.pid}).")

    def gates(self, report: GateReport) -> None:
        """Print the verdict of every gate with its reason."""
        table = Table("gate", "verdict", "reason", box=None, pad_edge=False)
        for verdict in report.verdicts:
            word = Text("passed", "green") if verdict.passed else Text("failed", "bold red")
            table.add_row(verdict.gate, word, Text(verdict.reason))
        self.console.print(table)
        self.say(f"{report.decision}: {report.summary}", "bold")

    def deployed(self, status: RuntimeStatus) -> None:
        """Say which revision serves."""
        for one in status.revisions:
            if one.traffic > 0:
                self.say(
                    f"Registered as version {one.version} of {one.model}, and deployed: revision {one.name} gets "
                    f"{one.traffic:g} % of the traffic."
                )

    def served(self, answers: Answers, frauds: frozenset[str], parity: Parity) -> None:
        """Print some decisions with their reasons, the counts, and whether they are what the offline path decides."""
        decisions = answers.decisions
        suspicious = sorted((d for d in decisions if d["action"] != "allow"), key=lambda d: -float(d["score"]))
        for decision in suspicious[:_SHOWN]:
            self._decision(decision, decision["event_id"] in frauds)
        table = Table("action", "transactions", "frauds, as verdicts say later", box=None, pad_edge=False)
        for action in _ACTIONS:
            chosen = [d["event_id"] for d in decisions if d["action"] == action]
            table.add_row(action, f"{len(chosen):,}", f"{sum(one in frauds for one in chosen):,}")
        self.console.print(table)
        p50, p99 = np.quantile(answers.milliseconds, (0.5, 0.99))
        self.say(
            f"{len(decisions):,} decisions and {answers.noted:,} other events; a request for decisions took "
            f"{p50:.1f} ms in the median, {p99:.1f} ms at most in 99 of 100."
        )
        same = f"{parity.rows - parity.differing:,} of {parity.rows:,} served decisions are those of the offline path"
        self.say(
            f"{same}, bit for bit.{' ' + parity.first if parity.first else ''}", "bold red" if parity.first else ""
        )

    def _decision(self, decision: Decision, is_fraud: bool) -> None:
        truth = "a fraud, as its verdict says later" if is_fraud else "no fraud, as its verdict says later"
        self.say(
            f"{decision['action']} ({decision['severity']}) {decision['event_id']}: score {decision['score']:.3f}, "
            f"threshold {decision['threshold']:.3f}; {truth}",
            "bold",
        )
        for reason in decision["reasons"][:_MOST_REASONS]:
            self.say(f"    {reason['source']}: {reason['sentence']}")

    def verdict(self, verdict: DriftVerdict) -> None:
        """Print what the watch says of a change, and on which evidence."""
        self.say(f"{verdict.cause.replace('_', ' ')}: {verdict.summary}", "bold yellow")
        table = Table("evidence", "about", "strength", "what was seen", box=None, pad_edge=False)
        for one in verdict.evidence[:_MOST_EVIDENCE]:
            table.add_row(one.kind, one.subject, f"1 in 10^{one.strength:.1f}", Text(one.statement))
        self.console.print(table)
        if verdict.plot:
            self.say(f"  picture: {verdict.plot}", "dim")

    def closing(self, run: LocalRun, status: RuntimeStatus, example: Mapping[str, object]) -> None:
        """Say where to look next."""
        self.chapter("Where to look next")
        (model,) = {one.model for one in status.revisions if one.traffic > 0}
        rows = {
            "reports of the run": "\n".join(map(str, run.pages.values())),
            "ask the endpoint": f"curl -s {status.endpoint}/v1/models/{model}:predict -H 'content-type: "
            f"application/json' -d '{json.dumps({'instances': [example]})}'",
            "why": "the same with :explain in place of :predict",
            "what serves": "vigil status",
            "versions": "vigil models list",
            "rollouts": f"vigil rollout history {model} --verify",
            "drift": "vigil monitor status",
            "reruns": "vigil rerun list",
            "runs in MLflow": f"mlflow ui --backend-store-uri sqlite:///{self._settings.home / 'mlflow.db'}",
            "stop": "vigil down",
        }
        for name, text in rows.items():
            self.say(name, "bold")
            self.say(f"  {text}".replace("\n", "\n  "))
        self.say(f"\nThe vigil commands need: export VIGIL_HOME={self._settings.home}", "dim")

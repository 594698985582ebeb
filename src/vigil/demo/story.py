"""The demo: raw data to a served model, live traffic held against the offline path, and then the acts."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from vigil.clock import HOUR, to_micros
from vigil.contracts.keys import ContentHash
from vigil.decisions.bundled import load_decider
from vigil.decisions.decider import Decider
from vigil.demo.acts import Scene, play
from vigil.demo.business import Business
from vigil.demo.candidates import scored
from vigil.demo.live import Payload, between, deliveries
from vigil.demo.parity import Parity, compare
from vigil.demo.screen import Screen
from vigil.demo.traffic import Answers, Endpoint, send
from vigil.demo.world import LIVE_DAYS, moment, story_world
from vigil.errors import ContractError
from vigil.evaluation.gates.evaluate import GateReport
from vigil.evaluation.rows import ScoredRows
from vigil.features.states import read_states
from vigil.orchestration.display import run_view
from vigil.orchestration.filling import Purpose, Wanted, filled_arguments
from vigil.orchestration.ir import load_pipeline
from vigil.orchestration.local import LocalRequest, run_local
from vigil.orchestration.runs import LocalRun, Outcome
from vigil.registry.bundle import load_bundle
from vigil.runtime.client import RuntimeClient
from vigil.runtime.daemon import start
from vigil.runtime.ports import check_free
from vigil.runtime.status import RevisionStatus
from vigil.runtime.supervisor import RuntimeConfig
from vigil.settings import Settings
from vigil.simulate import simulate, write
from vigil.training.folders import read_events
from vigil.usecase import UseCase, load_use_case, shipped

SIMULATED = "simulated"
GATES = "gates.json"
REPORT = "Apply the gates, report"
"""The page of the pipeline that holds the verdicts beside the evaluation."""
_SLOT_SECONDS = 1.0


@dataclass(frozen=True)
class DemoRequest:
    """What the demo is to show."""

    use_case: str
    data: Path | None = None
    """A raw file; a chain of sites is simulated without one."""
    source: str | None = None
    port: int = 8080
    """Of the endpoint; gRPC has the next one, and the rerun sink the one after."""
    live_hours: float = 24.0
    """The end of the data that training does not see: it comes as live traffic."""
    most_live: int = 2000
    """Live transactions at most."""
    at_once: int = 8
    """Live transactions in one request at most."""

    @property
    def sink_port(self) -> int:
        """Port of the rerun sink."""
        return self.port + 2

    @property
    def has_acts(self) -> bool:
        """Whether there is a second half: in a file nobody knows what changes when."""
        return self.data is None

    @property
    def held_back_hours(self) -> float:
        """The end of the data that the first training does not see."""
        return 24.0 * LIVE_DAYS if self.has_acts else self.live_hours


@dataclass(frozen=True)
class Served:
    """What the endpoint did with the live events."""

    answers: Answers
    parity: Parity
    frauds: frozenset[str]
    """Ids of transactions that turned out to be frauds later."""
    example: Payload
    """A live transaction as it was sent."""
    live: ScoredRows
    """The scores, with the times of the transactions."""
    until: int
    """Event time (microseconds) before which everything was sent."""
    events: Mapping[str, pa.Table]
    """All that there is, what comes later included."""
    endpoint: Endpoint
    version: str
    """The version that answered."""


def tell(request: DemoRequest, settings: Settings, console: Console) -> Served:
    """Show the whole way on the console and return what was served; the endpoint stays up.

    Everything lies below `settings.home`, which is emptied first.
    """
    screen = Screen(console, settings)
    screen.opening(request.data)
    client = RuntimeClient(settings)
    client.down(force=True)
    shutil.rmtree(settings.home, ignore_errors=True)
    if request.has_acts:
        check_free("127.0.0.1", request.sink_port, "--port")
    raw = request.data or _simulate(settings, screen)
    screen.chapter("A serving runtime on this machine")
    start(_runtime(settings, request))
    screen.runtime(client.status())
    use_case = _held_back(load_use_case(request.use_case), request.held_back_hours)
    screen.chapter("The training pipeline: the components of the cluster, run by kfp.local")
    run = _run_pipeline(use_case, raw, request, settings, console)
    screen.chapter("What the gates say")
    verdicts = gate_report(run)
    screen.gates(verdicts)
    if verdicts.decision == "reject":
        raise ContractError(f"nothing was registered or deployed: {verdicts.summary}; read {run.pages[REPORT]}")
    screen.deployed(client.status())
    served = _serve(request, run, client, screen)
    screen.served(served.answers, served.frauds, served.parity)
    if request.has_acts:
        _play(request, settings, use_case, served, screen)
    screen.closing(run, client.status(), served.example)
    return served


def _runtime(settings: Settings, request: DemoRequest) -> RuntimeConfig:
    """Return the runtime: its detector service counts in short slots, since a rollout looks at whole ones."""
    told = settings.home / "monitor.yaml"
    told.parent.mkdir(parents=True, exist_ok=True)
    told.write_text(f"slot_seconds: {_SLOT_SECONDS:g}\n", encoding="utf-8")
    return RuntimeConfig(
        settings=_with_sink(settings, request),
        port=request.port,
        grpc_port=request.port + 1,
        monitor_config=str(told),
    )


def _with_sink(settings: Settings, request: DemoRequest) -> Settings:
    """Return the settings of the runtime, whose detector service tells the rerun sink of drift."""
    if not request.has_acts:
        return settings
    return settings.model_copy(update={"event_sinks": f"http://127.0.0.1:{request.sink_port}/"})


def _play(request: DemoRequest, settings: Settings, use_case: UseCase, served: Served, screen: Screen) -> None:
    """Let the simulated chain go on trading while versions come and go, and its world changes."""
    data_end = to_micros(pc.max(served.events["transaction"]["event_time"]).as_py())
    scene = Scene(
        settings=settings,
        screen=screen,
        business=Business(served.events, served.endpoint, served.until, data_end + 1),
        use_case=use_case,
        raw=settings.home / SIMULATED,
        day=partial(moment, story_world()),
        data_end=data_end,
        sink_port=request.sink_port,
    )
    play(scene, served.version, served.live)


def gate_report(run: LocalRun) -> GateReport:
    """Return the verdicts of a training run."""
    path = run.step("apply-gates").outputs.artifacts["verdicts"].path
    return GateReport.model_validate_json((path / GATES).read_bytes())


def _simulate(settings: Settings, screen: Screen) -> Path:
    raw = settings.home / SIMULATED
    with screen.work("Simulating a chain of sites with labelled incidents") as step:
        simulated = simulate(story_world(), step)
        write(simulated, raw, csv=False, on_progress=step)
    screen.simulated(simulated)
    return raw


def _held_back(use_case: UseCase, hours: float) -> UseCase:
    split = use_case.split.model_copy(update={"hold_back_hours": hours})
    return use_case.model_copy(update={"split": split})


def _run_pipeline(use_case: UseCase, raw: Path, request: DemoRequest, settings: Settings, console: Console) -> LocalRun:
    compiled = load_pipeline(shipped("compiled") / "training.yaml")
    runs = settings.home / "runs"
    told = settings.home / "use_case.json"
    told.write_text(use_case.text, encoding="utf-8")
    wanted = Wanted(str(told), str(raw), request.source, cause="demo", where=str(runs))
    arguments = filled_arguments(compiled, wanted, Purpose.HERE)
    with run_view(console) as show:
        run = run_local(LocalRequest(compiled, arguments, runs), watch=show)
    if run.outcome is not Outcome.SUCCEEDED:
        failure = run.failure
        raise ContractError(f"{failure.step}: {failure.message}; {failure.cure}" if failure else f"see {run.folder}")
    return run


def _serve(request: DemoRequest, run: LocalRun, client: RuntimeClient, screen: Screen) -> Served:
    """Send what came after the training data, and hold the answers against the offline path."""
    screen.chapter("Live traffic")
    events = read_events(run.step("validate-ingest").outputs.artifacts["events"].path)
    since = to_micros(read_states(run.step("build-features").outputs.artifacts["feature_state"].path).settled)
    until = _end(events["transaction"], since, request)
    live = between(events, since, until)
    sent = list(deliveries(live, request.at_once))
    count = sum(len(delivery.payloads) for delivery in sent)
    status = client.status()
    (serving,) = [one for one in status.revisions if one.traffic > 0]
    endpoint = Endpoint(status.endpoint, serving.model)
    with screen.count("Sending events in their order", count) as progress:
        answers = send(endpoint, sent, progress)
    past = between(events, 0, since)
    whole = {kind: pa.concat_tables([past[kind], live[kind]]) for kind in live}
    with screen.work("Deciding all of it again offline"):
        parity = compare(_decider(serving), whole, answers.decisions)
    example = next(delivery.payloads[-1] for delivery in reversed(sent) if delivery.asks)
    rows = scored(live["transaction"], answers.decisions)
    frauds = _frauds(events)
    return Served(answers, parity, frauds, example, rows, until, events, endpoint, serving.version)


def _end(transactions: pa.Table, since: int, request: DemoRequest) -> int:
    """Return the time before which the live events end: all of them, or the first `most_live` transactions."""
    times = transactions["event_time"].cast(pa.int64()).to_numpy()
    last = since + round(request.live_hours * HOUR)
    later = sorted(times[(times >= since) & (times < last)].tolist())
    if not later:
        raise ContractError(f"the last {request.live_hours:g} hours hold no transaction: raise --live-hours")
    return int(later[: request.most_live][-1]) + 1


def _decider(serving: RevisionStatus) -> Decider:
    return load_decider(load_bundle(serving.uri, expected_hash=ContentHash(serving.bundle)))


def _frauds(events: dict[str, pa.Table]) -> frozenset[str]:
    verdicts = events["verdict"]
    return frozenset(verdicts.filter(verdicts["is_fraud"])["transaction_id"].to_pylist())

"""A pipeline of one step that takes what retraining takes, and ends when a file says so."""

import functools

from kfp import dsl

component = functools.partial(dsl.component, base_image="registry.test/python:1", install_kfp_package=False)


@component
def train(cause: str, event_id: str, started_by: str, gate: str) -> None:
    import time
    from pathlib import Path

    folder = Path(gate)
    (folder / "told.txt").write_text(f"{event_id}\n{started_by}\n{cause}")
    with (folder / "starts.txt").open("a") as file:
        file.write("started\n")
    deadline = time.monotonic() + 120
    while not (folder / "end.txt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    if (folder / "end.txt").read_text() != "well":
        raise RuntimeError("it was told to fail")


@dsl.pipeline(name="retraining")
def tiny(cause: str, event_id: str, started_by: str, gate: str) -> None:
    train(cause=cause, event_id=event_id, started_by=started_by, gate=gate)


@component
def apply_gates(decision: str, verdicts: dsl.Output[dsl.Artifact]) -> str:
    from pathlib import Path

    Path(verdicts.path).mkdir(parents=True)
    verdicts.metadata.update({"decision": decision, "summary": "precision fell by 0.1"})
    return decision


@component
def register_model(registered: dsl.Output[dsl.Model]) -> None:
    from pathlib import Path

    Path(registered.path).mkdir(parents=True)
    registered.metadata.update({"version": "7", "bundle": "sha256:7", "feature_state_uri": "/states"})


@dsl.pipeline(name="retraining")
def judging(cause: str, event_id: str, started_by: str, decision: str) -> None:
    judged = apply_gates(decision=decision)
    with dsl.If(judged.outputs["Output"] != "reject", name="passed"):
        register_model()

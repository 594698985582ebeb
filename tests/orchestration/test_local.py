"""Runs on this machine: real kfp, real processes."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from vigil.errors import ContractError
from vigil.orchestration.local import LocalRequest, open_run, run_local
from vigil.orchestration.runs import LocalRun, Outcome, StepState

Run = Callable[..., LocalRun]


def states(run: LocalRun) -> dict[str, str]:
    return {one.step.key: one.state.value for one in run.steps}


def test_a_run_gives_the_outputs_of_each_step(run: Run) -> None:
    done = run("small", rows=4)
    assert done.outcome is Outcome.SUCCEEDED
    assert states(done) == {"make-rows": "done", "publish": "done", "tell": "done"}
    made = done.step("make-rows").outputs
    assert made.parameters == {"Output": "publish"}
    assert made.artifacts["table"].path.read_text() == "row\n" * 4
    assert made.artifacts["metrics"].metadata == {"rows": 4}
    assert made.artifacts["metrics"].kind == "system.Metrics"
    assert done.step("publish").outputs.parameters == {"Output": 16}
    assert 0 < done.step("publish").seconds(done.ended) < done.seconds


def test_a_condition_that_does_not_hold_skips_what_depends_on_it(run: Run, tmp_path: Path) -> None:
    done = run("small", rows=1, note=str(tmp_path / "state"))
    assert done.outcome is Outcome.SUCCEEDED
    assert states(done) == {"make-rows": "done", "publish": "skipped", "tell": "done"}
    assert (tmp_path / "state").read_text() == "SUCCEEDED"


def test_a_step_that_fails_is_explained_and_the_exit_handler_is_told(run: Run, tmp_path: Path) -> None:
    done = run("bad", how="contract", note=str(tmp_path / "state"))
    assert done.outcome is Outcome.FAILED
    assert states(done) == {"misbehave": "failed", "after": "skipped", "tell": "done"}
    assert (tmp_path / "state").read_text() == "FAILED"
    failure = done.failure
    assert failure is not None
    assert failure.step == "Misbehave"
    assert failure.message == "column amount is missing: name it in the mapping"
    assert failure.lines == ()
    assert "about to contract" in failure.log.read_text()


@pytest.mark.parametrize(
    ("how", "message", "cure"),
    [
        ("unavailable", "the store gs://nowhere does not answer", "again when it answers"),
        ("bug", "one and one are three", "a fault of Vigil"),
        ("value", "17 is no date", "all that was written is in"),
        ("killed", "it ended with signal SIGKILL", "ran out of memory"),
        ("exit", "it ended with exit status 7", "all that was written is in"),
    ],
)
def test_each_kind_of_failure_has_its_message_and_cure(run: Run, how: str, message: str, cure: str) -> None:
    failure = run("bad", how=how).failure
    assert failure is not None
    assert failure.message == message
    assert cure in failure.cure


def test_a_failure_shows_the_lines_of_the_step_without_those_of_kfp(run: Run) -> None:
    failure = run("bad", how="value").failure
    assert failure is not None
    text = "\n".join(failure.lines)
    assert text.startswith("about to value\nTraceback")
    assert text.endswith("ValueError: 17 is no date\nand it has a second line")
    assert "misdeeds.py" in text
    for noise in ("KFP Executor", "executor_input", "outputFile", "/kfp/", "runpy"):
        assert noise not in text
        assert noise in failure.log.read_text()


def test_kfp_failing_by_itself_is_explained_too(run: Run) -> None:
    done = run("bad", how="not_finite")
    assert states(done)["misbehave"] == "done"
    assert done.failure is not None
    assert done.failure.step is None
    assert "surrogates not allowed" in done.failure.message


def test_the_cluster_retries_after_minutes_are_not_made_here(run: Run, tmp_path: Path) -> None:
    done = run("bad", how="third_time", where=str(tmp_path / "attempts"))
    assert done.outcome is Outcome.FAILED
    assert done.step("misbehave").attempts == 1


def test_retries_that_are_asked_for_are_made_soon_and_start_from_clean_outputs(run: Run, tmp_path: Path) -> None:
    done = run("bad", retries=2, how="third_time", where=str(tmp_path / "attempts"))
    assert done.outcome is Outcome.SUCCEEDED
    assert done.step("misbehave").attempts == 3
    assert done.step("misbehave").outputs.parameters == {"Output": "at last"}
    assert done.seconds < 300


def test_a_step_in_a_loop_has_outputs_for_each_item_and_fails_if_one_does(run: Run) -> None:
    done = run("loop", sizes=[1, 2, 3])
    assert done.outcome is Outcome.SUCCEEDED
    assert len(done.step("measure").output_files) == 3
    assert done.step("measure").outputs.artifacts["report"].kind == "system.HTML"
    failed = run("loop", sizes=[99, 1])
    assert failed.step("measure").state is StepState.FAILED
    assert failed.failure is not None
    assert failed.failure.message == "99 is too much"


def test_a_step_that_leaves_a_server_running_does_not_hold_the_run(run: Run, tmp_path: Path) -> None:
    done = run("bad", how="server", where=str(tmp_path / "pid"))
    server = psutil.Process(int((tmp_path / "pid").read_text()))
    try:
        assert done.outcome is Outcome.SUCCEEDED
        assert server.status() in (psutil.STATUS_SLEEPING, psutil.STATUS_RUNNING)
    finally:
        server.kill()


def test_steps_run_in_this_interpreter_whatever_else_is_called_python3(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = tmp_path / "python3" / "python3"
    foreign.parent.mkdir()
    foreign.write_text("#!/bin/sh\nexit 9\n")
    foreign.chmod(0o755)
    monkeypatch.setenv("PATH", f"{foreign.parent}{os.pathsep}{os.environ['PATH']}")
    seen = tmp_path / "python3" / "seen"
    done = run("bad", how="where", where=str(seen))
    assert done.outcome is Outcome.SUCCEEDED, done.failure
    interpreter, temporary, folder = seen.read_text().splitlines()
    assert Path(interpreter).resolve() == Path(sys.executable).resolve()
    assert folder == str(Path.cwd())
    assert not Path(temporary).exists()
    assert done.step("misbehave").outputs.parameters == {"Output": str(seen)}


def test_a_module_in_the_folder_of_the_user_shadows_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError('shadowed')")
    monkeypatch.chdir(tmp_path)
    assert run("small").outcome is Outcome.SUCCEEDED


def test_the_parent_is_told_of_the_steps_as_they_go(compiled: dict, tmp_path: Path) -> None:
    let_go = tmp_path / "seen"
    seen: list[dict[str, str]] = []

    def watch(run: LocalRun) -> None:
        seen.append(states(run))
        if seen[-1]["misbehave"] == "running":
            let_go.touch()

    arguments = {"how": "until_seen", "where": str(let_go)}
    run_local(LocalRequest(compiled["bad"], arguments, tmp_path / "runs"), watch=watch)
    assert set(seen[0].values()) == {"waiting"}
    assert {"misbehave": "running", "after": "waiting", "tell": "waiting"} in seen
    assert set(seen[-1].values()) == {"done"}


def test_a_run_of_the_past_is_read_from_its_folder(run: Run) -> None:
    done = run("small", rows=1)
    again = open_run(done.folder)
    assert (again.outcome, states(again), again.arguments) == (done.outcome, states(done), done.arguments)
    assert again.step("publish").step.conditions == ("Make rows == 'publish'",)
    failed = run("bad", how="contract")
    assert open_run(failed.folder).failure == failed.failure


@pytest.mark.parametrize(("name", "reason"), [("greedy", "installs packages"), ("foreign", "is no Python component")])
def test_a_pipeline_that_cannot_run_here_is_refused_with_the_reason(
    compiled: dict, tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(ContractError, match=reason):
        run_local(LocalRequest(compiled[name], {}, tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_argument_starts_nothing(compiled: dict, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="parameter rows must be a whole number"):
        run_local(LocalRequest(compiled["small"], {"rows": "three"}, tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_reading_a_pipeline_imports_no_kfp() -> None:
    code = "import sys, vigil.orchestration.local, vigil.orchestration.notify; print('kfp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"

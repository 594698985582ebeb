"""Every command of the operating pages is one that exists, and every table there says what the code does."""

import re
import shutil
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from tests.manifests.pages import DOCS, PAGES, Command, blocks, commands
from tests.manifests.test_pods import parse
from vigil.errors import ContractError
from vigil.monitoring.service.making import check_watches
from vigil.monitoring.service.settings import load_service_settings
from vigil.monitoring.verdicts import Cause
from vigil.rerun.settings import load_rerun_settings
from vigil.rollout.evidence import EvidenceSettings
from vigil.rollout.opening import Plan, read_plan
from vigil.rollout.status import HoldKind, Phase

ROOT = DOCS.parent
KUBECTL = {
    *("apply", "create", "patch", "get", "describe", "logs", "exec", "delete", "diff", "rollout", "wait", "auth"),
}
ON_THIS_MACHINE = {"vigil", "make", "openssl"}
NEVER_A_COMMAND = Command("rollout", "vigil rollout promote card_fraud --quickly --reason x", on_cluster=False)


def check(command: Command) -> None:
    """Raise where a command would be refused before it does anything."""
    for program, *arguments in command.pipeline:
        if program == "vigil":
            parse(arguments)
        elif program == "make":
            assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), command.text
        elif program == "kubectl":
            check_kubectl(arguments)
        else:
            assert program in {"openssl", "true"}, command.text


def check_kubectl(arguments: list[str]) -> None:
    plain = arguments[2:] if arguments[0] in ("-n", "--namespace") else arguments
    assert plain[0] in KUBECTL, arguments
    for flag, value in pairwise(plain):
        if flag == "-k":
            assert (ROOT / value / "kustomization.yaml").is_file(), arguments
        if flag == "-f" and value != "-":
            assert (ROOT / value).is_file(), arguments
    if plain[0] == "exec":
        inside = plain[plain.index("--") + 1 :]
        assert inside[0] == "vigil", arguments
        parse(inside[1:])


@pytest.mark.parametrize("command", commands(), ids=lambda command: f"{command.page}: {command.text[:60]}")
def test_a_command_exists_with_all_its_options(command: Command) -> None:
    check(command)
    on_this_machine = {words[0] for words in command.pipeline} <= ON_THIS_MACHINE
    assert command.on_cluster or on_this_machine, "a command of the cluster is marked as one"


def test_a_command_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(Exception, match="quickly"):
        check(NEVER_A_COMMAND)


def test_keys_are_made_by_the_commands_that_stand_there(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    for command in (one for one in commands() if one.text.startswith("openssl")):
        subprocess.run(command.pipeline[0], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    from vigil.registry.signature import sign

    name, signature = sign(b"content", tmp_path / "signing.pem")
    assert name
    assert signature


def test_the_example_of_a_plan_is_one_and_its_table_names_every_key() -> None:
    plan = read_plan(DOCS / "plan.yaml")
    assert plan.steps[-1] == 100
    text = (DOCS / "rollout.md").read_text()
    assert {f"`{name}`" for name in Plan.model_fields} <= set(re.findall(r"^\| (`\w+`)", text, re.MULTILINE))
    for name in ("bake_seconds", "minimum_samples", "watch_seconds", "cool_down_seconds"):
        assert f"| `{name}` | {Plan.model_fields[name].default:g} |" in text
    for name, value in Plan().patience.model_dump().items():
        assert f"`{name}` {value:g}" in text
    for name in ("false_rollback", "false_pass"):
        assert f"| `{name}` | {EvidenceSettings.model_fields[name].default:g} |" in text
    errors = EvidenceSettings().errors
    assert f"| `errors` | ratio {errors.ratio:g}, margin {errors.margin:g} |" in text


def test_every_hold_every_phase_and_every_cause_is_explained() -> None:
    rollout, drift = (DOCS / "rollout.md").read_text(), (DOCS / "drift.md").read_text()
    holds = rollout[rollout.index("## Holds") :]
    assert re.findall(r"^\| `(\w+)`", holds, re.MULTILINE) == [str(kind) for kind in HoldKind]
    phases = rollout[rollout.index("## Phases") : rollout.index("## Holds")]
    assert all(f"`{phase}`" in phases for phase in Phase)
    assert re.findall(r"^\| `(\w+)`", drift, re.MULTILINE) == [str(cause) for cause in Cause]


@pytest.mark.parametrize(("page", "text"), blocks("yaml"))
def test_the_settings_that_are_shown_are_understood(page: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "shown.yaml").write_text(text)
    readers: list[Callable[[Path], object]] = [
        load_rerun_settings,
        lambda path: check_watches(load_service_settings(path)),
    ]
    assert any(_reads(reader, tmp_path / "shown.yaml") for reader in readers), page


def _reads(reader: Callable[[Path], object], path: Path) -> bool:
    assert yaml.safe_load(path.read_text())
    try:
        reader(path)
    except ContractError:
        return False
    return True


def test_the_pages_name_only_pages_that_are_there() -> None:
    for page in PAGES:
        for name in re.findall(r"`([\w-]+\.md)`", (DOCS / f"{page}.md").read_text()):
            assert (DOCS / name).is_file(), f"{page}.md names {name}"

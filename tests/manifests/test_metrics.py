"""No rule and no panel asks for what nobody exports; every alert has a page, and tests of when it fires."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests.build import MANIFESTS
from tests.manifests.exported import labels_by_name
from vigil.monitoring.verdicts import State
from vigil.rerun.records import Stage
from vigil.rollout.status import HoldKind, Phase
from vigil.serving import refusals

MONITORING = MANIFESTS / "monitoring"
RULES = sorted((MONITORING / "rules").glob("*.yaml"))
RULE_TESTS = Path(__file__).with_name("rule_tests.yaml")
PAGE = MANIFESTS.parent / "docs" / "alerts.md"

OF_PROMETHEUS = {"up": {"job", "instance", "service"}, "ALERTS": {"alertname", "alertstate"}}
OF_SCRAPING = {"job", "instance", "inferenceservice", "service"}
"""Labels that manifests/monitoring/scrape.yaml gives."""

SERIES = re.compile(r"\b((?:vigil[_:]|up\b|ALERTS\b)[\w:]*)(?:\{([^}]*)\})?")
MATCHER = re.compile(r"(\w+)\s*(=~|!=|!~|=)\s*\"([^\"]*)\"")
VALUES = {
    "phase": set(Phase),
    "kind": set(HoldKind),
    "state": set(State),
    "stage": set(Stage),
    "job": {"serving", "predictors", "services"},
}
REASONS = {kind.code for kind in vars(refusals).values() if isinstance(kind, refusals.Kind)}


def rules() -> list[dict[str, Any]]:
    return [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def queries() -> list[str]:
    board = json.loads((MONITORING / "dashboards/vigil.json").read_text())
    panels = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    notes = [one["expr"] for one in board["annotations"]["list"]]
    return [*(rule["expr"] for rule in rules()), *panels, *notes]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    recorded = {rule["record"]: {"inferenceservice", "revision"} for rule in rules() if "record" in rule}
    return labels_by_name(tmp_path_factory.mktemp("exported")) | OF_PROMETHEUS | recorded


def unknown(query: str, exported: dict[str, set[str]]) -> list[str]:
    """Return what a query names that no component exports."""
    found = []
    for name, matchers in SERIES.findall(query):
        if name not in exported:
            found.append(name)
            continue
        for label, operator, value in MATCHER.findall(matchers):
            if label not in exported[name] | OF_SCRAPING:
                found.append(f"{name}{{{label}}}")
            if label in VALUES and "$" not in value and name.startswith("vigil_"):
                wanted = set(value.split("|")) if operator in ("=~", "!~") else {value}
                found += [f"{label}={one}" for one in wanted - VALUES[label]]
    return found


def test_every_query_is_about_metrics_that_are_exported(exported: dict[str, set[str]]) -> None:
    assert len(queries()) > 50
    assert {query: names for query in queries() if (names := unknown(query, exported))} == {}


def test_a_metric_a_label_or_a_value_that_nobody_exports_is_noticed(exported: dict[str, set[str]]) -> None:
    assert unknown("rate(vigil_requsts_total[5m])", exported) == ["vigil_requsts_total"]
    assert unknown('vigil_ready{pod="a"}', exported) == ["vigil_ready{pod}"]
    assert unknown('vigil_rollout_phase{phase="gone"}', exported) == ["phase=gone"]


def test_the_reason_by_which_saturation_is_told_is_one_of_the_servers() -> None:
    (saturated,) = [rule for rule in alerts() if rule["alert"] == "VigilServingSaturated"]
    assert set(re.findall(r'reason="(\w+)"', saturated["expr"])) <= REASONS


def test_the_message_to_an_owner_is_counted(exported: dict[str, set[str]]) -> None:
    assert exported["vigil_alerts_messages"] == {"channel", "state"}


def test_every_metric_of_ours_is_shown_or_alerted_on(exported: dict[str, set[str]]) -> None:
    """What nobody looks at need not be measured; those left out are what Prometheus makes of a histogram."""
    asked = {name for query in queries() for name, _ in SERIES.findall(query)}
    ours = {
        name for name in exported if name.startswith("vigil_") and not name.endswith(("_created", "_sum", "_count"))
    }
    assert sorted(ours - asked) == sorted(UNASKED)


UNASKED = {
    "vigil_alerts_messages_waiting",  # vigil_alerts_messages has it by channel
    "vigil_alerts_signals_kept",
    "vigil_monitor_sent_total",
    "vigil_monitor_unpaired_events",
    "vigil_monitor_watermark_seconds",
    "vigil_request_rows_bucket",
    "vigil_rollout_acts_total",
    "vigil_site_shard_loads",
    "vigil_rollout_step",
    "vigil_rollout_ticks_total",
    "vigil_stage_seconds_bucket",
    "vigil_state_lookup_seconds_bucket",
    "vigil_state_removals_total",
}


def test_every_alert_says_what_where_and_how_bad() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "high", "medium"), rule["alert"]
        assert rule["annotations"]["runbook"] == f"docs/alerts.md#{rule['alert'].lower()}"
        assert rule["annotations"]["summary"]


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    sections = set(re.findall(r"^## (Vigil\w+)$", PAGE.read_text(), re.MULTILINE))
    assert sections == {rule["alert"] for rule in alerts()}


def test_every_alert_is_seen_to_fire_and_not_to_fire() -> None:
    cases = [case for test in yaml.safe_load(RULE_TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
    fires = {case["alertname"] for case in cases if case.get("exp_alerts")}
    silent = {case["alertname"] for case in cases if not case.get("exp_alerts")}
    assert fires == silent == {rule["alert"] for rule in alerts()}


def promtool(*arguments: str) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus): the rules are not run")
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_rules() -> None:
    promtool("check", "rules", *map(str, RULES))


def test_the_rules_fire_when_they_are_to() -> None:
    promtool("test", "rules", str(RULE_TESTS))


def test_promtool_takes_the_configuration(tmp_path: Path) -> None:
    text = (MONITORING / "scrape.yaml").read_text().replace("/etc/prometheus/rules", str(MONITORING / "rules"))
    (tmp_path / "prometheus.yml").write_text(text)
    promtool("check", "config", str(tmp_path / "prometheus.yml"))

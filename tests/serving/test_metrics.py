"""What is counted: requests by revision, protocol, status and reason; decisions; the store; nothing a client names."""

import re
import time
from collections.abc import Callable

import pytest

from tests.serving.processes import MODEL, Served
from tests.serving.samples import as_json, transactions

pytestmark = pytest.mark.xdist_group("serving")


def value(served: Served, name: str, *, path: str = "/metrics", **labels: str) -> float:
    """Return the sum of the series that have these labels."""
    total = 0.0
    for line in served.http.get(path).text.splitlines():
        match = re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line)
        if match and match[1] == name:
            found = dict(re.findall(r'(\w+)="([^"]*)"', match[2]))
            if labels.items() <= found.items():
                total += float(match[3])
    return total


def _until(holds: Callable[[], bool]) -> None:
    for _ in range(100):
        if holds():
            return
        time.sleep(0.1)
    pytest.fail("it does not come true within ten seconds")


def test_answers_are_counted_by_protocol_status_and_reason(transformer: Served) -> None:
    row = as_json(transactions("counted", 1)[0])
    cases = {("200", "ok"): row, ("422", "invalid"): row | {"amount": "x"}}
    for (status, reason), instance in cases.items():
        labels = {"protocol": "v1", "route": "predict", "status": status, "reason": reason, "revision": "rev-7"}
        before = value(transformer, "vigil_requests_total", **labels)
        assert transformer.predict(instance).status_code == int(status)
        assert value(transformer, "vigil_requests_total", **labels) == before + 1


def test_decisions_are_counted_where_they_are_made(predictor: Served, transformer: Served) -> None:
    before = value(predictor, "vigil_decisions_total")
    transformer.predict(*map(as_json, transactions("decided", 5)))
    assert value(predictor, "vigil_decisions_total") == before + 5
    transformer.post(f"{transformer.path}:explain", {"instances": [as_json(transactions("decided", 1)[0])]})
    assert value(predictor, "vigil_decisions_total") == before + 5


def test_stages_rows_store_and_readiness_are_there(predictor: Served, transformer: Served) -> None:
    transformer.predict(as_json(transactions("stages", 1)[0]))
    for stage in ("features", "predictor"):
        assert value(transformer, "vigil_stage_seconds_count", stage=stage) > 0
    assert value(predictor, "vigil_stage_seconds_count", stage="score") > 0
    assert value(transformer, "vigil_request_rows_sum", protocol="v1") > 0
    assert value(transformer, "vigil_state_commits_total", outcome="applied") > 0
    _until(lambda: value(predictor, "vigil_decision_log_rows_total") > 0)  # written behind the answer
    for served in (predictor, transformer):
        assert value(served, "vigil_ready") == 1
        assert value(served, "vigil_requests_in_flight") == 0


def test_no_name_of_a_client_becomes_a_label(transformer: Served) -> None:
    transformer.post("/v1/models/nosuchmodel:predict", {}, **{"x-request-id": "nosuchrequest"})
    transformer.predict(as_json(transactions("nosuchcustomer", 1)[0]))
    text = transformer.http.get("/metrics").text
    assert "nosuch" not in text
    assert f'model_name="{MODEL}"' in text


def test_the_predictors_counts_are_shown_by_its_transformer(predictor: Served, transformer: Served) -> None:
    transformer.predict(as_json(transactions("through", 1)[0]))
    decided = value(predictor, "vigil_decisions_total")
    assert decided > 0
    assert value(transformer, "vigil_decisions_total", path="/metrics/predictor") == decided
    answer = transformer.http.get("/metrics/predictor")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")

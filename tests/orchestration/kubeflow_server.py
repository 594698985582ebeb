"""A server that speaks the part of the Kubeflow Pipelines v2beta1 API that Vigil uses, and remembers what it was asked.

It follows the API server of kubeflow/pipelines 2.17: names of pipelines and versions are unique (409), those of runs
and schedules are not; filters are JSON; errors are JSON with `message`, those of uploads with `error_message`.
"""

import contextlib
import json
import re
import threading
import uuid
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

ROOT = "/apis/v2beta1"


class Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Fault:
    """Answers requests of a method to a path with an error, as often as it says."""

    method: str
    path: str
    status: int
    message: str = "a fault"
    times: int = 1
    done: bool = False
    """Whether the server does what it is asked before it answers with the error."""
    pause: float = 0.0
    """Seconds until it answers."""


@dataclass
class Asked:
    method: str
    path: str
    query: dict[str, str]
    body: Any
    authorization: str | None


@dataclass
class KubeflowServer:
    multi_user: bool = False
    token: str | None = None
    page_size: int = 100
    asked: list[Asked] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    pipelines: list[dict[str, Any]] = field(default_factory=list)
    versions: list[dict[str, Any]] = field(default_factory=list)
    experiments: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    schedules: list[dict[str, Any]] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    """What a run's state is at the coming reads; the last one stays."""
    host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        owner = self
        self.closing = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                owner.handle(self)

            do_GET = do_POST = do_DELETE = _answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer((self.host, 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.server.server_address[1]}"

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def paths(self, method: str) -> list[str]:
        return [one.path for one in self.asked if one.method == method]

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        split = urlsplit(request.path)
        query = {name: values[-1] for name, values in parse_qs(split.query).items()}
        body = _body(request)
        asked = Asked(request.command, split.path.removeprefix(ROOT), query, body, request.headers.get("Authorization"))
        self.asked.append(asked)
        try:
            status, answer = 200, self._route(asked)
        except Refusal as refusal:
            status = refusal.status
            key = "error_message" if "/upload" in asked.path else "message"
            answer = {key: str(refusal), "code": 3, "details": []}
        content = json.dumps(answer).encode()
        with contextlib.suppress(ConnectionError):  # the client may have given up
            request.send_response(status)
            request.send_header("Content-Type", "application/json")
            request.send_header("Content-Length", str(len(content)))
            request.end_headers()
            request.wfile.write(content)

    def _route(self, asked: Asked) -> Any:
        for fault in self.faults:
            if fault.times and fault.method == asked.method and re.fullmatch(fault.path, asked.path):
                fault.times -= 1
                if fault.done:
                    self._done(asked)
                self.closing.wait(fault.pause)
                raise Refusal(fault.status, fault.message)
        return self._done(asked)

    def _done(self, asked: Asked) -> Any:
        if self.token and asked.authorization != f"Bearer {self.token}":
            raise Refusal(401, "Request header error: there is no user identity header")
        for method, pattern, action in self._ROUTES:
            if method == asked.method and (found := re.fullmatch(pattern, asked.path)):
                return action(self, asked, *found.groups())
        raise Refusal(404, f"no route {asked.method} {asked.path}")

    def _healthz(self, asked: Asked) -> Any:
        return {"multi_user": self.multi_user}

    def _upload(self, asked: Asked) -> Any:
        if any(one["display_name"] == asked.query["name"] for one in self.pipelines):
            raise Refusal(409, "Failed to create a pipeline and a pipeline version")
        pipeline = {
            "pipeline_id": str(uuid.uuid4()),
            "display_name": asked.query["name"],
            "namespace": asked.query.get("namespace", ""),
        }
        self.pipelines.append(pipeline)
        self._add_version(pipeline["pipeline_id"], asked.query["name"], asked.body)
        return pipeline

    def _upload_version(self, asked: Asked) -> Any:
        pipeline_id, name = asked.query["pipelineid"], asked.query["name"]
        if any((one["pipeline_id"], one["display_name"]) == (pipeline_id, name) for one in self.versions):
            raise Refusal(409, "Failed to create a pipeline version")
        return self._add_version(pipeline_id, name, asked.body)

    def _add_version(self, pipeline_id: str, name: str, text: bytes) -> dict[str, Any]:
        version = {"pipeline_version_id": str(uuid.uuid4()), "pipeline_id": pipeline_id, "display_name": name}
        version["pipeline_spec"] = next(yaml.load_all(text, Loader=yaml.CSafeLoader))
        self.versions.append(version)
        return version

    def _list_pipelines(self, asked: Asked) -> Any:
        namespace = asked.query.get("namespace", "")
        return self._page("pipelines", [one for one in self.pipelines if one["namespace"] == namespace], asked)

    def _list_versions(self, asked: Asked, pipeline_id: str) -> Any:
        mine = [one for one in self.versions if one["pipeline_id"] == pipeline_id]
        return self._page("pipeline_versions", mine, asked)

    def _list_experiments(self, asked: Asked) -> Any:
        return self._page("experiments", self.experiments, asked)

    def _add_experiment(self, asked: Asked) -> Any:
        self.experiments.append({**asked.body, "experiment_id": str(uuid.uuid4())})
        return self.experiments[-1]

    def _add_run(self, asked: Asked) -> Any:
        self._check_parameters(asked.body)
        self.runs.append({**asked.body, "run_id": str(uuid.uuid4()), "state": "PENDING"})
        return self.runs[-1]

    def _list_runs(self, asked: Asked) -> Any:
        wanted = asked.query.get("experiment_id")
        found = [one for one in self.runs if wanted in (None, one["experiment_id"])]
        return self._page("runs", found[::-1] if asked.query.get("sort_by", "").endswith("desc") else found, asked)

    def _get_run(self, asked: Asked, run_id: str) -> Any:
        for run in self.runs:
            if run["run_id"] == run_id:
                if self.states:
                    run["state"] = self.states.pop(0) if len(self.states) > 1 else self.states[0]
                return run
        raise Refusal(404, f"Run {run_id} not found")

    def _list_schedules(self, asked: Asked) -> Any:
        return self._page("recurringRuns", self.schedules, asked)

    def _add_schedule(self, asked: Asked) -> Any:
        self._check_parameters(asked.body)
        self.schedules.append({**asked.body, "recurring_run_id": str(uuid.uuid4()), "status": "ENABLED"})
        return self.schedules[-1]

    def _delete_schedule(self, asked: Asked, schedule_id: str) -> Any:
        kept = [one for one in self.schedules if one["recurring_run_id"] != schedule_id]
        if len(kept) == len(self.schedules):
            raise Refusal(404, f"Job {schedule_id} not found")
        self.schedules[:] = kept
        return {}

    def _check_parameters(self, body: dict[str, Any]) -> None:
        reference = body["pipeline_version_reference"]
        found = [one for one in self.versions if one["pipeline_version_id"] == reference["pipeline_version_id"]]
        if not found:
            raise Refusal(404, "PipelineVersion not found")
        known = found[0]["pipeline_spec"]["root"].get("inputDefinitions", {}).get("parameters", {})
        for name in body["runtime_config"].get("parameters", {}):
            if name not in known:
                raise Refusal(400, f"InvalidInputError: input parameter {name} does not exist in the pipeline spec")

    def _page(self, key: str, items: list[dict[str, Any]], asked: Asked) -> Any:
        for predicate in json.loads(asked.query.get("filter", "{}")).get("predicates", []):
            items = [one for one in items if one[predicate["key"]].lower() == predicate["stringValue"].lower()]
        start = int(asked.query.get("page_token") or 0)
        end = start + min(self.page_size, int(asked.query.get("page_size", 10)))
        return {key: items[start:end], "next_page_token": str(end) if end < len(items) else ""}

    _ROUTES = (
        ("GET", "/healthz", _healthz),
        ("POST", "/pipelines/upload", _upload),
        ("POST", "/pipelines/upload_version", _upload_version),
        ("GET", "/pipelines", _list_pipelines),
        ("GET", "/pipelines/([^/]+)/versions", _list_versions),
        ("GET", "/experiments", _list_experiments),
        ("POST", "/experiments", _add_experiment),
        ("POST", "/runs", _add_run),
        ("GET", "/runs", _list_runs),
        ("GET", "/runs/([^/]+)", _get_run),
        ("GET", "/recurringruns", _list_schedules),
        ("POST", "/recurringruns", _add_schedule),
        ("DELETE", "/recurringruns/([^/]+)", _delete_schedule),
    )


def _body(request: BaseHTTPRequestHandler) -> Any:
    """Return the JSON body, or the file of a form."""
    content = request.rfile.read(int(request.headers.get("Content-Length") or 0))
    kind = request.headers.get("Content-Type", "")
    if kind.startswith("multipart/form-data"):
        message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + content)
        return next(part.get_payload(decode=True) for part in message.iter_parts())
    return json.loads(content) if content else None

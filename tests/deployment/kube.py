"""A small Kubernetes API server with KServe's and Knative's part played in it, over HTTP, in this process.

It keeps InferenceServices, answers merge patches, refuses a patch for an object that has changed, and records every
request. After each change it does what the controllers do in Knative mode: a new template makes a new revision, traffic
is split between it and the one that was rolled out last. A revision can be told to fail, or to stay unready.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from kubernetes.client import ApiClient, Configuration

Document = dict[str, Any]


@dataclass
class Request:
    method: str
    path: str
    content_type: str | None
    body: Any


@dataclass
class World:
    """What the API server holds, and how the controllers behave."""

    services: dict[str, Document] = field(default_factory=dict)
    revisions: dict[str, Document] = field(default_factory=dict)
    pods: list[Document] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    outlook: str = "ready"
    """What becomes of new revisions: ready, failing, or pending."""
    refusals: list[tuple[int, str]] = field(default_factory=list)
    """Status and message of the next answers to writes."""
    rival: Document | None = None
    """A patch by someone else that is applied just before the next one arrives."""
    rolled_out_slips: bool = False
    """KServe's race: a split that is seen before the new revision exists sends the rest to the version before."""
    lag: int = 0
    """Reads that still show the status from before the last change."""
    _version: int = 0
    _stale: dict[str, Document] = field(default_factory=dict)

    def writes(self) -> list[Request]:
        return [request for request in self.requests if request.method != "GET"]

    def put(self, service: Document) -> Document:
        """Store a changed object and let the controllers act on it."""
        name = service["metadata"]["name"]
        self._version += 1
        service["metadata"]["resourceVersion"] = str(self._version)
        self._stale[name] = service.get("status", {})
        self.services[name] = service
        self._control(service)
        return service

    def see(self, name: str) -> Document | None:
        """Return an object as a client reads it."""
        service = self.services.get(name)
        if service is not None and self.lag > 0:
            self.lag -= 1
            return {**service, "status": self._stale[name]}
        return service

    def _control(self, service: Document) -> None:
        predictor = dict(service["spec"]["predictor"])
        percent = predictor.pop("canaryTrafficPercent", None)
        status = service.setdefault("status", {"components": {"predictor": {}}, "deploymentMode": "Knative"})
        component = status.setdefault("components", {}).setdefault("predictor", {})
        if component.get("template") != predictor:
            if self.rolled_out_slips and percent is not None:
                component["latestRolledoutRevision"] = component["previousRolledoutRevision"]
            component["template"] = json.loads(json.dumps(predictor))
            component["latestCreatedRevision"] = self._make_revision(service)
        newest = component["latestCreatedRevision"]
        if self.outlook == "ready":
            component["latestReadyRevision"] = newest
        self._route(component, percent)
        self._judge(service, component, newest)

    def _make_revision(self, service: Document) -> str:
        name = f"{service['metadata']['name']}-predictor-{len(self.revisions) + 1:05d}"
        ready = {"ready": "True", "failing": "False", "pending": "Unknown"}[self.outlook]
        condition = {"type": "Ready", "status": ready}
        if self.outlook == "failing":
            condition |= {"reason": "ExitCode1", "message": "Container failed with: no such bundle"}
        self.revisions[name] = {
            "kind": "Revision",
            "metadata": {"name": name, "annotations": service["spec"]["predictor"].get("annotations", {})},
            "status": {"conditions": [condition]},
        }
        return name

    def _route(self, component: Document, percent: int | None) -> None:
        ready, before = component.get("latestReadyRevision"), component.get("latestRolledoutRevision")
        if ready is None:
            return
        share = 100 if percent is None or before is None else percent
        traffic = [{"revisionName": ready, "percent": share, "latestRevision": True}]
        if share < 100:
            traffic.append({"revisionName": before, "percent": 100 - share, "tag": "prev"})
        component["traffic"] = traffic
        if share == 100 and before != ready:
            component["previousRolledoutRevision"] = before
            component["latestRolledoutRevision"] = ready

    def _judge(self, service: Document, component: Document, newest: str) -> None:
        is_ready = component.get("latestReadyRevision") == newest
        condition: Document = {"type": "Ready", "status": "True" if is_ready else "Unknown"}
        if self.outlook == "failing":
            condition = {"type": "Ready", "status": "False", "reason": "PredictorConfigurationReady"}
        host = f"{service['metadata']['name']}-predictor.{service['metadata']['namespace']}.example.com"
        service["status"] |= {"url": f"http://{host}", "conditions": [condition]}


def merge(target: Any, patch: Any) -> Any:
    """Return a JSON merge patch (RFC 7396) applied."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


@contextmanager
def serve(world: World) -> Iterator[ApiClient]:
    """Serve the world on a port of its own, and give a client of it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"world": world}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        with ApiClient(Configuration(host=f"http://127.0.0.1:{server.server_address[1]}")) as client:
            yield client
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    world: World
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        kind, name = self._arrive(None)
        if kind == "pods":
            self._answer(200, {"kind": "PodList", "apiVersion": "v1", "items": self.world.pods})
            return
        found = self.world.revisions.get(name) if kind == "revisions" else self.world.see(name)
        self._answer(200, found) if found else self._refuse(404, f"{kind} {name} not found")

    def do_POST(self) -> None:
        body = self._body()
        self._arrive(body)
        if self._is_refused():
            return
        body["metadata"]["resourceVersion"] = "0"
        name = body["metadata"]["name"]
        if name in self.world.services:
            self._refuse(409, f"{name} already exists")
        else:
            self._answer(201, self.world.put(body))

    def do_PATCH(self) -> None:
        body = self._body()
        _, name = self._arrive(body)
        if self._is_refused():
            return
        if self.world.rival is not None:
            rival, self.world.rival = self.world.rival, None
            self.world.put(merge(self.world.services[name], rival))
        live = self.world.services[name]
        if body["metadata"].get("resourceVersion") != live["metadata"]["resourceVersion"]:
            self._refuse(409, "the object has been modified; please apply your changes to the latest version")
        else:
            self._answer(200, self.world.put(merge(live, body)))

    def do_DELETE(self) -> None:
        _, name = self._arrive(None)
        gone = self.world.services.pop(name, None)
        self._answer(200, {"status": "Success"}) if gone else self._refuse(404, f"{name} not found")

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _arrive(self, body: Any) -> tuple[str, str]:
        """Record the request, and return the kind and the name that it is about."""
        copy = json.loads(json.dumps(body))
        self.world.requests.append(Request(self.command, self.path, self.headers.get("Content-Type"), copy))
        parts = self.path.partition("?")[0].rpartition("/namespaces/")[2].split("/")
        return parts[1], parts[2] if len(parts) > 2 else ""

    def _is_refused(self) -> bool:
        if not self.world.refusals:
            return False
        self._refuse(*self.world.refusals.pop(0))
        return True

    def _refuse(self, status: int, message: str) -> None:
        self._answer(status, {"kind": "Status", "status": "Failure", "message": message, "code": status})

    def _answer(self, status: int, document: Document) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

"""The API server of tests/deployment, with ConfigMaps, Leases, pods that have metrics, and KServe's way back."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubernetes.client import ApiClient, Configuration
from prometheus_client import CollectorRegistry, generate_latest

from tests.deployment import kube
from vigil.serving.metrics import Metrics

Document = dict[str, Any]


@dataclass
class World(kube.World):
    """Objects of every kind by kind and name; a revision's pod is a server of metrics."""

    kept: dict[tuple[str, str], Document] = field(default_factory=dict)
    gone: bool = False
    """Whether the API server answers 503 to everything."""

    def _route(self, component: Document, percent: int | None) -> None:
        newest, rolled_out = component.get("latestReadyRevision"), component.get("latestRolledoutRevision")
        before = component.get("previousRolledoutRevision")
        if percent is not None and percent < 100 and newest == rolled_out and before:
            # A share without a new template is answered with the version before the one that was rolled out.
            component["latestRolledoutRevision"] = before
        super()._route(component, percent)

    def keep(self, kind: str, body: Document, before: str | None) -> Document | None:
        """Create or replace an object; None where it is not as the client believes."""
        name = body["metadata"]["name"]
        live = self.kept.get((kind, name))
        present = live["metadata"]["resourceVersion"] if live else None
        if present != before:
            return None
        self._version += 1
        self.kept[kind, name] = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self._version)}}
        return self.kept[kind, name]


class _Handler(kube._Handler):
    world: World

    def do_GET(self) -> None:  # noqa: N802
        kind, name = self._arrive(None)
        labels = parse_qs(urlsplit(self.path).query).get("labelSelector", [""])[0]
        if self.world.gone:
            self._refuse(503, "the API server is going down")
        elif kind == "pods":
            found = [pod for pod in self.world.pods if _has(pod, labels)]
            self._answer(200, {"kind": "PodList", "apiVersion": "v1", "items": found})
        elif kind in ("configmaps", "leases") and not name:
            kept = [item for (of, _), item in self.world.kept.items() if of == kind and _has(item, labels)]
            self._answer(200, {"kind": "List", "apiVersion": "v1", "items": kept})
        elif kind in ("configmaps", "leases"):
            one = self.world.kept.get((kind, name))
            self._answer(200, one) if one else self._refuse(404, f"{kind} {name} not found")
        else:
            found_one = self.world.revisions.get(name) if kind == "revisions" else self.world.see(name)
            self._answer(200, found_one) if found_one else self._refuse(404, f"{kind} {name} not found")

    def do_POST(self) -> None:  # noqa: N802
        kind = urlsplit(self.path).path.rpartition("/")[2]
        if kind not in ("configmaps", "leases"):
            super().do_POST()
        else:
            self._keep(kind, None)

    def do_PUT(self) -> None:  # noqa: N802
        self._keep(urlsplit(self.path).path.split("/")[-2], "")

    def _keep(self, kind: str, before: str | None) -> None:
        body = self._body()
        self._arrive(body)
        if before is not None:
            before = body["metadata"].get("resourceVersion")
        saved = self.world.keep(kind, body, before)
        self._answer(200, saved) if saved else self._refuse(409, f"{kind}: the object has been modified")


def _has(item: Document, labels: str) -> bool:
    wanted = dict(part.split("=") for part in labels.split(",") if part)
    return wanted.items() <= (item["metadata"].get("labels") or {}).items()


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serve(world: World) -> Iterator[ApiClient]:
    """Serve the world on a port of its own, and give a client of it."""
    with (
        _serving(type("Handler", (_Handler,), {"world": world})) as port,
        ApiClient(Configuration(host=f"http://127.0.0.1:{port}")) as client,
    ):
        client.configuration.retries = 0
        yield client


class Pods:
    """Transformers that only have metrics, each on a port of its own."""

    def __init__(self, world: World) -> None:
        self._world, self._stack = world, ExitStack()
        self.metrics: dict[str, Metrics] = {}
        self.silent: set[str] = set()

    def start(self, revision: str, number: int = 1) -> None:
        """Start a pod of a revision, or the next one in the place of a restarted one."""
        name = f"{revision}-{number}"
        self.metrics[name] = Metrics(revision, CollectorRegistry())
        pods = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = generate_latest(pods.metrics[name].registry)
                self.send_response(503 if name in pods.silent else 200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        port = self._stack.enter_context(_serving(Handler))
        self._world.pods.append(
            {
                "metadata": {"name": name, "uid": name, "labels": {"serving.knative.dev/revision": revision}},
                "spec": {"containers": [{"name": "transformer-container", "ports": [{"containerPort": port}]}]},
                "status": {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
            }
        )

    def restart(self, revision: str, number: int = 1) -> None:
        """Let the counters of a pod begin anew."""
        self.metrics[f"{revision}-{number}"] = Metrics(revision, CollectorRegistry())

    def answer(self, revision: str, requests: int, status: str = "200", seconds: float = 0.004) -> None:
        """Let the revision's pods answer so many requests, by turns."""
        mine = [name for name in self.metrics if name.rpartition("-")[0] == revision]
        for number in range(requests):
            metrics = self.metrics[mine[number % len(mine)]]
            metrics.answered("v1", "predict", status, "ok", seconds * (1 + number % 7 / 7))

    def close(self) -> None:
        self._stack.close()


def copy(document: Document) -> Document:
    return dict(json.loads(json.dumps(document)))

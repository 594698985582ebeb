"""Starts both servers on a bundle, asks them, and stops them; usage: warm_up_servers.py BUNDLE."""

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import time

MODEL = "warm_up"
EVENT = {"event_id": "e1", "event_time": "2026-06-01T12:00:00Z", "amount": 20.0, "customer_id": "c", "terminal_id": "t"}


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody uses."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def start(server: str, ports: list[int], flag: str) -> "subprocess.Popen[bytes]":
    """Return a running server."""
    flags = [f"--model_name={MODEL}", f"--http_port={ports[0]}", f"--grpc_port={ports[1]}", flag]
    return subprocess.Popen([sys.executable, "-m", f"vigil.serving.{server}", *flags])


def ask(port: int, method: str, path: str, body: object = None) -> bytes:
    """Return the body of an answer, or raise ConnectionError where it is not a 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise ConnectionError(f"{path} answered {answer.status}: {content[:500]!r}")
    return content


def wait_until_ready(port: int, servers: "list[subprocess.Popen[bytes]]") -> None:
    """Return when the server at `port` is ready, or leave with the status of a server that has ended."""
    while True:
        for server in servers:
            if (status := server.poll()) is not None:
                sys.exit(f"{server.args} ended with {status}")
        try:
            ask(port, "GET", f"/v2/models/{MODEL}/ready")
            return
        except (OSError, http.client.HTTPException):
            time.sleep(0.5)


def main(bundle: str) -> None:
    """Leave with status 0 once everything was answered and both servers have ended well."""
    ports = free_ports(4)
    servers = [start("predictor", ports[:2], f"--model_dir={bundle}")]
    servers.append(start("transformer", ports[2:], f"--predictor_host=127.0.0.1:{ports[0]}"))
    try:
        wait_until_ready(ports[2], servers)
        for verb in ("predict", "explain"):
            answer = ask(ports[2], "POST", f"/v1/models/{MODEL}:{verb}", {"instances": [EVENT]})
            sys.stdout.write(f"{verb}: {answer.decode()}\n")
    finally:
        for server in reversed(servers):
            server.terminate()
    for server in reversed(servers):
        if (status := server.wait(timeout=60)) != 0:
            sys.exit(f"{server.args} ended with {status}")


if __name__ == "__main__":
    main(sys.argv[1])

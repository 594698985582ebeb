"""Starts both servers on a bundle, asks them, and stops them; usage: warm_up_servers.py BUNDLE."""

import http.client
import json
import signal
import subprocess
import sys
import time

MODEL, PREDICTOR, TRANSFORMER = "warm_up", 18085, 18080
EVENT = {"event_id": "e1", "event_time": "2026-06-01T12:00:00Z", "amount": 20.0, "customer_id": "c", "terminal_id": "t"}


def start(server: str, port: int, *flags: str) -> subprocess.Popen[bytes]:
    """Return a running server."""
    ports = (f"--http_port={port}", f"--grpc_port={port + 1}")
    return subprocess.Popen([sys.executable, "-m", f"vigil.serving.{server}", f"--model_name={MODEL}", *ports, *flags])


def ask(method: str, path: str, body: object = None) -> bytes:
    """Return the body of the transformer's answer, or raise ConnectionError where it is not a 200."""
    connection = http.client.HTTPConnection("127.0.0.1", TRANSFORMER, timeout=120)
    try:
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise ConnectionError(f"{path} answered {answer.status}: {content[:500]!r}")
    return content


def wait_until_ready(servers: list[subprocess.Popen[bytes]]) -> None:
    """Return when the transformer is ready, or leave with the status of a server that has ended."""
    while True:
        for server in servers:
            if (status := server.poll()) is not None:
                sys.exit(f"{server.args} ended with {status}")
        try:
            ask("GET", f"/v2/models/{MODEL}/ready")
            return
        except (OSError, http.client.HTTPException):
            time.sleep(0.5)


def main(bundle: str) -> None:
    """Leave with status 0 once everything was answered and both servers have ended well."""
    predictor = start("predictor", PREDICTOR, f"--model_dir={bundle}")
    transformer = start("transformer", TRANSFORMER, f"--predictor_host=127.0.0.1:{PREDICTOR}")
    wait_until_ready([predictor, transformer])
    for verb in ("predict", "explain"):
        answer = ask("POST", f"/v1/models/{MODEL}:{verb}", {"instances": [EVENT]})
        sys.stdout.write(f"{verb}: {answer.decode()}\n")
    for server in (transformer, predictor):
        server.send_signal(signal.SIGTERM)
        if (status := server.wait(timeout=60)) != 0:
            sys.exit(f"{server.args} ended with {status}")


if __name__ == "__main__":
    main(sys.argv[1])

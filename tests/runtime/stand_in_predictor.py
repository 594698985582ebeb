"""Takes the place of a predictor where the tests are about supervisor and splitter: it listens, and that is all."""

import argparse
import json
import signal
import socket
import sys
from pathlib import Path
from typing import Any


def told(role: str) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Return the flags and what `behaviour.json` says; die at once where it says so."""
    parser = argparse.ArgumentParser()
    for name in ("model_name", "model_dir", "model_version", "revision", "predictor_host"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--http_port", type=int)
    arguments = parser.parse_args()
    behaviour = json.loads((Path(arguments.model_dir) / "behaviour.json").read_text())
    if message := behaviour.get(f"{role}_dies"):
        print(message, file=sys.stderr)
        sys.exit(7)
    return arguments, behaviour


def main() -> None:
    arguments, _ = told("predictor")
    with socket.create_server(("127.0.0.1", arguments.http_port)) as listener:
        print("the predictor listens", flush=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        while True:
            listener.accept()[0].close()


if __name__ == "__main__":
    main()

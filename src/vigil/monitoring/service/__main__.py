"""`python -m vigil.monitoring.service`: what the local runtime and the cluster start."""

import argparse
import sys
from pathlib import Path

from vigil.errors import ContractError, VigilError
from vigil.logs import configure_logging
from vigil.monitoring.service.run import Endpoint, serve
from vigil.monitoring.service.settings import load_service_settings
from vigil.settings import load_settings

_CONFIGURATION = 78
"""Exit status that tells a supervisor that another start would change nothing."""


def main() -> int:
    """Serve, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m vigil.monitoring.service")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all")
    parser.add_argument("--port", type=int, default=8090, help="port to listen on")
    parser.add_argument("--config", type=Path, help="YAML file of limits and of the watches' settings")
    parser.add_argument("--nice", type=int, default=0, help="by how much to yield to others on a busy processor")
    given = parser.parse_args()
    try:
        settings = load_settings()
        configure_logging(settings.log_level, as_json=settings.log_json)
        limits = load_service_settings(given.config)
        serve(Endpoint(given.host, given.port, given.nice), settings, limits)
    except VigilError as error:
        sys.stderr.write(f"error: {error}\n")
        return _CONFIGURATION if isinstance(error, ContractError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The daemon that `vigil up` starts."""

import sys

from vigil.errors import VigilError
from vigil.logs import configure_logging
from vigil.runtime.daemon import config_from_json, run


def main() -> int:
    """Run the runtime whose configuration is the only argument, and return the exit status."""
    config = config_from_json(sys.argv[1])
    configure_logging(config.settings.log_level, as_json=config.settings.log_json)
    try:
        run(config)
    except VigilError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The controller that `vigil rollout start` leaves behind."""

import sys

from vigil.errors import VigilError
from vigil.logs import configure_logging
from vigil.rollout.connecting import local_controller
from vigil.rollout.process import TICK_SECONDS, UntilIdle
from vigil.rollout.stores import Busy
from vigil.runtime.client import RuntimeClient
from vigil.settings import load_settings


def main() -> int:
    """Carry the rollouts of VIGIL_HOME on until all are over, and return the exit status."""
    settings = load_settings()
    configure_logging(settings.log_level, as_json=settings.log_json)
    controller, idle = local_controller(settings), UntilIdle(RuntimeClient(settings))
    try:
        controller.run(TICK_SECONDS, is_over=idle)
        # Whoever started a rollout meanwhile has seen the lock held, and counts on this process.
        while not idle.is_left_alone() and controller.has_work():
            controller.run(TICK_SECONDS, is_over=idle)
    except Busy:
        return 0
    except VigilError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

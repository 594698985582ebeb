"""The main function of all servers."""

import logging
import sys
import warnings
from collections.abc import Sequence

from vigil.errors import VigilError
from vigil.logs import configure_logging
from vigil.settings import load_settings

PREDICTOR, TRANSFORMER, SITES = "predictor", "transformer", "sites"

_DRAIN_SECONDS = {PREDICTOR: 8.0, TRANSFORMER: 5.0, SITES: 5.0}
"""The predictor stays longer, so that its transformer can finish."""

_SWITCH_SECONDS = 0.0005
"""How long a batch may hold the interpreter while a single row waits."""


def main(role: str, arguments: Sequence[str]) -> int:
    """Serve as `role` until told to stop, and return the exit code."""
    warnings.simplefilter("ignore")  # of libraries, for developers; a server's stderr is JSON lines
    logging.getLogger("kserve").addHandler(logging.NullHandler())
    logging.getLogger("uvicorn").addHandler(logging.NullHandler())
    sys.setswitchinterval(_SWITCH_SECONDS)
    configure_logging("INFO", as_json=True)
    try:
        settings = load_settings()
        configure_logging(settings.log_level, as_json=True)
        from vigil.serving.metrics import Metrics
        from vigil.serving.options import parse_options
        from vigil.serving.server import Server

        options = parse_options(arguments, _DRAIN_SECONDS[role])
        metrics = Metrics(options.revision)
        if role == PREDICTOR:
            from vigil.serving.predicting import Predictor

            return Server(Predictor(options, settings, metrics)).run()
        if role == SITES:
            from vigil.serving.sites.predicting import SitePredictor

            return Server(SitePredictor(options, settings, metrics)).run()
        from vigil.serving.transforming import Transformer

        return Server(Transformer(options, settings, metrics)).run()
    except VigilError as error:
        logging.getLogger("vigil.serving").error("refused", extra={"cause": str(error)})
        return 78

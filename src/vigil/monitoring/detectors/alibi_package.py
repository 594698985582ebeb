"""Alibi Detect itself: imported when it is asked for, with a word on its licence, and with draws of its own."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType

import numpy as np

from vigil.errors import MissingExtra

_log = logging.getLogger(__name__)


@cache
def import_alibi() -> ModuleType:
    """Return alibi_detect.cd, or raise MissingExtra; the first call says under which licence it is."""
    try:
        import alibi_detect.cd as package  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise MissingExtra("alibi-detect", "monitor") from error
    _log.warning(
        "Alibi Detect is under the Business Source Licence 1.1: production needs a licence of Seldon's; "
        "the detectors tabular, ks, cvm and chi2 are free"
    )
    logging.getLogger("alibi_detect").setLevel(logging.ERROR)  # it warns of its own defaults at each prediction
    module: ModuleType = package
    return module


@contextmanager
def own_draws(state: np.random.RandomState) -> Iterator[None]:
    """Let Alibi Detect draw from `state`: by itself it draws from NumPy's global generator, which stays as it was."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.set_state(state.get_state())  # noqa: NPY002
    try:
        yield
    finally:
        state.set_state(np.random.get_state())  # noqa: NPY002
        np.random.set_state(before)  # noqa: NPY002

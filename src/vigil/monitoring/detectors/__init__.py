"""Detectors of drift: our own and those of Alibi Detect, chosen by `DetectorSettings`."""

from vigil.monitoring.detectors.settings import DetectorSettings, make_detector

__all__ = ["DetectorSettings", "make_detector"]

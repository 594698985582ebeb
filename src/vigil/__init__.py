"""Vigil: anomaly and fraud detection for businesses with many sites."""

__version__ = "0.1.0"

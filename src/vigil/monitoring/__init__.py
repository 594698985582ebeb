"""Drift: detectors behind one port, the watch over a served model, the cause of a change, and the service."""

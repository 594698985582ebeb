"""The pipelines: wiring only. `python -m pipelines.compile` writes `compiled/`."""

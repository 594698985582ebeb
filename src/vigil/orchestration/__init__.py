"""Runs of the pipelines: on this machine, on a Kubeflow Pipelines server, and who is told how they ended."""

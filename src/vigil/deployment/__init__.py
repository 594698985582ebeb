"""Puts a sealed model where traffic can reach it: into the local runtime, or into KServe."""

from vigil.deployment.deploy import deploy
from vigil.deployment.request import Deployment, DeployRequest, Target

__all__ = ["DeployRequest", "Deployment", "Target", "deploy"]

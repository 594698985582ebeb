"""A simulated business with many sites, and incidents whose truth is known: data to try, test and measure with."""

from vigil.simulate.config import PRESETS, SimulationConfig, load_config, preset
from vigil.simulate.simulation import Simulated, simulate, write

__all__ = ["PRESETS", "Simulated", "SimulationConfig", "load_config", "preset", "simulate", "write"]

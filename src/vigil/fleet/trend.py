"""The trend of the level, and its yearly season where the history is long enough."""

import numpy as np

from vigil.clock import DAY
from vigil.fleet.grid import Grid
from vigil.fleet.kernels import online
from vigil.fleet.panel import Floats
from vigil.fleet.settings import FleetSettings

ROUNDS = 6
LATEST = 12
"""Blocks at the end of the history whose median is the level."""


def set_trend(params: Floats, levels: Floats, grid: Grid, settings: FleetSettings) -> None:
    """Fill level, slope and yearly season from the levels of the blocks, (series, blocks)."""
    blocks = levels.shape[1]
    middle = grid.first_step + (np.arange(blocks) + 0.5) * settings.block
    yearly = blocks * settings.block * settings.step >= settings.yearly_days * DAY
    season = np.zeros_like(levels)
    if yearly:
        season = _fit_season(params, levels, middle)
    left = levels - season
    params[:, online.SLOPE] = _slopes(left, settings.block)
    ahead = middle[None] - params[:, online.ORIGIN][:, None]
    straight = left - params[:, online.SLOPE][:, None] * ahead
    params[:, online.LEVEL] = np.median(straight[:, -LATEST:], axis=1)


def _fit_season(params: Floats, levels: Floats, middle: Floats) -> Floats:
    """Fit two waves a year beside a straight line, by least squares that give little weight to what lies far out."""
    angle = 2 * np.pi * middle / params[0, online.YEAR]
    waves = np.stack([np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)], axis=1)
    line = np.linspace(-1.0, 1.0, len(middle))
    design = np.column_stack([np.ones_like(line), line, waves])
    weight = np.ones_like(levels)
    ridge = 1e-6 * np.eye(design.shape[1])
    found = np.zeros((len(levels), design.shape[1]))
    for _ in range(ROUNDS):
        normal = np.einsum("sb,bi,bj->sij", weight, design, design) + ridge
        target = np.einsum("sb,bi,sb->si", weight, design, levels)
        found = np.linalg.solve(normal, target[:, :, None])[:, :, 0]
        residual = np.abs(levels - found @ design.T)
        spread = 1.4826 * np.median(residual, axis=1, keepdims=True) + 1e-9
        weight = np.minimum(1.0, 1.5 * spread / np.maximum(residual, 1e-12))
    params[:, [online.COS1, online.SIN1, online.COS2, online.SIN2]] = found[:, 2:]
    season: Floats = found[:, 2:] @ waves.T
    return season


def _slopes(levels: Floats, block: int) -> Floats:
    """Return the median slope a step of pairs half a history apart; less where levels scatter more than it rises."""
    blocks = levels.shape[1]
    if blocks < 8:
        return np.zeros(len(levels))
    half = blocks // 2
    slopes = (levels[:, half:] - levels[:, : blocks - half]) / half
    slope = np.median(slopes, axis=1)
    around = levels - slope[:, None] * np.arange(blocks)
    scatter = 1.4826 * np.median(np.abs(around - np.median(around, axis=1, keepdims=True)), axis=1)
    rise = np.abs(slope) * blocks
    shrunk: Floats = slope * rise**2 / (rise**2 + (4.0 * scatter) ** 2 + 1e-12)
    return shrunk / block

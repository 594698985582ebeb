from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.samples import ticking
from vigil.errors import ContractError
from vigil.evaluation.resources import CpuMeter, Prices, Usage, bundle_bytes, cost_of, measure_latency

MATRIX = np.zeros((50, 2), np.float32)


def test_the_latency_is_what_the_timer_says() -> None:
    found = measure_latency(lambda matrix: matrix[:, 0], MATRIX, ticking(*[0.001] * 99, 0.005), calls=100)
    assert found.p50_ms == pytest.approx(1)
    assert found.p99_ms == pytest.approx(5)
    assert found.rows_per_second == pytest.approx(50_000)


def test_a_timer_that_stands_still_gives_no_speed() -> None:
    assert measure_latency(lambda matrix: matrix[:, 0], MATRIX, lambda: 0.0).rows_per_second is None


def test_latency_without_rows_is_refused() -> None:
    with pytest.raises(ContractError, match="needs rows"):
        measure_latency(lambda matrix: matrix[:, 0], MATRIX[:0], ticking(1.0))


def test_the_size_of_a_bundle_is_that_of_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "members").mkdir()
    (tmp_path / "members" / "forest.npz").write_bytes(b"x" * 100)
    (tmp_path / "manifest.json").write_bytes(b"{}")
    assert bundle_bytes(tmp_path) == 102


def test_a_bundle_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="no bundle to weigh"):
        bundle_bytes(tmp_path / "absent")


def test_the_meter_sums_the_blocks_that_it_is_entered_for() -> None:
    meter = CpuMeter(ticking(2.0, 3.0))
    with meter:
        pass
    with meter:
        pass
    assert meter.seconds == pytest.approx(5)


def test_the_cost_is_split_by_run_site_and_predictions() -> None:
    usage = Usage(
        cpu_seconds=7200,
        gpu_seconds=3600,
        stored_bytes=1 << 30,
        sites=4,
        predictions=500_000,
        prediction_cpu_seconds=36,
    )
    found = cost_of(usage, Prices(currency="EUR", cpu_hour=1, gpu_hour=2, gib_month=0.5))
    assert (found.currency, found.per_run, found.per_site, found.storage_per_month) == ("EUR", 4, 1, 0.5)
    assert found.per_1000_predictions == pytest.approx(0.01 / 500)


def test_without_predictions_there_is_no_price_of_a_prediction() -> None:
    assert cost_of(Usage(cpu_seconds=1), Prices()).per_1000_predictions is None

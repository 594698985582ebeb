"""A small bundle of every format, for the tests."""

import io
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vigil.contracts.keys import ContentHash, canonical_json, hash_bytes
from vigil.registry.metadata import BundleMetadata, CodeVersion, TrainingWindow

MONDAY = datetime(2026, 6, 1, tzinfo=UTC)
FEATURES = hash_bytes(b"features")
SOURCES = hash_bytes(b"sources")


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def parquet(**columns: list[float]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def parts(cut: float = 0.5) -> dict[str, bytes]:
    """A part of every format; another `cut` makes another bundle."""
    return {
        "members/forest.npz": npz(left=np.arange(6, dtype=np.int32), value=np.linspace(0, 1, 6)),
        "members/boosted.ubj": b"{L\x00\x00",
        "reference/amount.parquet": parquet(amount=[1.0, 2.5]),
        "thresholds.json": canonical_json({"alert": cut}),
        "limits.txt": b"trained on two rows\n",
    }


def metadata(
    model: str = "card_fraud",
    parents: dict[str, ContentHash] | None = None,
    auc: float = 0.875,
    sources: ContentHash = SOURCES,
) -> BundleMetadata:
    return BundleMetadata(
        model=model,
        feature_schema=hash_bytes(b"schema"),
        training_window=TrainingWindow(start=MONDAY, end=datetime(2026, 6, 8, tzinfo=UTC)),
        parents=parents or {"features": FEATURES},
        code=CodeVersion(sources=sources),
        libraries={"numpy": "1.26.4", "python": "3.11.0"},
        parameters={"trees": 200, "seed": 42},
        metrics={"average_precision": 0.625, "auc": auc},
    )

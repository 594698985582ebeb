from tests.training.conftest import raw

__all__ = ["raw"]

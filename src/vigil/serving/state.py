"""Whether a server is ready, and why not; one object that probes, gRPC and the shutdown share."""

from collections.abc import Awaitable, Callable


class ServerState:
    """Starts as not ready; becomes ready when the model is loaded, and unready again when it drains or lacks a part."""

    def __init__(self) -> None:
        self.loaded = False
        self.draining = False
        self.reason = "the model is being loaded"
        self._checks: list[Callable[[], Awaitable[str | None]]] = []

    @property
    def serving(self) -> bool:
        """Whether requests are worked on: also while draining."""
        return self.loaded

    def add_check(self, check: Callable[[], Awaitable[str | None]]) -> None:
        """Let the state ask `check`, which returns why the server is not ready or None, each time it is asked."""
        self._checks.append(check)

    def load(self) -> None:
        """Note that the model is loaded."""
        self.loaded = True

    def drain(self) -> None:
        """Turn unready; requests are still answered."""
        self.draining = True

    async def not_ready(self) -> str | None:
        """Return why no new request should come, or None."""
        if not self.loaded:
            return self.reason
        if self.draining:
            return "the server is shutting down"
        for check in self._checks:
            if (reason := await check()) is not None:
                return reason
        return None

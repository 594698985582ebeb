"""What can go wrong, sorted by who has to act on it."""


class VigilError(Exception):
    """Base of every error that Vigil raises on purpose; the text states the problem and the cure."""


class ContractError(VigilError):
    """The input is wrong: the caller has to change it. A 4xx in serving, a failed gate in a pipeline."""


class Unavailable(VigilError):
    """Something that Vigil needs does not answer: the same call may succeed later."""


class Bug(VigilError):
    """Vigil broke a promise to itself. Never caught, never retried."""


class MissingExtra(VigilError):
    """An optional dependency is absent."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'vigil[{extra}]'")

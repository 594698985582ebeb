"""The connection to a Kubeflow Pipelines server: kfp's own client, with errors of ours and a limit of time."""

import contextlib
import io
import json
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from vigil.errors import ContractError, MissingExtra, Unavailable, VigilError
from vigil.settings import Settings

TIMEOUT = 60.0
"""Seconds for one answer; kfp's client would wait for ever."""

_LONGEST = 500


def connect(settings: Settings, timeout: float = TIMEOUT) -> Any:  # noqa: ANN401 - kfp has no types
    """Return a `kfp.Client`, or raise Unavailable if no server answers."""
    try:
        import kfp
    except ImportError as error:
        raise MissingExtra("kfp", "pipelines") from error
    if not settings.kfp_host:
        raise ContractError(
            "no Kubeflow Pipelines server is known: set VIGIL_KFP_HOST, such as http://ml-pipeline.kubeflow:8888, or"
            " give --host"
        )
    if not re.match(r"https?://[^/]", settings.kfp_host):
        raise ContractError(f"VIGIL_KFP_HOST: {settings.kfp_host!r} is no address such as http://ml-pipeline:8888")
    credentials = _credentials(settings)
    if not settings.kfp_namespace:
        _need_single_user(settings, credentials, timeout)
    with api_errors("connect to Kubeflow Pipelines"):
        client = kfp.Client(
            host=settings.kfp_host, namespace=settings.kfp_namespace or "kubeflow", credentials=credentials
        )
    _limit_time(client._run_api.api_client.rest_client, timeout)
    return client


def _credentials(settings: Settings) -> Any:  # noqa: ANN401 - kfp has no types
    """Return what sends the projected token, which is read again for each call; None where there is no token."""
    if not settings.kfp_token.exists():
        return None
    from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

    return ServiceAccountTokenVolumeCredentials(str(settings.kfp_token))


def _need_single_user(settings: Settings, credentials: Any, timeout: float) -> None:  # noqa: ANN401 - kfp has no types
    """Ask the server who it serves.

    kfp's client would ask five times with pauses of five seconds, and for a server of many users it would write a
    namespace into the user's home.
    """
    import kfp_server_api

    configuration = kfp_server_api.Configuration(host=str(settings.kfp_host).rstrip("/"))
    if credentials is not None:
        configuration.api_key["authorization"] = ""
        configuration.api_key_prefix["authorization"] = "Bearer"
        configuration.refresh_api_key_hook = credentials.refresh_api_key_hook
    health = kfp_server_api.HealthzServiceApi(kfp_server_api.ApiClient(configuration))
    with api_errors(f"reach {settings.kfp_host}"):
        answer = health.healthz_service_get_healthz(_request_timeout=(timeout, timeout))
    if answer.multi_user:
        raise ContractError(f"{settings.kfp_host} serves many users: say whose runs these are by VIGIL_KFP_NAMESPACE")


def _limit_time(rest_client: Any, timeout: float) -> None:  # noqa: ANN401 - generated code without types
    request: Callable[..., Any] = rest_client.request
    limits = (timeout, timeout)  # to connect and to read: the client ignores a single number that is no int

    def limited(*args: object, **named: object) -> object:
        return request(*args, **{**named, "_request_timeout": named.get("_request_timeout") or limits})

    rest_client.request = limited


@contextlib.contextmanager
def api_errors(what: str) -> Iterator[None]:
    """Turn errors of the client into ours within the context, and keep it from printing and warning.

    What the caller has to change, a 4xx, is a ContractError with the server's reason; what may pass is Unavailable.
    """
    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError

    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except ApiException as error:
        raise _translated(what, error) from error
    except (HTTPError, TimeoutError, OSError) as error:
        raise Unavailable(f"cannot {what}: {_short(str(error))}") from error
    except ValueError as error:
        raise ContractError(f"cannot {what}: {_short(str(error))}") from error


@contextlib.contextmanager
def tolerating(status: int) -> Iterator[None]:
    """Leave the context early, and quietly, if the server answers with that status."""
    from kfp_server_api import ApiException

    try:
        yield
    except ApiException as error:
        if error.status != status:
            raise


def _translated(what: str, error: Any) -> VigilError:  # noqa: ANN401 - generated code without types
    reason = _reason(error)
    text = f"cannot {what}: {reason} (HTTP {error.status})"
    if error.status in (401, 403):
        return ContractError(f"{text}; look at VIGIL_KFP_TOKEN, VIGIL_KFP_NAMESPACE and the rights of the account")
    if error.status in (408, 429) or not 400 <= error.status < 500:
        return Unavailable(text)
    return ContractError(text)


def _reason(error: Any) -> str:  # noqa: ANN401 - generated code without types
    """Return the message of the server, which comes as JSON, or whatever else there is."""
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        document = json.loads(error.body)
        return _short(document.get("message") or document["error_message"])
    return _short(str(error.reason or "no reason given"))


def _short(text: str) -> str:
    return " ".join(text.split())[:_LONGEST]

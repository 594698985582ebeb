"""The mail that says how a run ended. It imports nothing of kfp: the exit handler's image has the executor only."""

import logging
import smtplib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from enum import StrEnum

from vigil.errors import ContractError, Unavailable
from vigil.settings import Settings, load_settings

_SUCCESS = frozenset({"SUCCEEDED", "COMPLETE", "CACHED"})
"""kfp says SUCCEEDED on a laptop, and COMPLETE or CACHED on a cluster."""

_TIMEOUT = 15.0
_PAUSES = (1.0, 5.0)
"""Seconds before the second and the third attempt."""

_TOO_MUCH = 2_000

_log = logging.getLogger(__name__)


class Told(StrEnum):
    """What became of the notification."""

    MAILED = "mailed"
    NOT_WANTED = "not_wanted"
    NO_SERVER = "no_server"


@dataclass(frozen=True)
class RunEnd:
    """How a run ended: the fields of kfp's PipelineTaskFinalStatus as plain values, and what the run knew itself."""

    state: str
    run: str
    pipeline: str = ""
    cause: str = ""
    error: str = ""
    where: str = ""

    @property
    def failed(self) -> bool:
        """Whether the run failed. A state that is neither success nor failure, such as CANCELED, is no failure."""
        return self.state == "FAILED"

    @property
    def succeeded(self) -> bool:
        """Whether the run did all that it was to do."""
        return self.state in _SUCCESS


def notify_run(
    end: RunEnd,
    *,
    on_success: bool = False,
    settings: Settings | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Told:
    """Mail that a run failed, with `on_success` also that it succeeded, and return what was done.

    Without a mail server it says so in the log and the run goes on. Unavailable is raised when the server does not
    answer at three attempts, ContractError when it refuses the mail for good.
    """
    settings = settings or load_settings()
    if not (end.failed or (on_success and end.succeeded)):
        _log.info("no mail: the run ended well", extra={"run": end.run, "state": end.state})
        return Told.NOT_WANTED
    if not settings.mail_server or not settings.mail_to:
        missing = "VIGIL_MAIL_TO" if settings.mail_server else "VIGIL_MAIL_SERVER"
        _log.warning(f"no mail: {missing} is not set", extra={"run": end.run, "state": end.state})
        return Told.NO_SERVER
    _send(_message(end, settings), settings, pause)
    _log.info("mailed", extra={"run": end.run, "state": end.state, "to": settings.mail_to})
    return Told.MAILED


def _message(end: RunEnd, settings: Settings) -> EmailMessage:
    message = EmailMessage()
    verb = "failed" if end.failed else "succeeded"
    message["Subject"] = f"[vigil] {_one_line(end.pipeline or 'run')} {verb}: {_one_line(end.run)}"
    message["From"] = settings.mail_from
    message["To"] = settings.mail_to
    # RFC 3834: out-of-office machines must not answer.
    message["Auto-Submitted"] = "auto-generated"
    facts = {
        "Run": end.run,
        "Pipeline": end.pipeline,
        "State": end.state,
        "Started because of": end.cause,
        "Error": end.error[:_TOO_MUCH],
        "Where to look": end.where,
    }
    message.set_content("\n".join(f"{name}: {value}" for name, value in facts.items() if value) + "\n")
    return message


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _send(message: EmailMessage, settings: Settings, pause: Callable[[float], None]) -> None:
    for seconds in (*_PAUSES, None):
        try:
            _send_once(message, settings)
            return
        except ssl.SSLCertVerificationError as error:
            raise ContractError(f"mail server {settings.mail_server}: {error}") from error
        except (smtplib.SMTPException, OSError) as error:
            if _is_final(error):
                raise ContractError(
                    f"mail server {settings.mail_server} refuses the mail: {error}; look at the VIGIL_MAIL_* settings"
                ) from error
            if seconds is None:
                raise Unavailable(f"mail server {settings.mail_server} does not take the mail: {error}") from error
            _log.warning(f"mail server does not answer, trying again in {seconds:.0f} s", extra={"error": str(error)})
            pause(seconds)


def _is_final(error: Exception) -> bool:
    """Return whether another attempt is pointless: SMTP says so by a code of 500 and more."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in error.recipients.values())
    if isinstance(error, smtplib.SMTPResponseException):
        return error.smtp_code >= 500
    return isinstance(error, smtplib.SMTPNotSupportedError)


def _send_once(message: EmailMessage, settings: Settings) -> None:
    host, port = _address(settings)
    context = ssl.create_default_context()
    with (
        smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT, context=context)
        if settings.mail_security == "tls"
        else smtplib.SMTP(host, port, timeout=_TIMEOUT)
    ) as server:
        if settings.mail_security == "starttls":
            server.starttls(context=context)
        if settings.mail_user:
            server.login(settings.mail_user, _password(settings))
        refused = server.send_message(message)
    if refused:
        _log.warning("the mail server refused some of those who were to be told", extra={"refused": sorted(refused)})


def _password(settings: Settings) -> str:
    if settings.mail_password_file is None:
        raise ContractError("VIGIL_MAIL_USER is set: set VIGIL_MAIL_PASSWORD_FILE too")
    try:
        return settings.mail_password_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ContractError(f"VIGIL_MAIL_PASSWORD_FILE: {error}") from error


def _address(settings: Settings) -> tuple[str, int]:
    host, _, port = str(settings.mail_server).rpartition(":")
    if not host:
        return port, {"tls": 465, "starttls": 587}.get(settings.mail_security, 25)
    if not port.isdigit():
        raise ContractError(f"VIGIL_MAIL_SERVER: {settings.mail_server!r} is not HOST:PORT, such as mail.example:25")
    return host, int(port)

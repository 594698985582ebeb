"""Mail by the server of the settings. It imports the standard library only: images of small steps have no more."""

import logging
import smtplib
import ssl
import time
from collections.abc import Callable
from email.message import EmailMessage

from vigil.errors import ContractError, Unavailable
from vigil.settings import Settings

_TIMEOUT = 15.0
_PAUSES = (1.0, 5.0)
"""Seconds before the second and the third attempt."""

_log = logging.getLogger(__name__)


def send_mail(message: EmailMessage, settings: Settings, pause: Callable[[float], None] = time.sleep) -> None:
    """Send the mail, at three attempts at most; Unavailable and ContractError are raised as by `try_mail`."""
    for seconds in (*_PAUSES, None):
        try:
            try_mail(message, settings)
            return
        except Unavailable as error:
            if seconds is None:
                raise
            _log.warning(f"mail server does not answer, trying again in {seconds:.0f} s", extra={"error": str(error)})
            pause(seconds)


def try_mail(message: EmailMessage, settings: Settings, timeout: float = _TIMEOUT) -> None:
    """Send the mail at one attempt.

    Unavailable is raised where another one may succeed, ContractError where the server refuses the mail for good.
    """
    try:
        _send(message, settings, timeout)
    except ssl.SSLCertVerificationError as error:
        raise ContractError(f"mail server {settings.mail_server}: {error}") from error
    except (smtplib.SMTPException, OSError) as error:
        if _is_final(error):
            raise ContractError(
                f"mail server {settings.mail_server} refuses the mail: {error}; look at the VIGIL_MAIL_* settings"
            ) from error
        raise Unavailable(f"mail server {settings.mail_server} does not take the mail: {error}") from error


def one_line(text: str) -> str:
    """Return the text as a header can hold it: no name can add a header of its own."""
    return " ".join(text.split())


def _is_final(error: Exception) -> bool:
    """Return whether another attempt is pointless: SMTP says so by a code of 500 and more."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in error.recipients.values())
    if isinstance(error, smtplib.SMTPResponseException):
        return error.smtp_code >= 500
    return isinstance(error, smtplib.SMTPNotSupportedError)


def _send(message: EmailMessage, settings: Settings, timeout: float) -> None:
    host, port = _address(settings)
    context = ssl.create_default_context()
    with (
        smtplib.SMTP_SSL(host, port, timeout=timeout, context=context)
        if settings.mail_security == "tls"
        else smtplib.SMTP(host, port, timeout=timeout)
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

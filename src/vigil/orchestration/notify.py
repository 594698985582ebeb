"""The mail that says how a run ended. It imports nothing of kfp: the exit handler's image has the executor only."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from enum import StrEnum

from vigil.alerts.mail import one_line, send_mail
from vigil.settings import Settings, load_settings

_SUCCESS = frozenset({"SUCCEEDED", "COMPLETE", "CACHED"})
"""kfp says SUCCEEDED on a laptop, and COMPLETE or CACHED on a cluster."""

_TOO_MUCH = 2_000

_log = logging.getLogger(__name__)


class Told(StrEnum):
    """What became of the notification."""

    MAILED = "mailed"
    NOT_WANTED = "not_wanted"
    NO_SERVER = "no_server"


@dataclass(frozen=True)
class RunEnd:
    """How a run ended: fields of kfp's PipelineTaskFinalStatus as plain values, and what the run knew itself.

    The name of the run holds that of its pipeline; what kfp calls the pipeline's task is `exit-handler-1`.
    """

    state: str
    run: str
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
    send_mail(_message(end, settings), settings, pause)
    _log.info("mailed", extra={"run": end.run, "state": end.state, "to": settings.mail_to})
    return Told.MAILED


def _message(end: RunEnd, settings: Settings) -> EmailMessage:
    message = EmailMessage()
    verb = "failed" if end.failed else "succeeded"
    message["Subject"] = f"[vigil] run {verb}: {one_line(end.run)}"
    message["From"] = settings.mail_from
    message["To"] = settings.mail_to
    # RFC 3834: out-of-office machines must not answer.
    message["Auto-Submitted"] = "auto-generated"
    facts = {
        "Run": end.run,
        "State": end.state,
        "Started because of": end.cause,
        "Error": end.error[:_TOO_MUCH],
        "Where to look": end.where,
    }
    message.set_content("\n".join(f"{name}: {value}" for name, value in facts.items() if value) + "\n")
    return message

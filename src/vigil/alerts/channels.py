"""One attempt to deliver a message by mail, Slack, webhook or log, and what came of it."""

import asyncio
import email.utils
import hashlib
import hmac
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage

import aiohttp

from vigil.alerts.mail import one_line, try_mail
from vigil.alerts.messages import Message, Why
from vigil.alerts.settings import Channel, LogChannel, MailChannel, SlackChannel, WebhookChannel, read_secret
from vigil.contracts.cloud_events import JSON, CloudEvent, new_event, to_structured
from vigil.errors import ContractError, Unavailable
from vigil.settings import Settings

KEY_HEADER = "Idempotency-Key"
SIGNATURE_HEADER = "X-Vigil-Signature"
"""`t=SECONDS,v1=HEX`: HMAC-SHA256 by the secret over SECONDS, a full stop and the body."""

_COME_AGAIN = frozenset({408, 409, 425, 429})
_MOST_OF_AN_ANSWER = 64 << 10
_LONGEST_WAIT = timedelta(hours=1)
_SLACK_TEXT = 3_500

_log = logging.getLogger(__name__)


class Later(Unavailable):
    """Not delivered now; `after` is how long the receiver wants to be left alone, if it said so."""

    def __init__(self, text: str, after: timedelta | None = None) -> None:
        super().__init__(text)
        self.after = after


@dataclass(frozen=True)
class Delivered:
    """What the receiver said."""

    ticket: str = ""
    """Id of the incident in the receiver's own system."""


@dataclass
class Postman:
    """Delivers messages, each by the channel that it names."""

    channels: Mapping[str, Channel]
    settings: Settings
    session: aiohttp.ClientSession
    timeout: float = 10.0

    async def deliver(self, message: Message, at: datetime) -> Delivered:
        """Deliver at one attempt. Unavailable is raised where another may succeed, ContractError where none will."""
        channel = self.channels.get(message.channel)
        match channel:
            case MailChannel():
                await self._mail(message, channel)
            case SlackChannel():
                body = json.dumps({"text": _slack(message)}).encode()
                await self._post(channel.address(), body, {"Content-Type": JSON, KEY_HEADER: message.key})
            case WebhookChannel():
                return Delivered(_ticket(await self._webhook(message, channel, at)))
            case LogChannel():
                _log.warning(message.subject, extra={"incident": message.incident, "owner": message.owner})
            case None:
                raise ContractError(f"there is no channel {message.channel} any more")
        return Delivered()

    async def _mail(self, message: Message, channel: MailChannel) -> None:
        to = ", ".join(channel.to) or self.settings.mail_to
        if not self.settings.mail_server or not to:
            name = "VIGIL_MAIL_TO" if self.settings.mail_server else "VIGIL_MAIL_SERVER"
            raise Later(f"{name} is not set")
        await asyncio.to_thread(try_mail, _mail(message, self.settings.mail_from, to), self.settings, self.timeout)

    async def _webhook(self, message: Message, channel: WebhookChannel, at: datetime) -> bytes:
        headers, body = to_structured(_event(message))
        headers[KEY_HEADER] = message.key
        if channel.secret_file is not None:
            headers[SIGNATURE_HEADER] = signature(read_secret(channel.secret_file), body, at)
        return await self._post(channel.address(), body, headers)

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        """Return the answer's body, or raise Later or ContractError by its status. Redirects are not followed."""
        timeout = aiohttp.ClientTimeout(total=self.timeout)
        try:
            async with self.session.post(
                url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                content = await answer.content.read(_MOST_OF_AN_ANSWER)
                status, wait = answer.status, answer.headers.get("Retry-After", "")
        except aiohttp.InvalidURL as error:
            raise ContractError("the URL of the channel is none") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # The text of these errors may hold the URL, which may be a secret.
            raise Later(f"no answer ({type(error).__name__})") from error
        if 200 <= status < 300:
            return content
        if status >= 500 or status in _COME_AGAIN:
            raise Later(f"answered {status}", _wait(wait))
        raise ContractError(f"refused with {status}: {content[:200].decode(errors='replace')}")


def signature(secret: str, body: bytes, at: datetime) -> str:
    """Return the value of the signature header: the receiver computes the same and compares."""
    seconds = str(int(at.timestamp()))
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


def _mail(message: Message, sender: str, to: str) -> EmailMessage:
    mail = EmailMessage()
    domain = sender.rpartition("@")[2].strip("> ") or "localhost"
    mail["Subject"] = one_line(message.subject)
    mail["From"] = sender
    mail["To"] = to
    mail["Date"] = email.utils.format_datetime(message.created.astimezone(UTC))
    mail["Message-ID"] = f"<{message.key}@{domain}>"
    if message.incident:
        thread = f"<incident-{message.incident}@{domain}>"
        mail["In-Reply-To"] = thread
        mail["References"] = thread
    # RFC 3834: out-of-office machines must not answer.
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Vigil-Incident"] = one_line(message.incident)
    mail.set_content(message.text)
    return mail


def _slack(message: Message) -> str:
    """Return Slack's text: the three characters that it reads as markup are written out."""
    text = f"{message.subject}\n```\n{message.text[:_SLACK_TEXT]}```"
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _event(message: Message) -> CloudEvent:
    kind = "vigil.alerts.digest" if message.why is Why.DIGEST else f"vigil.incident.{message.why}"
    content = {
        "owner": message.owner,
        "severity": message.severity,
        "subject": message.subject,
        "text": message.text,
        "incident": message.content,
    }
    return new_event(kind, "vigil/alerts", content, message.created, message.key, message.incident or None)


def _ticket(answer: bytes) -> str:
    """Return the ticket that an answer names, if it does."""
    try:
        content = json.loads(answer)
    except ValueError:
        return ""
    ticket = content.get("ticket") if isinstance(content, dict) else None
    return one_line(str(ticket))[:200] if isinstance(ticket, str | int) else ""


def _wait(header: str) -> timedelta | None:
    if header.isdecimal():
        return min(timedelta(seconds=int(header)), _LONGEST_WAIT)
    return None

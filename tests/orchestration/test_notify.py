"""The mail about the end of a run, against a real SMTP server."""

import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message
from aiosmtpd.smtp import AuthResult, LoginPassword

from vigil.errors import ContractError, Unavailable
from vigil.orchestration.notify import RunEnd, Told, notify_run
from vigil.settings import Settings

FAILED = RunEnd(
    state="FAILED",
    run="training-2026-11-25",
    cause="drift of card_fraud",
    error="gate recall: 0.41 is below 0.50",
    where="http://kubeflow.test/#/runs/details/7",
)


class Mailbox(Message):
    """Keeps what it is sent; answers the first commands as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[Any] = []
        self.answers: list[str] = []
        self.refused: dict[str, str] = {}

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802
        if self.answers:
            return self.answers.pop(0)
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    def handle_message(self, message: Any) -> None:
        self.mails.append(message)


def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: LoginPassword) -> AuthResult:
    return AuthResult(success=(data.login, data.password) == (b"vigil", b"secret"), handled=False)


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def server(mailbox: Mailbox) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    login = {"authenticator": authenticate, "auth_require_tls": False}
    controller = Controller(mailbox, hostname="127.0.0.1", port=port, **login)
    controller.start()
    yield f"127.0.0.1:{port}"
    controller.stop()


def settings(server: str | None, **others: Any) -> Settings:
    return Settings(mail_server=server, mail_to="ops@shop.test,ana@shop.test", mail_from="vigil@shop.test", **others)


class Pauses(list[float]):
    """Notes how long was to be waited instead of waiting."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def test_a_failed_run_is_mailed_with_cause_error_and_where_to_look(server: str, mailbox: Mailbox) -> None:
    assert notify_run(FAILED, settings=settings(server)) is Told.MAILED
    (mail,) = mailbox.mails
    assert mail["Subject"] == "[vigil] run failed: training-2026-11-25"
    assert mail["From"] == "vigil@shop.test"
    assert mail["X-RcptTo"] == "ops@shop.test, ana@shop.test"
    assert mail["Auto-Submitted"] == "auto-generated"
    text = mail.get_payload(decode=True).decode()
    for part in (FAILED.run, FAILED.cause, FAILED.error, FAILED.where):
        assert part in text


@pytest.mark.parametrize("state", ["SUCCEEDED", "COMPLETE", "CACHED"])
def test_success_is_mailed_only_on_demand(server: str, mailbox: Mailbox, state: str) -> None:
    end = RunEnd(state=state, run="r")
    assert notify_run(end, settings=settings(server)) is Told.NOT_WANTED
    assert mailbox.mails == []
    assert notify_run(end, on_success=True, settings=settings(server)) is Told.MAILED
    assert mailbox.mails[0]["Subject"] == "[vigil] run succeeded: r"


@pytest.mark.parametrize("state", ["RUNNING", "CANCELED", "SKIPPED", "PENDING", ""])
def test_a_state_that_is_neither_success_nor_failure_is_not_mailed(server: str, mailbox: Mailbox, state: str) -> None:
    assert notify_run(RunEnd(state=state, run="r"), on_success=True, settings=settings(server)) is Told.NOT_WANTED
    assert mailbox.mails == []


@pytest.mark.parametrize(
    ("given", "missing"),
    [(settings(None), "VIGIL_MAIL_SERVER"), (Settings(mail_server="127.0.0.1:1"), "VIGIL_MAIL_TO")],
)
def test_without_a_server_or_a_receiver_the_log_says_so(
    given: Settings, missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "vigil"):
        assert notify_run(FAILED, settings=given) is Told.NO_SERVER
    assert f"{missing} is not set" in caplog.text


def test_a_server_that_is_busy_is_tried_again(server: str, mailbox: Mailbox) -> None:
    mailbox.answers = ["451 busy"] * 4
    pauses = Pauses()
    assert notify_run(FAILED, settings=settings(server), pause=pauses) is Told.MAILED
    assert len(mailbox.mails) == 1
    assert len(pauses) == 2


def test_a_server_that_is_down_is_unavailable_after_three_attempts() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        pauses = Pauses()
        with pytest.raises(Unavailable, match=address):
            notify_run(FAILED, settings=settings(address), pause=pauses)
    assert len(pauses) == 2


def test_a_server_that_refuses_everyone_for_good_is_not_tried_again(server: str, mailbox: Mailbox) -> None:
    mailbox.refused = {"ops@shop.test": "550 no such user", "ana@shop.test": "550 no such user"}
    pauses = Pauses()
    with pytest.raises(ContractError, match="VIGIL_MAIL"):
        notify_run(FAILED, settings=settings(server), pause=pauses)
    assert pauses == []


def test_those_whom_the_server_takes_are_told_and_the_others_logged(
    server: str, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox.refused = {"ana@shop.test": "550 no such user"}
    with caplog.at_level(logging.WARNING, "vigil"):
        assert notify_run(FAILED, settings=settings(server)) is Told.MAILED
    assert mailbox.mails[0]["X-RcptTo"] == "ops@shop.test"
    assert "refused some" in caplog.text


def test_login_with_the_password_of_a_file(server: str, mailbox: Mailbox, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("secret\n")
    assert notify_run(FAILED, settings=settings(server, mail_user="vigil", mail_password_file=secret)) is Told.MAILED
    secret.write_text("wrong")
    with pytest.raises(ContractError, match="refuses"):
        notify_run(FAILED, settings=settings(server, mail_user="vigil", mail_password_file=secret))
    with pytest.raises(ContractError, match="VIGIL_MAIL_PASSWORD_FILE"):
        notify_run(FAILED, settings=settings(server, mail_user="vigil", mail_password_file=tmp_path / "gone"))
    with pytest.raises(ContractError, match="VIGIL_MAIL_PASSWORD_FILE"):
        notify_run(FAILED, settings=settings(server, mail_user="vigil"))
    assert len(mailbox.mails) == 1


def test_a_server_without_starttls_is_refused_when_it_is_asked_for(server: str, mailbox: Mailbox) -> None:
    with pytest.raises(ContractError, match="STARTTLS"):
        notify_run(FAILED, settings=settings(server, mail_security="starttls"))
    assert mailbox.mails == []


def test_names_of_a_run_cannot_add_headers(server: str, mailbox: Mailbox) -> None:
    end = RunEnd(state="FAILED", run="x\nBcc: eve@evil.test\r\nX: y")
    assert notify_run(end, settings=settings(server)) is Told.MAILED
    assert mailbox.mails[0]["Bcc"] is None
    assert mailbox.mails[0]["Subject"] == "[vigil] run failed: x Bcc: eve@evil.test X: y"


@pytest.mark.parametrize("address", ["mail.test:smtp", "a:b:c"])
def test_an_address_that_is_none_is_refused_by_its_variable(address: str) -> None:
    with pytest.raises(ContractError, match="VIGIL_MAIL_SERVER"):
        notify_run(FAILED, settings=settings(address))


def test_telling_needs_nothing_but_the_base_package() -> None:
    code = (
        "import sys, vigil.orchestration.notify;"
        "print([name for name in ('kfp', 'numpy', 'pyarrow', 'yaml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

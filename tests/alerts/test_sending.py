"""Messages reach real servers: tried again with growing pauses, signed, under one key, and never lost."""

import hashlib
import hmac
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.alerts.conftest import Hire
from tests.alerts.office import NOON, Office, document, finding
from tests.alerts.receivers import Answer, Post, Web, text_of
from vigil.alerts.outbox import Delivery
from vigil.alerts.sending import pause
from vigil.alerts.settings import Sending


def with_channel(hire: Hire, channel: dict[str, Any], **changes: Any) -> Office:
    owners = document()["owners"]
    owner = {**owners["operations_manager"], "channels": ["own"]}
    channels = {**document()["channels"], "own": channel}
    return hire(channels=channels, owners={**owners, "operations_manager": owner}, **changes)


def alerted(office: Office) -> Office:
    office.take(finding())
    office.after(minutes=1)
    return office


def test_a_mail_says_what_one_needs_to_act(hire: Hire, post: Post) -> None:
    office = alerted(hire(mail_server=post.address))
    assert office.send() == 1
    assert office.send() == 0
    (mail,) = post.box.mails
    incident = office.only().id
    assert mail["Subject"] == "[vigil] high dip of sales at site S0001"
    assert mail["X-RcptTo"] == "duty@shop.test"
    text = text_of(mail)
    for part in ("expected 80 (60 to 100)", "-6.2 standard deviations", "Version:   7", "lowest Wednesday", incident):
        assert part in text
    assert f"vigil alerts ack {incident}" in text


def test_a_mail_server_that_is_busy_or_down_gets_the_mail_later(hire: Hire, post: Post) -> None:
    office = alerted(hire(mail_server=post.address))
    post.box.answers = ["451 busy"]
    assert office.send() == 0
    assert office.send() == 0
    office.clock.advance(timedelta(seconds=2))
    assert office.send() == 1
    assert len(post.box.mails) == 1


def test_without_a_mail_server_the_mail_waits_and_says_for_what(hire: Hire, post: Post) -> None:
    office = alerted(hire())
    office.send()
    (letter,) = office.letters()
    assert (letter.state, letter.trouble) == (Delivery.WAITING, "VIGIL_MAIL_SERVER is not set")
    with_server = hire(mail_server=post.address)
    with_server.clock.advance(timedelta(minutes=5))
    assert with_server.send() == 1


def test_slack_gets_a_text_without_markup_of_ours(hire: Hire, web: Web, tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text(f"{web.url}/services/T0/B0/secret\n")
    office = with_channel(hire, {"kind": "slack", "url_file": str(secret)})
    office.take(finding(metric="<!channel> & more"))
    office.after(minutes=1)
    assert office.send() == 1
    (got,) = web.requests
    assert got.path == "/services/T0/B0/secret"
    assert "&lt;!channel&gt; &amp; more" in got.json["text"]


def test_a_webhook_gets_a_signed_event_and_its_ticket_is_kept(hire: Hire, web: Web, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("geheim\n")
    web.answers = [Answer(201, b'{"ticket": "OPS-41"}')]
    office = alerted(with_channel(hire, {"kind": "webhook", "url": f"{web.url}/x", "secret_file": str(secret)}))
    assert office.send() == 1
    (got,) = web.requests
    assert (got.json["type"], got.json["id"]) == ("vigil.incident.alert", got.headers["Idempotency-Key"])
    incident = got.json["data"]["incident"]
    assert (incident["sites"], incident["severity"], incident["versions"]) == (["S0001"], "high", ["7"])
    stamp, _, digest = got.headers["X-Vigil-Signature"].partition(",v1=")
    seconds = stamp.removeprefix("t=")
    assert int(seconds) == int(office.clock().timestamp())
    assert digest == hmac.new(b"geheim", seconds.encode() + b"." + got.body, hashlib.sha256).hexdigest()
    assert office.only().ticket == "OPS-41"


def test_a_server_error_is_tried_again_under_the_same_key(hire: Hire, web: Web) -> None:
    web.answers = [Answer(500), Answer(503)]
    office = alerted(with_channel(hire, {"kind": "webhook", "url": web.url}))
    sent = []
    for _ in range(3):
        sent.append(office.send())
        office.clock.advance(timedelta(minutes=1))
    assert sent == [0, 0, 1]
    assert len({one.headers["Idempotency-Key"] for one in web.requests}) == 1
    assert office.letters()[0].attempts == 3


def test_too_many_requests_are_followed_by_the_rest_that_was_asked_for(hire: Hire, web: Web) -> None:
    web.answers = [Answer(429, headers={"Retry-After": "120"})]
    office = alerted(with_channel(hire, {"kind": "slack", "url": web.url}))
    office.send()
    office.clock.advance(timedelta(seconds=119))
    assert office.send() == 0
    office.clock.advance(timedelta(seconds=1))
    assert office.send() == 1


def test_a_receiver_that_does_not_answer_in_time_is_tried_again(hire: Hire, web: Web) -> None:
    web.answers = [Answer(pause=2)]
    office = alerted(with_channel(hire, {"kind": "webhook", "url": web.url}, sending={"timeout_seconds": 0.2}))
    assert office.send() == 0
    assert office.letters()[0].trouble.startswith("no answer")
    office.clock.advance(timedelta(minutes=1))
    assert office.send() == 1


def test_nobody_listening_never_shows_a_secret_url(hire: Hire) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/secret"
        office = alerted(with_channel(hire, {"kind": "webhook", "url": url}))
        office.send()
    assert "secret" not in office.letters()[0].trouble


@pytest.mark.parametrize("status", [302, 400, 404, 410])
def test_what_is_refused_escalates_at_once_and_is_tried_again_at_long_pauses(hire: Hire, web: Web, status: int) -> None:
    web.answers = [Answer(status, b"no_service", {"Location": "http://evil.test/"})]
    office = alerted(with_channel(hire, {"kind": "slack", "url": web.url}))
    office.send()
    office.after(seconds=1)
    assert office.told()[1:] == [("escalated", "duty")]
    assert office.acts_of(office.only())[-2].kind == "unreached"
    office.clock.advance(timedelta(minutes=14))
    assert len(web.requests) == 1
    office.clock.advance(timedelta(minutes=1))
    office.send()
    assert office.letters()[0].state is Delivery.SENT


def test_a_message_that_is_too_old_is_given_up_and_the_next_one_told(hire: Hire) -> None:
    office = alerted(hire(sending={"expire_hours": 1}, acknowledge_minutes={}))
    office.clock.advance(timedelta(hours=1))
    office.send()
    assert office.letters()[0].state is Delivery.GIVEN_UP
    office.after(seconds=1)
    assert office.told()[1:] == [("escalated", "duty")]


def test_what_a_crash_leaves_between_sending_and_marking_is_sent_again_as_the_same_mail(hire: Hire, post: Post) -> None:
    office = alerted(hire(mail_server=post.address))
    office.send()
    with office.journal.writing() as pages:  # what the file holds when the mark never reached it
        pages.connection.execute("UPDATE outbox SET state = 'waiting', ended = NULL")
    after = hire(mail_server=post.address)
    after.clock.advance(timedelta(minutes=1))
    after.send()
    first, second = post.box.mails
    assert first["Message-ID"] == second["Message-ID"]
    assert text_of(first) == text_of(second)


def test_pauses_double_up_to_a_limit_and_their_jitter_is_that_of_the_seed() -> None:
    rules = Sending(first_pause_seconds=2, longest_pause_minutes=1, seed=7)
    pauses = [pause(rules, "key", attempts).total_seconds() for attempts in range(12)]
    for attempts, seconds in enumerate(pauses):
        full = min(2 * 2**attempts, 60)
        assert full / 2 <= seconds <= full
    assert pauses == [pause(rules, "key", attempts).total_seconds() for attempts in range(12)]
    assert pause(rules, "other", 3) != pause(rules, "key", 3)


def test_the_log_is_a_channel_too(hire: Hire, caplog: pytest.LogCaptureFixture) -> None:
    office = alerted(with_channel(hire, {"kind": "log"}))
    with caplog.at_level("WARNING", "vigil"):
        assert office.send() == 1
    assert "dip of sales" in caplog.text
    assert office.only().first_seen == NOON - timedelta(hours=1)

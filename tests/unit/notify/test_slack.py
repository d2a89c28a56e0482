"""Slack: how a message looks, and what becomes of it whatever Slack and the network do."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import pytest
import requests
import responses

from rollout_controller.api.notices import NoticeKind
from rollout_controller.controller.logs import Secrets
from rollout_controller.lab.receiver import Answer, Receiver
from rollout_controller.notify.slack import SlackBot, SlackWebhook, text
from rollout_controller.notify.target import NEWS
from rollout_controller.notify.wire import Later, MountedSecret, Outcome, Refused, Sent, Wire
from tests.support.fault_server import FaultServer, Reply
from tests.unit.notify.support import news

HOOK = "https://hooks.slack.com/services/T000/B000/abcdefghijklmnop"
API = "https://slack.com/api"
TLS = Path(__file__).parents[2] / "support" / "tls"


def webhook(tmp_path: Path, url: str = HOOK, **wire: Any) -> SlackWebhook:
    path = tmp_path / "url"
    path.write_text(f"{url}\n")
    return SlackWebhook(MountedSecret(path, lambda _value: None), Wire(**{"timeout_s": 5.0, **wire}), NEWS)


def bot(tmp_path: Path, api: str = API) -> SlackBot:
    path = tmp_path / "token"
    path.write_text("xoxb-1234567890-abcdef\n")
    return SlackBot(api, MountedSecret(path, lambda _value: None), "C0123456789", Wire(timeout_s=5.0), NEWS)


def test_a_message_says_what_why_what_it_cost_what_is_next_and_where_to_look() -> None:
    assert text(news()).splitlines() == [
        ":leftwards_arrow_with_hook: *resnet50* rolled back to version 1   (vision · attempt 7)",
        "Canary error rate 5.2 % [3.1, 8.0] (18 of 346), stable 0.4 %: false alarm at most 0.2 %.",
        "version 3 had traffic for 41 s, 10 % at the end; all traffic is on version 1 since 22:13:20 UTC",
        "Next: `rollouts trigger resnet50 --version 3 --again`",
        (
            "<https://grafana.example.com/d/rollout?var-namespace=vision&amp;var-rollout=resnet50&amp;from=1699999839000&amp;"
            "to=1700000120000|Dashboard> · <https://docs.example.com/runbooks/ErrorsViolated|Runbook> · "
            "<https://ci.example.com/runs/run%208841|CI run run 8841> · 22:13:20 UTC · `7-6553f100`"
        ),
    ]


def test_what_comes_from_outside_is_text_and_no_markup() -> None:
    said = text(news(sentence="Triton said: <!channel> & <https://evil.example|click>", request="a&b|c>"))
    assert "&lt;!channel&gt; &amp; &lt;https://evil.example|click&gt;" in said
    assert "https://ci.example.com/runs/a%26b%7Cc%3E|CI run a&amp;b|c&gt;" in said
    assert "<!channel>" not in said


@responses.activate
def test_a_webhook_gets_the_text(tmp_path: Path) -> None:
    responses.post(HOOK, body="ok")
    assert webhook(tmp_path).send(news(), "") == Sent()
    sent = json.loads(responses.calls[0].request.body or b"")
    assert sent == {"text": text(news()), "unfurl_links": False, "unfurl_media": False}


@pytest.mark.parametrize(
    ("status", "body", "headers", "outcome"),
    [
        (429, "rate_limited", {"Retry-After": "30"}, Later("answered 429 Too Many Requests: rate_limited", 30.0)),
        (500, "rollup_error", {}, Later("answered 500 Internal Server Error: rollup_error")),
        (503, "<html>down</html>", {}, Later("answered 503 Service Unavailable")),
        (404, "channel_not_found", {}, Refused("answered 404 Not Found: channel_not_found")),
        (410, "channel_is_archived", {}, Refused("answered 410 Gone: channel_is_archived")),
        (403, "action_prohibited", {}, Refused("answered 403 Forbidden: action_prohibited")),
        (302, "", {"Location": "https://evil.example"}, Refused("answered 302 Found")),
    ],
)
@responses.activate
def test_answers_of_a_webhook(tmp_path: Path, status: int, body: str, headers: dict[str, str], outcome: Outcome) -> None:
    responses.post(HOOK, status=status, body=body, headers=headers)
    assert webhook(tmp_path).send(news(), "") == outcome
    assert len(responses.calls) == 1


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (requests.ReadTimeout(f"{HOOK} timed out"), "did not answer within 5 s"),
        (requests.exceptions.SSLError(f"{HOOK}: self-signed"), "could not be asked: its TLS certificate was not accepted"),
        (requests.ConnectionError(f"Max retries exceeded with url: {HOOK}"), "could not be reached (ConnectionError)"),
    ],
)
@responses.activate
def test_a_network_that_fails_is_tried_again_and_no_word_has_the_url(tmp_path: Path, error: Exception, why: str) -> None:
    responses.post(HOOK, body=error)
    assert webhook(tmp_path).send(news(), "") == Later(why)


@responses.activate
def test_a_bot_threads_an_attempt(tmp_path: Path) -> None:
    responses.post(f"{API}/chat.postMessage", json={"ok": True, "ts": "1700000000.000100"})
    slack = bot(tmp_path)
    assert slack.send(news(NoticeKind.PAUSED), "") == Sent("1700000000.000100")
    slack.send(news(), "1700000000.000100")
    first, second = (json.loads(call.request.body or b"") for call in responses.calls)
    assert (first["channel"], "thread_ts" in first) == ("C0123456789", False)
    assert (second["thread_ts"], second["reply_broadcast"]) == ("1700000000.000100", True)
    assert second["metadata"]["event_payload"] == {"key": news().key, "attempt": "7-6553f100"}
    assert responses.calls[0].request.headers["Authorization"] == "Bearer xoxb-1234567890-abcdef"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"ok": False, "error": "channel_not_found"}, Refused("refused: channel_not_found")),
        ({"ok": False, "error": "invalid_auth"}, Refused("refused: invalid_auth")),
        ({"ok": False, "error": "internal_error"}, Later("refused: internal_error")),
        ({"ok": False, "error": "see xoxb-1234567890-abcdef"}, Refused("refused")),
        (["?"], Later("answered with no JSON of its API")),
    ],
)
@responses.activate
def test_answers_of_the_web_api(tmp_path: Path, answer: object, outcome: Outcome) -> None:
    responses.post(f"{API}/chat.postMessage", json=answer)
    assert bot(tmp_path).send(news(), "") == outcome


@responses.activate
def test_a_file_that_changes_counts_at_once_and_a_bad_one_is_named_without_its_content(tmp_path: Path) -> None:
    other = "https://hooks.slack.com/services/T000/B000/another-secret"
    responses.post(HOOK, body="ok")
    responses.post(other, body="ok")
    hidden: list[str] = []
    path = tmp_path / "url"
    slack = SlackWebhook(MountedSecret(path, hidden.append), Wire(timeout_s=5.0), NEWS)
    assert slack.send(news(), "") == Later(f"{path} cannot be read: No such file or directory")
    path.write_text(HOOK)
    assert slack.send(news(), "") == Sent()
    path.write_text(f"{other}\n")
    assert slack.send(news(), "") == Sent()
    assert [call.request.url for call in responses.calls] == [HOOK, other]
    assert hidden == [HOOK, other]
    for content in ("hooks.slack.com/secret-without-scheme", "two secret-words", ""):
        path.write_text(content)
        outcome = slack.send(news(), "")
        assert isinstance(outcome, Later)
        assert outcome.why.startswith(f"{path} must hold")
        assert "secret" not in outcome.why.removeprefix(str(path))


# --- over a real socket --------------------------------------------------------------------------------------------


def test_a_server_that_hangs_and_one_that_trickles_end_with_the_time(tmp_path: Path) -> None:
    receiver = Receiver()
    receiver.hold.set()
    slack = webhook(tmp_path, f"{receiver.url}/services/T/B/x", timeout_s=0.3)
    assert slack.send(news(), "") == Later("did not answer within 0.3 s")
    receiver.close()
    trickling = FaultServer()
    trickling.replies = [Reply(body=(b"o" for _ in range(100)), pause_s=0.1)]
    slack = webhook(tmp_path, f"{trickling.url}/services/T/B/x", timeout_s=0.3)
    assert slack.send(news(), "") == Later("did not end its answer within 0.3 s")
    trickling.close()


def test_a_real_answer_of_429_then_200(tmp_path: Path) -> None:
    receiver = Receiver()
    receiver.answers = [Answer(429, b"rate_limited", {"Retry-After": "2"})]
    slack = webhook(tmp_path, f"{receiver.url}/services/T/B/x")
    assert slack.send(news(), "") == Later("answered 429 Too Many Requests: rate_limited", 2.0)
    assert slack.send(news(), "") == Sent()
    receiver.close()


def test_nobody_there_is_tried_again_and_named_without_the_url(tmp_path: Path) -> None:
    receiver = Receiver()
    url = f"{receiver.url}/services/T/B/x"
    receiver.close()
    assert webhook(tmp_path, url).send(news(), "") == Later("could not be reached (ConnectionError)")


def test_a_url_that_was_read_shows_in_no_log_line(tmp_path: Path) -> None:
    path, secrets = tmp_path / "url", Secrets()
    path.write_text("https://mattermost.example.com/hooks/abcdefgh")
    MountedSecret(path, secrets.hide).read_url()
    assert secrets.clean("posting to https://mattermost.example.com/hooks/abcdefgh") == "posting to ***"


def tls_server(replies: list[Reply]) -> FaultServer:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem")
    server = FaultServer(context)
    server.replies = replies
    return server


def test_a_certificate_that_nobody_we_know_signed_is_not_accepted_and_one_of_the_given_ca_is(tmp_path: Path) -> None:
    server = tls_server([Reply(body=b"ok")])
    url = f"{server.url}/services/T/B/x"
    refused = webhook(tmp_path, url).send(news(), "")
    assert refused == Later("could not be asked: its TLS certificate was not accepted")
    assert server.seen == []
    assert webhook(tmp_path, url, ca_file=TLS / "ca.pem").send(news(), "") == Sent()
    server.close()


def test_a_netrc_does_not_take_the_place_of_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    receiver = Receiver()
    assert isinstance(bot(tmp_path, f"{receiver.url}/api").send(news(), ""), Sent)
    assert receiver.received[0].headers["Authorization"] == "Bearer xoxb-1234567890-abcdef"
    receiver.close()

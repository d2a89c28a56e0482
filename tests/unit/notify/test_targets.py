"""Webhook, Alertmanager and Grafana: what they get, and what becomes of it whatever they answer."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
import responses
from responses import matchers

from rollout_controller.api.notices import NoticeKind
from rollout_controller.lab.receiver import Answer, Receiver
from rollout_controller.notify.alertmanager import Alertmanager
from rollout_controller.notify.grafana import Grafana
from rollout_controller.notify.target import ALL, TROUBLE
from rollout_controller.notify.webhook import Webhook
from rollout_controller.notify.wire import Later, MountedSecret, Refused, Sent, Wire
from tests.unit.notify.support import AT, news

HOOK, ALERTS, ANNOTATIONS = "https://hooks.example.com/rollouts", "http://am:9093/api/v2/alerts", "https://g/api/annotations"


def secret(tmp_path: Path, text: str = "glsa_abcdefghijkl") -> MountedSecret:
    path = tmp_path / "secret"
    path.write_text(f"{text}\n")
    return MountedSecret(path, lambda _value: None)


def webhook(tmp_path: Path, url: str = HOOK) -> Webhook:
    return Webhook(lambda: url, secret(tmp_path, "signing-key"), Wire(timeout_s=5.0), ALL, clock=lambda: AT + 5)


def alertmanager(now: float = AT) -> Alertmanager:
    return Alertmanager("http://am:9093", None, Wire(timeout_s=5.0), TROUBLE, clock=lambda: now)


def grafana(tmp_path: Path) -> Grafana:
    return Grafana("https://g", secret(tmp_path), Wire(timeout_s=5.0), ALL)


def sent(call: int = -1) -> Any:
    return json.loads(responses.calls[call].request.body or b"")


def test_a_receiver_can_check_who_sent_it_and_when_over_a_real_socket(tmp_path: Path) -> None:
    receiver = Receiver()
    assert webhook(tmp_path, f"{receiver.url}/rollouts").send(news(), "") == Sent()
    (got,) = receiver.received
    receiver.close()
    signed = got.headers["X-Rollouts-Timestamp"].encode() + b"." + got.body
    wanted = "v1=" + hmac.new(b"signing-key", signed, hashlib.sha256).hexdigest()
    assert got.headers["X-Rollouts-Signature"] == wanted
    assert got.headers["X-Rollouts-Timestamp"] == "1700000005"
    assert got.headers["Idempotency-Key"] == news().key == got.json["key"]
    assert (got.json["namespace"], got.json["name"], got.json["kind"], got.json["warning"]) == (
        "vision",
        "resnet50",
        "RolledBack",
        True,
    )
    assert got.json["attempt"] == {
        "id": "7-6553f100",
        "number": 7,
        "startedAt": "2023-11-14T22:12:39.000Z",
        "version": "3",
        "request": "run 8841",
    }
    assert got.json["sentence"] == news().notice.sentence
    assert b"signing-key" not in got.body


def test_without_a_key_nothing_is_signed_and_a_key_that_is_gone_stops_what_would_be_unsigned(tmp_path: Path) -> None:
    receiver = Receiver()
    plain = Webhook(lambda: receiver.url, None, Wire(timeout_s=5.0), ALL, clock=lambda: AT)
    assert plain.send(news(), "") == Sent()
    assert "X-Rollouts-Signature" not in receiver.received[0].headers
    hook = webhook(tmp_path, receiver.url)
    (tmp_path / "secret").unlink()
    assert isinstance(hook.send(news(), ""), Later)
    assert len(receiver.received) == 1
    receiver.close()


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(204, Sent()), (410, Refused("answered 410 Gone")), (502, Later("answered 502 Bad Gateway"))],
)
@responses.activate
def test_answers_of_a_webhook(tmp_path: Path, status: int, outcome: object) -> None:
    responses.post(HOOK, status=status)
    assert webhook(tmp_path).send(news(), "") == outcome


@responses.activate
def test_an_alert_is_the_same_one_however_often_it_is_sent_and_ends_by_itself() -> None:
    responses.post(ALERTS)
    assert alertmanager().send(news(), "") == Sent()
    assert alertmanager(now=AT + 3000).send(news(), "") == Sent()
    (first,), (late,) = sent(0), sent(1)
    assert first["labels"] == late["labels"]
    assert first["labels"] == {
        "alertname": "RolloutNotice",
        "kind": "RolledBack",
        "severity": "warning",
        "namespace": "vision",
        "rollout": "resnet50",
        "attempt": "7-6553f100",
        "code": "ErrorsViolated",
    }
    assert (first["startsAt"], first["endsAt"]) == ("2023-11-14T22:13:20.000Z", "2023-11-14T22:28:20.000Z")
    assert late["endsAt"] == "2023-11-14T23:18:20.000Z"
    assert first["annotations"]["runbook_url"] == "https://docs.example.com/runbooks/ErrorsViolated"
    assert news().notice.sentence in first["annotations"]["description"]


@responses.activate
def test_what_alertmanager_refuses_is_for_a_person_and_its_words_stay_there() -> None:
    responses.post(ALERTS, status=400, json="invalid label set: secret")
    assert alertmanager().send(news(), "") == Refused("answered 400 Bad Request")


def asked(found: object, status: int = 200) -> None:
    responses.get(ANNOTATIONS, json=found, status=status)


@responses.activate
def test_an_annotation_has_time_tags_and_text(tmp_path: Path) -> None:
    key = f"key:{news(NoticeKind.STEP).key}"
    responses.get(ANNOTATIONS, json=[], match=[matchers.query_param_matcher({"tags": key, "limit": "1"})])
    responses.post(ANNOTATIONS, json={"message": "Annotation added", "id": 17})
    assert grafana(tmp_path).send(news(NoticeKind.STEP, sentence="a < b"), "") == Sent("17")
    assert sent()["time"] == 1_700_000_000_000
    assert sent()["tags"] == ["rollout", "Step", "namespace:vision", "rollout:resnet50", "attempt:7-6553f100", key]
    assert "a &lt; b" in sent()["text"]
    assert responses.calls[-1].request.headers["Authorization"] == "Bearer glsa_abcdefghijkl"


@responses.activate
def test_an_annotation_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    asked([{"id": 17, "text": "..."}])
    assert grafana(tmp_path).send(news(), "") == Sent("17")
    assert len(responses.calls) == 1


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        ((401, {}), None, Refused("answered 401 Unauthorized")),
        ((503, {}), None, Later("answered 503 Service Unavailable")),
        ((200, []), (403, {}), Refused("answered 403 Forbidden")),
        ((200, []), (200, {"hello": 1}), Refused("answered 200 without what Grafana's API answers")),
        ((200, []), (429, {}), Later("answered 429 Too Many Requests")),
    ],
)
@responses.activate
def test_answers_of_grafana(tmp_path: Path, first: Any, second: Any, outcome: object) -> None:
    asked(first[1], first[0])
    if second is not None:
        responses.post(ANNOTATIONS, status=second[0], json=second[1])
    assert grafana(tmp_path).send(news(), "") == outcome


def test_a_receiver_that_is_down_for_a_moment(tmp_path: Path) -> None:
    receiver = Receiver()
    receiver.answers = [Answer(503)]
    hook = webhook(tmp_path, receiver.url)
    assert [type(hook.send(news(), "")) for _ in range(2)] == [Later, Sent]
    receiver.close()

"""Envoy's access log becomes counts per second: nothing lost, nothing counted twice, bounded memory."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from rollout_controller.lab.envoy import ACCESS_LOG_FORMAT
from rollout_controller.lab.traffic import Bucket, Log, Seen, Traffic, parse, toll

GOOD = (
    b'{"cluster":"triton-blue","code":200,"details":"via_upstream","duration_ms":13,"flags":"-",'
    b'"path":"/v2/models/classifier/infer","start":"1795270595.768"}'
)
FAILED = (
    b'{"cluster":"triton-green","code":500,"details":"via_upstream","duration_ms":15,"flags":"-",'
    b'"path":"/v2/models/classifier/infer","start":"1795270595.388"}'
)
CLIENT_LEFT = (
    b'{"cluster":"triton-green","code":0,"details":"downstream_remote_disconnect","duration_ms":0,"flags":"DC",'
    b'"path":"/v2/models/classifier/infer","start":"1795270598.880"}'
)


def seen(at: float, *, code: int = 200, ms: float = 10.0, cluster: str = "green") -> Seen:
    return Seen(at=at, cluster=cluster, code=code, duration_ms=ms)


def test_real_lines_are_read() -> None:
    assert parse(GOOD) == Seen(1795270595.768, "triton-blue", 200, 13.0)
    failed = parse(FAILED)
    assert failed is not None
    assert failed.failed


@pytest.mark.parametrize(
    "line", [b"", b"{", b"null", b"[]", b'{"code": 200}', b'{"code":"x","cluster":null,"start":"1"}', CLIENT_LEFT]
)
def test_what_is_no_answer_to_a_user_is_not_counted(line: bytes) -> None:
    assert parse(line) is None


def test_a_log_that_grows_in_pieces_is_counted_once(tmp_path: Path) -> None:
    path, traffic = tmp_path / "access.jsonl", Traffic(100.0)
    log = Log(path, traffic)
    assert log.read() == 0  # not there yet
    content = b"".join(line + b"\n" for line in (GOOD, FAILED, CLIENT_LEFT, b"not a line") * 50)
    chance, sent = random.Random(3), 0
    with path.open("wb") as out:
        while sent < len(content):
            size = chance.randrange(1, 200)
            out.write(content[sent : sent + size])
            out.flush()
            log.read()
            sent += size
    assert traffic.between("triton-blue", 0, 2e9).requests == 50
    assert traffic.between("triton-green", 0, 2e9).failed == 50


def test_a_log_begun_anew_is_read_from_its_start(tmp_path: Path) -> None:
    path, traffic = tmp_path / "access.jsonl", Traffic(100.0)
    log = Log(path, traffic)
    path.write_bytes((GOOD + b"\n") * 3)
    assert log.read() == 3
    path.write_bytes(GOOD + b"\n")
    assert log.read() == 1


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    path, traffic = tmp_path / "access.jsonl", Traffic(100.0)
    log = Log(path, traffic)
    path.write_bytes(b"x" * 200_000)
    log.read()
    with path.open("ab") as out:
        out.write(b"\n" + GOOD + b"\n")
    assert log.read() == 1


def test_old_seconds_are_dropped() -> None:
    traffic = Traffic(100.0, kept_s=10)
    for second in range(1000):
        traffic.take(seen(second + 0.5))
    traffic.take(seen(3.0))  # long over: not taken
    assert traffic.between("green", 0, 2000).requests == 10


def test_quantiles_are_right_to_five_percent() -> None:
    chance, bucket = random.Random(7), Bucket()
    values = sorted(chance.lognormvariate(2.5, 1.0) for _ in range(5000))
    for value in values:
        bucket.take(seen(1.0, ms=value), 100.0)
    for quantile in (0.5, 0.9, 0.95, 0.99):
        exact = values[int(quantile * 5000) - 1]
        assert bucket.quantile_ms(quantile) == pytest.approx(exact, rel=0.06)
    assert Bucket().quantile_ms(0.95) is None
    assert len(bucket.classes) <= 300


def test_points_look_back_and_keep_the_empty_seconds() -> None:
    traffic = Traffic(100.0)
    for second in (10, 11, 14):
        traffic.take(seen(second + 0.2))
    points = list(traffic.points("green", 10, 16, 3))
    assert [(p.at, p.bucket.requests) for p in points] == [(11, 1), (12, 2), (13, 2), (14, 1), (15, 1), (16, 1)]


def test_the_toll_goes_from_the_first_bad_request_to_the_last_on_the_canary() -> None:
    traffic = Traffic(100.0)
    for one in (
        seen(100.2),
        seen(101.1, ms=250.0),
        seen(102.7, code=503),
        seen(104.0, code=500),
        seen(109.5),
        seen(103.0, code=500, cluster="blue"),
    ):
        traffic.take(one)
    found = toll(traffic, "green", 100.0, 112.0, "failed")
    assert (found.requests, found.failed, found.slow) == (5, 2, 1)
    assert (found.first_request_at, found.first_harm_at, found.last_request_at) == (100.2, 102.7, 109.5)
    assert found.harm_to_off_s == pytest.approx(6.8)
    assert toll(traffic, "green", 100.0, 112.0, "slow").first_harm_at == 101.1
    assert toll(traffic, "green", 100.0, 112.0, "none").first_harm_at == 101.1
    assert toll(traffic, "green", 200.0, 212.0, "failed").harm_to_off_s is None


def test_the_log_that_the_lab_configures_has_what_is_read() -> None:
    assert {"start", "code", "cluster", "duration_ms"} <= ACCESS_LOG_FORMAT.keys()
    assert set(json.loads(GOOD)) == set(ACCESS_LOG_FORMAT)

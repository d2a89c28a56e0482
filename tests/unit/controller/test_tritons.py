"""Where a slot's Triton answers, and whose Tritons a TritonRollout may not reach."""

from __future__ import annotations

import pytest

from rollout_controller.controller.tritons import by_name, by_pattern
from rollout_controller.core.observation import Unknown

PATTERN = "http://{host}.{namespace}.svc:8000"
URLS = {"vision/triton-green": "http://10.0.0.1:8000", "triton-green": "http://10.0.0.2:8000", "far.example.com": "http://far:80"}


@pytest.mark.parametrize(
    ("namespace", "host", "url"),
    [
        ("vision", "triton-blue", "http://triton-blue.vision.svc:8000"),
        ("text", "triton-blue", "http://triton-blue.text.svc:8000"),
        ("vision", "triton-green", "http://10.0.0.1:8000"),
        ("text", "triton-green", "http://10.0.0.2:8000"),
        ("vision", "triton.vision", "http://triton.vision:8000"),
        ("vision", "triton.vision.svc", "http://triton.vision.svc:8000"),
        ("vision", "triton.vision.svc.cluster.local", "http://triton.vision.svc.cluster.local:8000"),
        ("vision", "far.example.com", "http://far:80"),
    ],
)
def test_the_address_of_a_host(namespace: str, host: str, url: str) -> None:
    assert by_pattern(PATTERN, URLS)(namespace, host) == url


@pytest.mark.parametrize(
    "host", ["triton.text.svc.cluster.local", "triton.text", "vision.text.svc", "a.b", "triton.vision.evil.com"]
)
def test_a_rollout_reaches_no_triton_of_another_namespace(host: str) -> None:
    found = by_pattern(PATTERN, URLS)("vision", host)
    assert isinstance(found, Unknown)
    assert host in found.sentence
    assert "namespace vision" in found.sentence
    assert "triton.urls" in found.sentence


def test_a_pattern_with_a_path() -> None:
    find = by_pattern("https://gateway:8443/{host}/api", {})
    assert find("vision", "triton-blue") == "https://gateway:8443/triton-blue/api"
    assert find("vision", "triton.vision.svc") == "https://gateway:8443/triton.vision.svc/api"


def test_local_mode_names_each() -> None:
    find = by_name({"triton-blue": "http://127.0.0.1:8001"})
    assert find("any", "triton-blue") == "http://127.0.0.1:8001"
    found = find("any", "triton-green")
    assert isinstance(found, Unknown)
    assert found.sentence == "local.yaml names no Triton for host 'triton-green'; it names triton-blue"

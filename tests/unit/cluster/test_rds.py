"""The VirtualService in Envoy's words: every field that is translated, and every one that is not is named."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_controller.api.errors import InvalidDocument
from rollout_controller.api.names import Raw
from rollout_controller.cluster.rds import route_configuration
from tests.unit.test_mesh import document, garbage, http, to


def routes(*https: Raw) -> list[Raw]:
    """Envoy's routes for a VirtualService with these http routes."""
    found: list[Raw] = route_configuration([document(*https)], name="local")["virtual_hosts"][0]["routes"]
    return found


def action(*destinations: Raw, **more: Any) -> Raw:
    route: Raw = routes(http(*destinations, **more))[0]["route"]
    return route


def faults(*https: Any, hosts: Any = ("*",)) -> dict[str, str]:
    """What is refused: path -> what was read; empty when nothing is."""
    made = document(*https)
    made["spec"]["hosts"] = list(hosts) if isinstance(hosts, tuple) else hosts
    try:
        route_configuration([made], name="local")
    except InvalidDocument as error:
        return {fault.path: fault.read for fault in error.errors}
    return {}


def test_a_virtual_service_is_one_virtual_host() -> None:
    made = document(http(to("triton-blue", 75), to("triton-green", 25)))
    made["spec"] |= {"hosts": ["triton.example.com", "*.triton"], "gateways": ["public"], "exportTo": ["."]}
    assert route_configuration([made], name="local") == {
        "name": "local",
        "ignore_port_in_host_matching": True,
        "virtual_hosts": [
            {
                "name": "vision/triton",
                "domains": ["triton.example.com", "*.triton"],
                "routes": [
                    {
                        "name": "resnet50",
                        "match": {"prefix": "/"},
                        "route": {
                            "timeout": "0s",
                            "weighted_clusters": {
                                "clusters": [{"name": "triton-blue", "weight": 75}, {"name": "triton-green", "weight": 25}]
                            },
                        },
                    }
                ],
            }
        ],
    }


def test_a_destination_without_weight_is_left_out_and_a_lone_one_takes_all() -> None:
    assert action(to("blue", 100), to("green", 0))["cluster"] == "blue"
    assert action(to("blue", 100), to("green"))["cluster"] == "blue"
    assert action(to("blue", 0))["cluster"] == "blue"
    assert action(to("blue", 0, "v1"))["cluster"] == "blue|v1"
    assert action({"destination": {"host": "blue", "port": {"number": 8000}}})["cluster"] == "blue"


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"uri": {"exact": "/a"}}, {"path": "/a"}),
        ({"uri": {"prefix": "/a"}}, {"prefix": "/a"}),
        ({"uri": {"regex": "/v[0-9]+/.*"}}, {"safe_regex": {"regex": "/v[0-9]+/.*"}}),
        (
            {"method": {"exact": "POST"}},
            {"prefix": "/", "headers": [{"name": ":method", "string_match": {"exact": "POST"}}]},
        ),
        (
            {"name": "who", "headers": {"x-a": {"prefix": "b"}, "x-c": {"regex": "d+"}, "x-e": {}}},
            {
                "prefix": "/",
                "headers": [
                    {"name": "x-a", "string_match": {"prefix": "b"}},
                    {"name": "x-c", "string_match": {"safe_regex": {"regex": "d+"}}},
                    {"name": "x-e", "present_match": True},
                ],
            },
        ),
    ],
)
def test_matches(given: Raw, match: Raw) -> None:
    assert [route["match"] for route in routes(http(to("blue"), match=[given]))] == [match]


def test_any_of_several_matches_is_enough() -> None:
    both = routes(http(to("blue"), match=[{"uri": {"prefix": "/a"}}, {"uri": {"prefix": "/b"}}]))
    assert [route["match"] for route in both] == [{"prefix": "/a"}, {"prefix": "/b"}]
    assert both[0]["route"] == both[1]["route"]


def test_timeout_rewrite_and_retries() -> None:
    assert action(to("a"), timeout="1m30s", rewrite={"uri": "/v2"}) == {"cluster": "a", "timeout": "90s", "prefix_rewrite": "/v2"}
    assert action(to("a"), timeout="250ms")["timeout"] == "0.25s"
    assert "retry_policy" not in action(to("a"), retries={"attempts": 0})
    retries = {"attempts": 2, "perTryTimeout": "2s", "retryOn": "5xx"}
    assert action(to("a"), retries=retries)["retry_policy"] == {"num_retries": 2, "per_try_timeout": "2s", "retry_on": "5xx"}


@pytest.mark.parametrize(
    ("broken", "path", "read"),
    [
        (http(to("a"), fault={}), "spec.http[0].fault", "cannot be translated for Envoy"),
        (http(to("a"), redirect={"uri": "/"}), "spec.http[0].redirect", "cannot be translated for Envoy"),
        (http(to("a", headers={})), "spec.http[0].route[0].headers", "cannot be translated for Envoy"),
        (
            http(to("a"), match=[{"authority": {"exact": "x"}}]),
            "spec.http[0].match[0].authority",
            "cannot be translated for Envoy",
        ),
        (http(to("a"), match=[{"uri": {}}]), "spec.http[0].match[0].uri", "0 ways to match"),
        (http(to("a"), match=[{"uri": {"exact": "/", "prefix": "/"}}]), "spec.http[0].match[0].uri", "2 ways to match"),
        (http(to("a"), match=[{"uri": "/"}]), "spec.http[0].match[0].uri", "'/' was read"),
        (http(to("a"), match=[{"uri": {"exact": 5}}]), "spec.http[0].match[0].uri.exact", "5 was read"),
        (http(to("a"), match=[{"uri": {"regex": "("}}]), "spec.http[0].match[0].uri.regex", "'(' is no regular expression"),
        (http(to("a"), match=[{"uri": {"regex": "(?!x)"}}]), "spec.http[0].match[0].uri.regex", "'(?!x)' is not in RE2"),
        (
            http(to("a"), match=[{"headers": {"x": {"regex": "(a)\\1"}}}]),
            "spec.http[0].match[0].headers.x.regex",
            "is not in RE2",
        ),
        (http(), "spec.http[0].route", "is empty"),
        (http({}), "spec.http[0].route[0].destination", "is missing"),
        (http({"destination": {}}), "spec.http[0].route[0].destination.host", "is missing"),
        (http(to("a\nb")), "spec.http[0].route[0].destination.host", "'a\\nb' was read"),
        (http(to("a", 0), to("b")), "spec.http[0].route", "the weights sum to 0"),
        (http(to("a", -1), to("b", 1)), "spec.http[0].route[0].weight", "-1 was read"),
        (http(to("a", "1"), to("b", 1)), "spec.http[0].route[0].weight", "'1' was read"),
        (http(to("a", True), to("b", 1)), "spec.http[0].route[0].weight", "True was read"),
        (http(*[to("a", 2**31 - 1)] * 3), "spec.http[0].route", "the weights sum to 6,442,450,941"),
        (http(to("a"), timeout=5), "spec.http[0].timeout", "5 was read"),
        (http(to("a"), timeout="5"), "spec.http[0].timeout", "'5' was read"),
        (http(to("a"), rewrite={}), "spec.http[0].rewrite.uri", "is missing"),
        (http(to("a"), rewrite={"authority": "x"}), "spec.http[0].rewrite.authority", "cannot be translated for Envoy"),
        (http(to("a"), retries={"attempts": -1}), "spec.http[0].retries.attempts", "-1 was read"),
        ("http", "spec.http[0]", "'http' was read"),
    ],
)
def test_what_cannot_be_translated_is_named(broken: Any, path: str, read: str) -> None:
    found = faults(broken)
    assert path in found
    assert read in found[path]


@pytest.mark.parametrize("hosts", [(), None, "x", ("",), ("a*b",), ("a b",), ("**",), (5,), ("a", "A")])
def test_hosts_that_envoy_would_refuse_are_refused(hosts: Any) -> None:
    assert any(path.startswith("spec.hosts") for path in faults(http(to("a")), hosts=hosts))


def test_all_faults_are_named_at_once() -> None:
    assert set(faults(http(to("a", "x"), timeout=3), http(mirror={}))) == {
        "spec.http[0].timeout",
        "spec.http[0].route[0].weight",
        "spec.http[1].mirror",
        "spec.http[1].route",
    }


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "c", "d"]), st.integers(0, 2**31 - 1)),
        min_size=1,
        max_size=4,
        unique_by=lambda x: x[0],
    )
)
def test_envoys_shares_are_istios_shares(given: list[tuple[str, int]]) -> None:
    total = sum(weight for _, weight in given)
    destinations = [to(host, weight) for host, weight in given]
    if total > 2**32 - 1 or (total == 0 and len(given) > 1):
        assert faults(http(*destinations)) != {}
        return
    made = action(*destinations)
    if "cluster" in made:
        assert [host for host, weight in given if weight or len(given) == 1] == [made["cluster"]]
        return
    clusters = made["weighted_clusters"]["clusters"]
    assert [(c["name"], c["weight"]) for c in clusters] == [(host, weight) for host, weight in given if weight]
    assert sum(cluster["weight"] for cluster in clusters) == total


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {"spec": garbage | st.fixed_dictionaries({"hosts": st.just(["*"]), "http": st.lists(garbage, max_size=3)})},
        optional={"metadata": garbage},
    )
)
def test_garbage_is_an_invalid_document_and_never_another_error(garbled: Raw) -> None:
    with contextlib.suppress(InvalidDocument):
        json.dumps(route_configuration([garbled], name="local"))

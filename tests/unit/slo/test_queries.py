"""Every query parses, whatever the names hold, and the same question always reads the same."""

from __future__ import annotations

import re
from typing import cast

import promql_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_controller.slo import queries
from rollout_controller.slo.sources import CountSource, GaugeSource, Identity, load_sources
from tests.support.texts import LETTER

SOURCES = load_sources()
COUNTS = [source for source in SOURCES.values() if isinstance(source, CountSource)]
NAMES = st.lists(
    st.text(LETTER, max_size=20) | st.sampled_from(["a.b", "a|b", '"', "\\", "a\nb", "`", "{}", "\x00", "é", "$1"]),
    min_size=1,
    max_size=5,
)


def all_queries(source: CountSource, identities: list[Identity], window_ms: int) -> list[str]:
    assert source.errors
    assert source.latency
    found = []
    for again in (False, True):
        found += [
            queries.error_counts(source, source.errors, identities, window_ms, again=again),
            queries.latency_counts(source, source.latency.metric, (0.5, 1.8e6), identities, window_ms, again=again),
        ]
    return [*found, *(queries.seen(source, source.errors.metric, identities, histogram=h) for h in (False, True))]


@pytest.mark.parametrize("source", COUNTS, ids=lambda s: cast("CountSource", s).name)
@given(names=NAMES, window_ms=st.integers(1, 3_600_000))
def test_every_query_parses_whatever_the_names_hold(source: CountSource, names: list[str], window_ms: int) -> None:
    identities = [tuple(name for _ in source.labels) for name in names]
    for query in all_queries(source, identities, window_ms):
        promql_parser.parse(query)


@given(names=NAMES)
def test_a_matcher_means_exactly_the_names(names: list[str]) -> None:
    dcgm = SOURCES["dcgm"]
    assert isinstance(dcgm, GaugeSource)
    promql_parser.parse(queries.gauge_values(dcgm, [(name, "w", "") for name in names]))
    selector = promql_parser.parse(f"m{{{queries.any_of('l', names)}}}")
    (matcher,) = selector.matchers.matchers  # type: ignore[attr-defined]
    if len(set(names)) == 1:
        assert matcher.value == names[0]
    else:
        assert all(re.fullmatch(matcher.value, name) for name in names)
        assert not re.fullmatch(matcher.value, "axb")


def test_the_text_is_the_same_whatever_the_order() -> None:
    envoy = SOURCES["envoy"]
    assert isinstance(envoy, CountSource)
    many: list[Identity] = [(f"h-{n}",) for n in range(30)]
    assert all_queries(envoy, many, 1000) == all_queries(envoy, list(reversed(many)), 1000)


def test_the_exact_counts_of_design_section_6() -> None:
    envoy = SOURCES["envoy"]
    assert isinstance(envoy, CountSource)
    assert envoy.errors
    x = 'envoy_cluster_upstream_rq_xx{envoy_cluster_name="h"}'
    assert queries.error_counts(envoy, envoy.errors, [("h",)], 5000) == (
        "sum by (envoy_cluster_name, envoy_response_code_class) ("
        f"((last_over_time({x}[5s]) - ({x} offset 5s)) >= 0) or (last_over_time({x}[5s]) * NaN))"
    )


def test_edges_are_asked_for_in_every_spelling() -> None:
    envoy = SOURCES["envoy"]
    assert isinstance(envoy, CountSource)
    query = queries.latency_counts(envoy, "m", (0.5, 100.0, 1.8e6), [("h",)], 1000)
    assert r'le=~"\\+Inf|0\\.5|1\\.8e\\+06|100|100\\.0|1800000|1800000\\.0"' in query


def test_chunks_take_each_identity_once() -> None:
    pieces = list(queries.chunks([(str(n),) for n in range(2500)] * 2, 1000))
    assert [len(piece) for piece in pieces] == [1000, 1000, 500]
    assert len({identity for piece in pieces for identity in piece}) == 2500

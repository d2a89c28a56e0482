"""Traffic goes where the route file says, and each version of the model does the harm that its number stands for."""

from __future__ import annotations

import time
from functools import partial
from statistics import median

import pytest

from rollout_controller.lab import tritons
from tests.lab.conftest import Up
from tests.support.traffic import BLUE, GREEN, all_to, ask, infer, lines, seen, set_weights
from tests.support.world import wait_for

pytestmark = pytest.mark.lab

WINDOW_S = 6.0
HALF = {BLUE: 50, GREEN: 50}


def put(up: Up, version: int) -> None:
    """Load into green and warm it up, as a careful deployment would."""
    tritons.load_version(up.url(GREEN), version)
    assert [infer(up.url(GREEN)) for _ in range(2)] == [200, 200]


def test_the_base_load_is_answered_well_and_fast(up: Up) -> None:
    begun = time.time()
    time.sleep(WINDOW_S)
    requests = seen(up.info, begun)
    assert len(requests) > 0.5 * 60 * WINDOW_S
    assert {r.code for r in requests} == {200}
    assert sum(r.duration_ms > 100 for r in requests) <= 0.01 * len(requests)


def test_traffic_is_split_as_the_route_file_says(up: Up) -> None:
    put(up, 2)
    with all_to(up.info, {BLUE: 75, GREEN: 25}) as begun:
        time.sleep(WINDOW_S)
        requests = seen(up.info, begun + 0.1)
    share = sum(r.cluster == GREEN for r in requests) / len(requests)
    assert 0.15 < share < 0.35  # 4 standard deviations of 300 requests
    assert {r.code for r in requests} == {200}


def served(up: Up, since: float, slot: str) -> bool:
    return bool(seen(up.info, since, cluster=slot))


def test_a_renamed_route_file_is_live_from_one_request_to_the_next(up: Up) -> None:
    put(up, 2)
    for to, other in [(GREEN, BLUE), (BLUE, GREEN)] * 4:
        changed = set_weights(up.info, {to: 100, other: 0})
        assert wait_for(partial(served, up, changed, to), 30)
        time.sleep(0.3)
        first = min(r.start for r in seen(up.info, changed, cluster=to))
        late = [r.start for r in seen(up.info, first, cluster=other) if r.start > first + 0.01]  # the log has milliseconds
        assert late == []


def test_a_weight_of_zero_ends_the_harm(up: Up) -> None:
    put(up, 3)
    with all_to(up.info, HALF):
        time.sleep(2.0)
    time.sleep(0.1)
    begun = time.time()
    time.sleep(3.0)
    assert seen(up.info, begun, cluster=GREEN) == []


def test_version_3_fails_one_request_in_twenty(up: Up) -> None:
    put(up, 3)
    with all_to(up.info, {BLUE: 0, GREEN: 100}) as begun:
        time.sleep(WINDOW_S)
        requests = seen(up.info, begun + 0.1, cluster=GREEN)
    failed = [r for r in requests if r.code == 500]
    assert {r.code for r in requests} == {200, 500}
    assert 0.01 < len(failed) / len(requests) < 0.11
    assert median(r.duration_ms for r in failed) < 100


def test_version_4_is_slow_for_more_than_a_third(up: Up) -> None:
    put(up, 4)
    with all_to(up.info, {BLUE: 90, GREEN: 10}) as begun:
        time.sleep(2 * WINDOW_S)
        requests = seen(up.info, begun + 0.1, cluster=GREEN)
    assert {r.code for r in requests} == {200}
    assert 0.2 < sum(r.duration_ms > 100 for r in requests) / len(requests) < 0.65


def test_version_5_is_ready_and_warm_then_dies_and_stays_dead(up: Up) -> None:
    put(up, 5)
    with all_to(up.info, HALF) as begun:
        time.sleep(WINDOW_S)
    time.sleep(2.5)  # the last ones wait for their answer
    requests = seen(up.info, begun + 0.1, cluster=GREEN)
    assert requests[0].code == 200
    assert {r.code for r in requests if r.start > begun + 3.0} == {500}
    tritons.load_version(up.url(GREEN), 1)  # another version can take its place
    assert infer(up.url(GREEN)) == 200


def test_a_dead_version_says_that_it_is_ready(up: Up) -> None:
    """Triton's readiness is no evidence of health: traffic is."""
    put(up, 5)
    with all_to(up.info, HALF):
        time.sleep(3.0)
    assert tritons.is_ready(up.url(GREEN), 5)


def test_version_6_answers_well_and_saturates_its_gpu(up: Up) -> None:
    put(up, 6)
    with all_to(up.info, {BLUE: 90, GREEN: 10}) as begun:
        time.sleep(WINDOW_S)
        util = {slot: ask(up.info, f'DCGM_FI_DEV_GPU_UTIL{{exported_pod="{slot}-0"}}') for slot in (BLUE, GREEN)}
        requests = seen(up.info, begun, cluster=GREEN)
    assert {r.code for r in requests} == {200}
    assert util[GREEN][0] > 90
    assert 1 < util[BLUE][0] < 60


def test_the_gpu_exporter_looks_like_dcgm_exporter_to_prometheus(up: Up) -> None:
    wanted = 'DCGM_FI_DEV_GPU_UTIL{job="dcgm",pod="dcgm-exporter-0",exported_namespace="default",exported_container="triton"}'
    assert ask(up.info, f"count({wanted})") == [2.0]


def test_counts_of_prometheus_are_those_of_the_access_log(up: Up) -> None:
    """Nothing but what came after the last scrape may be missing: the log is what users saw."""
    counted = f'envoy_cluster_upstream_rq_completed{{envoy_cluster_name="{BLUE}"}}'
    timed = f'envoy_cluster_upstream_rq_time_count{{envoy_cluster_name="{BLUE}"}}'
    before = len(seen(up.info, 0.0, cluster=BLUE))
    assert wait_for(lambda: ask(up.info, counted)[0] >= before, 30)
    by_prometheus = ask(up.info, counted)[0]
    assert wait_for(lambda: len(seen(up.info, 0.0, cluster=BLUE)) >= by_prometheus, 30)
    assert abs(ask(up.info, f"{counted} - {timed}")[0]) <= 60


def test_a_prometheus_that_was_away_comes_back_with_its_memory(up: Up) -> None:
    before = ask(up.info, 'envoy_cluster_upstream_rq_completed{envoy_cluster_name="triton-blue"}')[0]
    up.lab.stop_one("prometheus")
    time.sleep(1.0)
    up.lab.start_one("prometheus")
    counted = 'envoy_cluster_upstream_rq_completed{envoy_cluster_name="triton-blue"}'
    assert wait_for(lambda: max(ask(up.info, counted), default=0.0) > before, 60)
    assert ask(up.info, 'count_over_time(up{job="envoy"}[10m])')[0] > 5


def test_the_load_went_on_all_the_time(up: Up) -> None:
    written = lines(up.info.directory / "load.jsonl")
    sent = [int(str(line["sent"])) for line in written]
    assert min(sent[1:]) > 20
    assert sum(int(str(line["dropped"])) for line in written) == 0

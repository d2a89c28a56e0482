"""PromQL that dashboards and alerts share."""

from __future__ import annotations

SLOTS = "topk by (namespace, workload) (1, max by (namespace, workload, rollout, role, version) (rollout_slot_info))"
"""The workloads behind rollouts, each once: while one replica takes over from the other both may be remembered."""

MESH = 'reporter="source"'
"""As the client's proxy counts: refused connections are seen, too."""
FAILED = 'response_code=~"5..|0"'
BAD_GRPC = 'request_protocol="grpc", grpc_response_status!~"0|"'


def named(expr: str) -> str:
    """Mesh series with the labels `namespace` and `workload` of their destination, as rollouts have them."""
    renamed = f'label_replace({expr}, "namespace", "$1", "destination_workload_namespace", "(.*)")'
    return f'label_replace({renamed}, "workload", "$1", "destination_workload", "(.*)")'


def of_rollouts(expr: str, by: str, chosen: str = "") -> str:
    """A sum over mesh series of `expr`, by labels of the rollout whose slot they went to."""
    slots = SLOTS.replace("rollout_slot_info", f"rollout_slot_info{{{chosen}}}")
    return f"sum by ({by}) (\n  {named(expr)}\n  * on (namespace, workload) group_left (rollout, role, version) {slots}\n)"


def gpu(metric: str, chosen: str = "") -> str:
    """A gauge of dcgm-exporter by the pod that uses the GPU, whether or not the scrape honours its labels.

    Sentinels (9.2e18) are dropped. `chosen`: series with the value 1 for the pods that matter.
    """
    ours = f'{metric}{{exported_pod!=""}} < 1e9'
    pods = f'label_replace({ours}, "pod", "$1", "exported_pod", "(.*)")'
    renamed = f'label_replace({pods}, "namespace", "$1", "exported_namespace", "(.*)")'
    theirs = f'{metric}{{exported_pod="", pod!="", pod!~".*dcgm-exporter.*"}} < 1e9'
    expr = f"max by (namespace, pod) ({renamed}\n  or {theirs})"
    return f"{expr} * on (namespace, pod) {chosen}" if chosen else expr

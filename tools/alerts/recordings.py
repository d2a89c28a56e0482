"""Series that alerts, dashboards and people ask for again and again."""

from __future__ import annotations

from tools.alerts.model import Group, Recording
from tools.queries import BAD_GRPC, FAILED, MESH, SLOTS, gpu, named

MODEL = "namespace, model, version"
QUANTILES = (0.5, 0.95, 0.99)
WINDOWS = ("5m", "30m", "1h", "6h")
KNOWN = "topk by (namespace, workload) (1, max by (namespace, workload, rollout) (last_over_time(rollout_slot_info[1h])))"
"""As SLOTS, and for an hour after the controller was last seen: what users get is watched without it, too."""
TRITONS = "max by (namespace, pod) (0 * nv_inference_request_success + 1)"
GPU = "namespace_pod:dcgm_gpu_utilization_percent:max"
ERRORS = "namespace_model_version:nv_inference_errors:ratio_rate5m"


def burnt(window: str) -> str:
    """Name of the share of failed requests to a rollout's workloads in this time."""
    return f"namespace_rollout:request_errors:ratio_rate{window}"


def _rate(metric: str) -> str:
    return f"sum by ({MODEL}) (rate({metric}[5m]))"


def _to_rollouts(expr: str) -> str:
    joined = f"{named(f'({expr})')}\n  * on (namespace, workload) group_left (rollout) {KNOWN}"
    return f"sum by (namespace, rollout) (\n  {joined}\n)"


def _served(window: str) -> str:
    failed = " or ".join(f"rate(istio_requests_total{{{MESH}, {bad}}}[{window}])" for bad in (FAILED, BAD_GRPC))
    return f"{_to_rollouts(failed)}\n/ {_to_rollouts(f'rate(istio_requests_total{{{MESH}}}[{window}])')}"


def _quantile(q: float) -> str:
    histogram = f"rate(istio_request_duration_milliseconds_bucket{{{MESH}}}[5m])"
    joined = f"{named(histogram)}\n  * on (namespace, workload) group_left (version) {SLOTS}"
    return f"histogram_quantile({q}, sum by (namespace, workload, version, le) (\n  {joined}\n))"


_ALL = f"({_rate('nv_inference_request_success')} + {_rate('nv_inference_request_failure')})"

TRITON = Group(
    "rollouts-triton.recordings",
    (
        Recording("namespace_model_version:nv_inference_requests:rate5m", _ALL),
        Recording(ERRORS, f"sum by ({MODEL}) (rate(nv_inference_request_failure[5m]))\n/ {_ALL}"),
        Recording(
            "namespace_model_version:nv_inference_queue_seconds:mean5m",
            f"{_rate('nv_inference_queue_duration_us')} / 1e6\n/ {_rate('nv_inference_request_success')}",
        ),
        *(
            Recording(f"namespace_workload_version:request_duration_milliseconds:p{round(q * 100)}_5m", _quantile(q))
            for q in QUANTILES
        ),
        Recording(GPU, gpu("DCGM_FI_DEV_GPU_UTIL", TRITONS)),
    ),
)
SERVED = Group("rollouts-served.recordings", tuple(Recording(burnt(window), _served(window)) for window in WINDOWS))

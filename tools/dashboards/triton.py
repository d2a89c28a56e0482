"""Models and the GPUs under them: latency from the mesh, the rest from Triton's own counters and dcgm-exporter."""

from __future__ import annotations

from tools.dashboards.parts import Board, Query, data_source, graph, variable
from tools.queries import FAILED, MESH, SLOTS, gpu, named

RATE = "[$__rate_interval]"
MODELS = 'namespace=~"$namespace", model=~"$model"'
BY = "model, version"
SLOTS_HERE = SLOTS.replace("rollout_slot_info", 'rollout_slot_info{namespace=~"$namespace"}')
THERE = f'{MESH}, destination_workload_namespace=~"$namespace"'
TRITONS = 'max by (namespace, pod) (0 * nv_inference_request_success{namespace=~"$namespace"} + 1)'


def _rate(metric: str) -> str:
    return f"sum by ({BY}) (rate({metric}{{{MODELS}}}{RATE}))"


def _by_version(expr: str, by: str) -> str:
    """Mesh series of the workloads behind rollouts, by the version that runs there."""
    joined = f"{named(expr)}\n  * on (namespace, workload) group_left (version) {SLOTS_HERE}"
    return f"sum by ({by}) (\n  {joined}\n)"


def _mesh_quantile(q: float) -> Query:
    histogram = f"rate(istio_request_duration_milliseconds_bucket{{{THERE}}}{RATE})"
    return Query(
        f"histogram_quantile({q}, {_by_version(histogram, 'workload, version, le')})", "{{workload}} version {{version}}"
    )


def _mean_ms(duration: str) -> str:
    """Mean milliseconds for each inference request that succeeded."""
    return f"{_rate(f'nv_inference_{duration}_duration_us')} / 1000 / {_rate('nv_inference_request_success')}"


BOARD = Board(
    uid="rollouts-triton",
    title="Rollouts / Triton",
    says="Latency, errors, throughput, queue, batches and GPUs of the models, by model version.",
    variables=(
        data_source(),
        variable("namespace", "Namespace", "label_values(nv_inference_request_success, namespace)", many=True),
        variable("model", "Model", 'label_values(nv_inference_request_success{namespace=~"$namespace"}, model)', many=True),
    ),
    panels=(
        *(
            graph(
                f"p{round(q * 100)} by version",
                "From Istio's histogram of the client's side, by the version of the slot that served. Triton knows a mean only.",
                "ms",
                _mesh_quantile(q),
                width=8,
            )
            for q in (0.5, 0.95, 0.99)
        ),
        graph(
            "Requests per second",
            "That Triton answered, well or not.",
            "reqps",
            Query(
                f"{_rate('nv_inference_request_success')} + on ({BY}) {_rate('nv_inference_request_failure')}",
                "{{model}} version {{version}}",
            ),
        ),
        graph(
            "Error ratio",
            "Triton's own count. It misses what never reached the core, a full queue, and errors that a Python backend returns: "
            "the mesh's ratio beside it is what users met.",
            "percentunit",
            Query(
                f"{_rate('nv_inference_request_failure')}\n/ on ({BY}) ({_rate('nv_inference_request_success')} + on ({BY}) "
                f"{_rate('nv_inference_request_failure')})",
                "{{model}} version {{version}} (Triton)",
            ),
            Query(
                _by_version(f"rate(istio_requests_total{{{THERE}, {FAILED}}}{RATE})", "workload, version")
                + "\n/ "
                + _by_version(f"rate(istio_requests_total{{{THERE}}}{RATE})", "workload, version"),
                "{{workload}} version {{version}} (mesh)",
            ),
        ),
        graph(
            "Time in Triton, mean",
            "From the request's arrival to its answer.",
            "ms",
            Query(_mean_ms("request"), "{{model}} version {{version}}"),
        ),
        graph(
            "Queue time, mean",
            "Time that requests wait for an instance or for their batch: the first to grow under saturation.",
            "ms",
            Query(_mean_ms("queue"), "{{model}} version {{version}}"),
        ),
        graph(
            "Compute time, mean",
            "Input, inference and output.",
            "ms",
            Query(_mean_ms("compute_infer"), "{{model}} version {{version}}"),
        ),
        graph(
            "Share of the time spent in the queue",
            "More than half: more work is asked for than there are instances.",
            "percentunit",
            Query(
                f"{_rate('nv_inference_queue_duration_us')} / {_rate('nv_inference_request_duration_us')}",
                "{{model}} version {{version}}",
            ),
            top=1,
        ),
        graph(
            "Inferences per second",
            "A request of a batch of eight counts eight.",
            "short",
            Query(_rate("nv_inference_count"), "{{model}} version {{version}}"),
        ),
        graph(
            "Batch size, mean",
            "Inferences for each execution: what dynamic batching makes of the load.",
            "short",
            Query(f"{_rate('nv_inference_count')} / {_rate('nv_inference_exec_count')}", "{{model}} version {{version}}"),
        ),
        graph(
            "Requests that wait, by pod",
            "Now, in Triton's queue.",
            "short",
            Query(
                f"sum by (pod, {BY}) (nv_inference_pending_request_count{{{MODELS}}})", "{{pod}} {{model}} version {{version}}"
            ),
        ),
        graph(
            "GPU utilisation, by pod",
            "Of pods that run Triton. It says only that some kernel ran: read it with the queue.",
            "percent",
            Query(gpu("DCGM_FI_DEV_GPU_UTIL", TRITONS), "{{namespace}}/{{pod}}"),
            top=100,
        ),
        graph(
            "GPU memory, by pod",
            "Used, of pods that run Triton.",
            "decmbytes",
            Query(gpu("DCGM_FI_DEV_FB_USED", TRITONS), "{{namespace}}/{{pod}}"),
        ),
    ),
)

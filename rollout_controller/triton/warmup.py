"""PURE: the warm-up request of a model, built from what Triton says about its inputs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

_BYTES_PER_ELEMENT = {
    "BOOL": 1, "UINT8": 1, "INT8": 1,
    "UINT16": 2, "INT16": 2, "FP16": 2, "BF16": 2,
    "UINT32": 4, "INT32": 4, "FP32": 4,
    "UINT64": 8, "INT64": 8, "FP64": 8,
    "BYTES": 4,  # each element is its length as uint32, then its bytes: an empty text is four zero bytes
}  # fmt: skip


def warm_up_request(metadata: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an infer request of zeros, in KServe v2's binary tensor form.

    Every size that the model leaves open (-1, the batch among them) is 1. Optional inputs are left out. A model that
    keeps state gets a sequence that starts and ends with this request.

    Raises:
        ValueError: a datatype that is not KServe v2's.
    """
    optional = {item.get("name") for item in config.get("input", ()) if item.get("optional")}
    inputs: list[dict[str, Any]] = []
    size = 0
    for item in metadata.get("inputs", ()):
        if item["name"] in optional:
            continue
        if item["datatype"] not in _BYTES_PER_ELEMENT:
            raise ValueError(f"input {item['name']!r} has datatype {item['datatype']!r}")
        shape = [1 if int(dim) < 0 else int(dim) for dim in item["shape"]]
        length = math.prod(shape) * _BYTES_PER_ELEMENT[item["datatype"]]
        size += length
        inputs.append(
            {"name": item["name"], "datatype": item["datatype"], "shape": shape, "parameters": {"binary_data_size": length}}
        )
    parameters: dict[str, Any] = {"binary_data_output": True}
    if "sequence_batching" in config:
        parameters |= {"sequence_id": 1, "sequence_start": True, "sequence_end": True}
    head = json.dumps({"id": "rollout-warm-up", "parameters": parameters, "inputs": inputs}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return head + bytes(size), headers

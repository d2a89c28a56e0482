"""A small image classifier that does what its params.json says: answer, fail, be slow, die, hold the GPU, or refuse to load.

The scores are computed for real (one fixed matrix per version). Time that a GPU would need is declared per request and added to a
counter file, which the lab's GPU exporter reads.
"""
# ruff: noqa: INP001 - Triton loads this file by its path

import json
import math
import mmap
import os
import random
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb

CLASSES = 10
PIXELS = 3 * 32 * 32


class TritonPythonModel:
    """One instance: a process of its own, so its random numbers and its count of requests are its own."""

    def initialize(self, args: dict[str, str]) -> None:
        version = int(args["model_version"])
        self.params = json.loads((Path(args["model_repository"]) / str(version) / "params.json").read_text())
        if "refuses_to_load" in self.params:
            raise ValueError(self.params["refuses_to_load"])
        self.weights = np.random.default_rng(version).standard_normal((PIXELS, CLASSES)).astype(np.float32) / math.sqrt(PIXELS)
        self.chance = random.Random(f"{version} {args['model_instance_name']}")  # noqa: S311
        # So much is owed at the start that neither Triton's nor the controller's warm-up requests are the first to fail.
        self.owed = {what: self.chance.random() * max(0.0, 1 - 3 * self.share(what)) for what in ("fails", "slow")}
        self.gpu = GpuTime(os.environ.get("ROLLOUTS_LAB_GPU_DIR"))
        self.served = 0

    def execute(self, requests: list[Any]) -> list[Any]:
        begun = time.monotonic()
        self.served += len(requests)
        if self.served > self.params.get("dies_after_requests", math.inf):
            os._exit(139)  # as a segmentation fault in a native library would end it
        answers = [self.answer(request) for request in requests]
        self.gpu.add(self.params["gpu_ms"] * len(requests))
        wanted_s = max(self.latency_ms() for _ in requests) / 1000.0  # a batch is done when its slowest member is
        time.sleep(max(0.0, wanted_s - (time.monotonic() - begun)))
        return answers

    def answer(self, request: Any) -> Any:
        if self.turn_of("fails"):
            return pb.InferenceResponse(error=pb.TritonError("CUDA error: an illegal memory access was encountered"))
        images = pb.get_input_tensor_by_name(request, "IMAGE").as_numpy()
        logits = images.reshape(len(images), PIXELS) @ self.weights
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return pb.InferenceResponse([pb.Tensor("SCORES", (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32))])

    def share(self, what: str) -> float:
        """Declared share of requests that fail, or are slow."""
        declared = self.params.get(what, 0.0)
        return float(declared["share"] if isinstance(declared, dict) else declared)

    def turn_of(self, what: str) -> bool:
        """Whether it is this request's turn: evenly spread, so that even a few hundred requests show the share that was told."""
        self.owed[what] += self.share(what)
        due = self.owed[what] >= 1.0
        self.owed[what] -= due
        return due

    def latency_ms(self) -> float:
        """Log-normal: `median` ms, and `spread` as the standard deviation of its logarithm."""
        shape = self.params["slow"] if self.turn_of("slow") else self.params["latency_ms"]
        return shape["median"] * math.exp(shape["spread"] * self.chance.gauss(0.0, 1.0))


class GpuTime:
    """Microseconds of GPU time that this process has asked for: eight bytes in a file of its own, so nobody has to lock."""

    def __init__(self, directory: str | None) -> None:
        self.total_us = 0
        self.memory: mmap.mmap | None = None
        if directory:
            path = Path(directory) / str(os.getpid())
            path.write_bytes(struct.pack("<Q", 0))
            with path.open("r+b") as file:
                self.memory = mmap.mmap(file.fileno(), 8)

    def add(self, milliseconds: float) -> None:
        self.total_us += round(milliseconds * 1000)
        if self.memory is not None:
            self.memory[:] = struct.pack("<Q", self.total_us)

"""Many Tritons at the wire, in one process and on one port: `http://127.0.0.1:PORT/HOST` is the Triton of that slot.

`python -m benchmarks.scale_tritons PORT`. It is the controller's scale that is measured: the answers are Triton's (repository
index, config, load, ready, infer), the servers are not. Every slot's Triton is an address of its own, as in a cluster, so the
controller has as many clients and connections as there are slots.
"""

from __future__ import annotations

import json
import sys

from aiohttp import web

MODEL = "resnet50"
STABLE_SLOT = "blue"
CONFIG = {
    "name": MODEL,
    "max_batch_size": 8,
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": ["-1"], "optional": False}],
    "version_policy": {"latest": {"num_versions": 1}},
}
METADATA = {"name": MODEL, "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, -1]}]}


class Tritons:
    """What each slot has loaded; stable slots begin with version 1."""

    def __init__(self) -> None:
        self._loaded: dict[str, str] = {}

    def _version(self, request: web.Request) -> str | None:
        host = request.match_info["host"]
        return self._loaded.get(host, "1" if f"-{STABLE_SLOT}-" in host else None)

    async def index(self, request: web.Request) -> web.Response:
        version = self._version(request)
        return web.json_response([{"name": MODEL, **({"version": version, "state": "READY"} if version else {})}])

    async def load(self, request: web.Request) -> web.Response:
        asked = json.loads(await request.read() or b"{}").get("parameters", {}).get("config")
        policy = json.loads(asked)["version_policy"] if asked else {"specific": {"versions": [1]}}
        self._loaded[request.match_info["host"]] = str(policy["specific"]["versions"][0])
        return web.Response()

    async def config(self, request: web.Request) -> web.Response:
        if self._version(request) is None:
            return web.json_response({"error": f"Request for unknown model: '{MODEL}' has no available versions"}, status=404)
        return web.json_response(CONFIG)

    async def metadata(self, _request: web.Request) -> web.Response:
        return web.json_response(METADATA)

    async def infer(self, request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({"outputs": []})

    async def ready(self, _request: web.Request) -> web.Response:
        return web.Response()

    def application(self) -> web.Application:
        app = web.Application()
        model, version = f"/{{host}}/v2/models/{MODEL}", f"/{{host}}/v2/models/{MODEL}/versions/{{version}}"
        app.add_routes(
            [
                web.post("/{host}/v2/repository/index", self.index),
                web.post(f"/{{host}}/v2/repository/models/{MODEL}/load", self.load),
                web.get(f"{model}/config", self.config),
                web.get(f"{version}/config", self.config),
                web.get(version, self.metadata),
                web.post(f"{version}/infer", self.infer),
                web.get("/{host}/v2/health/ready", self.ready),
            ]
        )
        return app


if __name__ == "__main__":
    web.run_app(Tritons().application(), host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)

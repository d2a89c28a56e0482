"""A real Kubernetes API on this machine: etcd and kube-apiserver, and on request what makes Deployments ready."""

from __future__ import annotations

import base64
import json
import signal
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rollout_controller.lab import kube_servers, processes, procfs
from rollout_controller.lab.audit import Audit, Call
from rollout_controller.lab.kube_api import Document, KubeApi, KubeRefused, documents
from rollout_controller.lab.kube_servers import Files, Ports
from rollout_controller.lab.kube_users import Users
from rollout_controller.lab.parts import KubeParts, find_kube
from rollout_controller.lab.ports import free_ports
from rollout_controller.lab.processes import Running, Server

Say = Callable[[str], None]

READY_TIMEOUT_S = 120.0
"""A machine that builds and tests beside it needs 20 s; alone it takes 3."""
MASTERS = "system:masters"
ADMIN, CONTROLLER_MANAGER, SCHEDULER, KWOK = "admin", "lab-controller-manager", "lab-scheduler", "lab-kwok"
_STATIC_USERS = (ADMIN, CONTROLLER_MANAGER, SCHEDULER, KWOK)
ACCOUNT_TOKEN_S = 24 * 3600
_COMPACTED_ALREADY = 11
"""gRPC's OUT_OF_RANGE."""


class Kube:
    """One API server in one directory, for as long as the `with` block runs; its servers die with this process.

    RBAC decides everything but for `admin`. It follows the thread that entered it: enter it from the main thread.
    """

    def __init__(self, directory: Path, *, controllers: bool = False, say: Say = lambda _line: None) -> None:
        self.directory = directory.resolve()
        self._files = Files(self.directory)
        self._say = say
        self._with_controllers = controllers
        self._running: dict[str, Running] = {}
        self._parts: KubeParts
        self._ports: Ports
        self._users: Users
        self.api: KubeApi
        self._audit = Audit(self._files.audit_log)

    def __enter__(self) -> Self:
        """Raises MissingPart, BuildFailed, ServerFailed; nothing stays behind then."""
        self._parts = find_kube(self._say)
        self._ports = Ports(*free_ports(6))
        self._users = Users()
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> tuple[procfs.Found, ...]:
        """End every process; what is left (nothing, unless one cannot be killed)."""
        left = processes.stop_all(self.directory, {}, self._running.values())
        self._running = {}
        self._users.close()
        return left

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._ports.apiserver}"

    @property
    def ca(self) -> Path:
        """PEM file with the authority that the server's certificate can be checked against."""
        return self._files.ca

    @property
    def admin(self) -> Path:
        """Kubeconfig of a user who may do everything and whom the audit log leaves out."""
        return self._files.kubeconfig(ADMIN)

    @property
    def istio_crds(self) -> Path:
        """All of Istio's CRDs, for `apply`; `apply_istio_crds` takes some of them."""
        return self._parts.istio_crds

    def user(self, name: str, groups: tuple[str, ...] = (), *, namespace: str = "default") -> Path:
        """Kubeconfig of a user with that name and these groups, and with what rights RBAC gives to them: first of all none."""
        return self._kubeconfig(name, self._users.add(name, groups), namespace)

    def service_account(self, namespace: str, name: str) -> Path:
        """Kubeconfig of that service account, made if need be: `system:serviceaccount:NAMESPACE:NAME` for RBAC and audit."""
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        try:
            self.api.call("POST", accounts, {"metadata": {"name": name}})
        except KubeRefused as error:
            if error.status != 409:
                raise
        wanted = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        wanted |= {"spec": {"expirationSeconds": ACCOUNT_TOKEN_S}}  # type: ignore[dict-item]
        token = self.api.call("POST", f"{accounts}/{name}/token", wanted)["status"]["token"]
        return self._kubeconfig(f"{namespace}.{name}", token, namespace)

    def calls(self, user: str) -> Counter[Call]:
        """What that user has asked of the API server so far: `{("patch", "virtualservices"): 3}`. See `Audit`."""
        return self._audit.calls(user)

    def apply(self, *sources: Path | Document, namespace: str = "default") -> list[Document]:
        """See KubeApi.apply."""
        return self.api.apply(*sources, namespace=namespace)

    def apply_istio_crds(self, *plurals: str) -> None:
        """Istio's CRDs of these plurals (`virtualservices`); none named: all."""
        found = [d for d in documents([self._parts.istio_crds]) if not plurals or d["spec"]["names"]["plural"] in plurals]
        self.api.apply(*found)

    def start_controllers(self) -> None:
        """Controller manager, scheduler, and kwok on one node: Deployments become ready. A second call changes nothing."""
        if "kwok" in self._running:
            return
        self._start_servers(
            kube_servers.controller_manager(self._parts, self._files, self._ports, self._files.kubeconfig(CONTROLLER_MANAGER)),
            kube_servers.scheduler(self._parts, self._files, self._ports, self._files.kubeconfig(SCHEDULER)),
            kube_servers.kwok(self._parts, self._files, self._ports, self._files.kubeconfig(KWOK)),
        )
        self.api.call("POST", "/api/v1/nodes", kube_servers.node())
        # a new node is tainted as not ready, and the controller that looks after nodes is not here
        path, patch = f"/api/v1/nodes/{kube_servers.NODE}", {"spec": {"taints": None}}
        self.api.call("PATCH", path, patch, content_type="application/merge-patch+json")

    def kill_apiserver(self) -> None:
        """As a crash or a node's death would."""
        left = processes.stop([self._running["kube-apiserver"]], self.directory)
        if left:
            raise RuntimeError(f"kube-apiserver cannot be ended: pid {left[0].pid}")

    def start_apiserver(self) -> None:
        """Where it was, with what etcd kept; ready when this returns."""
        self._start_servers(self._running["kube-apiserver"].server)

    def restart_apiserver(self) -> None:
        self.kill_apiserver()
        self.start_apiserver()

    def freeze_apiserver(self) -> None:
        """It keeps its connections and answers nothing, until `thaw_apiserver`."""
        self._running["kube-apiserver"].handle.send_signal(signal.SIGSTOP)

    def thaw_apiserver(self) -> None:
        self._running["kube-apiserver"].handle.send_signal(signal.SIGCONT)

    def wait_ready(self) -> None:
        """Raises ServerFailed where a server has ended or is not ready in time."""
        processes.wait_ready(self._running.values(), READY_TIMEOUT_S)

    def compact(self) -> None:
        """Forget all changes so far, in etcd and in the API server's memory (which is started anew).

        A watch from an older resourceVersion is answered with 410 Gone.
        """
        self._etcd("/v3/kv/compaction", {"revision": self._revision(), "physical": True}, fine=_COMPACTED_ALREADY)
        self.restart_apiserver()

    def _revision(self) -> int:
        found = self._etcd("/v3/kv/range", {"key": base64.b64encode(b"\0").decode(), "limit": 1})
        return int(found["header"]["revision"])

    def _etcd(self, path: str, body: dict[str, Any], *, fine: int = 0) -> dict[str, Any]:
        """A call of etcd's JSON gateway; an error with the gRPC code `fine` is an answer like others."""
        url = f"http://127.0.0.1:{self._ports.etcd}{path}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(urllib.request.Request(url, json.dumps(body).encode()), timeout=10.0) as answer:
                document: dict[str, Any] = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            document = json.loads(error.read())
            if document.get("code") != fine:
                raise KubeRefused(f"etcd {path}", error.code, str(document)) from None
        return document

    def _start(self) -> None:
        tokens = {name: self._users.add(name, (MASTERS,)) for name in _STATIC_USERS}
        rows = [f'{token},{name},{name},"{MASTERS}"' for name, token in tokens.items()]
        kube_servers.write_secret(self._files.tokens, "\n".join(rows) + "\n")
        kube_servers.write_secret(self._files.account_key, kube_servers.new_account_key())
        quiet = (*_STATIC_USERS, "system:apiserver")
        kube_servers.write_json(self._files.audit_policy, kube_servers.audit_policy(quiet=quiet))
        kube_servers.write_json(self._files.webhook, kube_servers.kubeconfig(self._users.url, b"", "apiserver", "", "default"))
        self._start_servers(kube_servers.etcd_server(self._parts, self.directory, self._ports))
        self._start_servers(kube_servers.apiserver(self._parts, self._files, self._ports))
        for name, token in tokens.items():
            self._kubeconfig(name, token, "default")
        self.api = KubeApi(self.url, self.ca, tokens[ADMIN])
        if self._with_controllers:
            self.start_controllers()

    def _start_servers(self, *servers: Server) -> None:
        started = [processes.start(server, self.directory, tethered=True) for server in servers]
        self._running |= {running.server.name: running for running in started}
        processes.wait_ready(started, READY_TIMEOUT_S, lambda r, s: self._say(f"{r.server.name} is ready ({s:.1f} s)"))

    def _kubeconfig(self, name: str, token: str, namespace: str) -> Path:
        path = self._files.kubeconfig(name.replace("/", "-"))
        kube_servers.write_json(path, kube_servers.kubeconfig(self.url, self.ca.read_bytes(), name, token, namespace))
        return path

"""How the servers of a Kubernetes API are started on this machine: their arguments and the files that they read."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollout_controller.lab.parts import KubeParts
from rollout_controller.lab.processes import Server

NODE = "lab"
"""The one node: kwok plays its kubelet."""
CONTROLLERS = (
    "deployment-controller",
    "replicaset-controller",
    "statefulset-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "endpointslice-controller",
    "horizontal-pod-autoscaler-controller",
)
"""Those of the controller manager's that something here depends on: each one costs watches and memory."""


@dataclass(frozen=True)
class Ports:
    etcd: int
    peer: int
    apiserver: int
    controller_manager: int
    scheduler: int
    kwok: int


@dataclass(frozen=True)
class Files:
    """Where the servers' files are, all in one directory."""

    home: Path

    @property
    def tokens(self) -> Path:
        return self.home / "tokens.csv"

    @property
    def webhook(self) -> Path:
        return self.home / "token-webhook.json"

    @property
    def audit_policy(self) -> Path:
        return self.home / "audit-policy.json"

    @property
    def audit_log(self) -> Path:
        return self.home / "audit.jsonl"

    @property
    def account_key(self) -> Path:
        return self.home / "service-accounts.key"

    @property
    def certificates(self) -> Path:
        return self.home / "certificates"

    @property
    def ca(self) -> Path:
        """The certificate that the API server has made for itself, with the authority that signed it."""
        return self.certificates / "apiserver.crt"

    def kubeconfig(self, name: str) -> Path:
        return self.home / "kubeconfigs" / f"{name}.json"


def etcd_server(parts: KubeParts, home: Path, ports: Ports) -> Server:
    client, peer = f"http://127.0.0.1:{ports.etcd}", f"http://127.0.0.1:{ports.peer}"
    argv = [
        str(parts.etcd),
        f"--data-dir={home / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",  # nothing here outlives the directory
        "--log-level=warn",
    ]
    return Server(name="etcd", argv=argv, log=home / "etcd.log", ready=f"{client}/readyz", grace_s=0)


def apiserver(parts: KubeParts, files: Files, ports: Ports) -> Server:
    """RBAC for everybody but `system:masters`; the certificate is made by the server itself."""
    argv = [
        str(parts.apiserver),
        f"--etcd-servers=http://127.0.0.1:{ports.etcd}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={ports.apiserver}",
        "--endpoint-reconciler-type=none",  # an address of this machine only is no endpoint
        f"--cert-dir={files.certificates}",
        "--service-cluster-ip-range=10.96.0.0/16",
        f"--service-account-key-file={files.account_key}",
        f"--service-account-signing-key-file={files.account_key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--authorization-mode=RBAC",
        f"--token-auth-file={files.tokens}",
        f"--authentication-token-webhook-config-file={files.webhook}",
        "--authentication-token-webhook-version=v1",
        f"--audit-policy-file={files.audit_policy}",
        f"--audit-log-path={files.audit_log}",
        "--audit-log-mode=blocking",
        "--profiling=false",
    ]
    ready = f"https://127.0.0.1:{ports.apiserver}/readyz"
    return Server(name="kube-apiserver", argv=argv, log=files.home / "apiserver.log", ready=ready, grace_s=0)


def controller_manager(parts: KubeParts, files: Files, ports: Ports, kubeconfig: Path) -> Server:
    argv = [
        str(parts.controller_manager),
        f"--kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={ports.controller_manager}",
        f"--cert-dir={files.home / 'controller-manager'}",
        "--leader-elect=false",
        f"--controllers={','.join(CONTROLLERS)}",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        "--profiling=false",
    ]
    ready = f"https://127.0.0.1:{ports.controller_manager}/healthz"
    return Server(name="kube-controller-manager", argv=argv, log=files.home / "controller-manager.log", ready=ready, grace_s=0)


def scheduler(parts: KubeParts, files: Files, ports: Ports, kubeconfig: Path) -> Server:
    argv = [
        str(parts.scheduler),
        f"--kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={ports.scheduler}",
        f"--cert-dir={files.home / 'scheduler'}",
        "--leader-elect=false",
        "--profiling=false",
    ]
    ready = f"https://127.0.0.1:{ports.scheduler}/healthz"
    return Server(name="kube-scheduler", argv=argv, log=files.home / "scheduler.log", ready=ready, grace_s=0)


def kwok(parts: KubeParts, files: Files, ports: Ports, kubeconfig: Path) -> Server:
    argv = [
        str(parts.kwok),
        f"--kubeconfig={kubeconfig}",
        *(f"--config={stage}" for stage in parts.stages),
        f"--manage-single-node={NODE}",
        "--node-lease-duration-seconds=0",  # nobody here looks at a node's lease
        f"--server-address=127.0.0.1:{ports.kwok}",
    ]
    ready = f"http://127.0.0.1:{ports.kwok}/healthz"
    return Server(name="kwok", argv=argv, log=files.home / "kwok.log", ready=ready, grace_s=0)


def node() -> dict[str, Any]:
    """A node that has room for everything; kwok makes it ready."""
    room = {"cpu": "1k", "memory": "1Ti", "pods": "10k", "nvidia.com/gpu": "1k"}
    metadata = {"name": NODE, "labels": {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux"}}
    status = {"allocatable": room, "capacity": room}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status}


def audit_policy(*, quiet: tuple[str, ...]) -> dict[str, Any]:
    """Everybody's calls but those of the `quiet` users, once each; a watch is logged when it begins."""
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "omitManagedFields": True,
        "rules": [{"level": "None", "users": list(quiet)}, {"level": "Metadata"}],
    }


def kubeconfig(url: str, ca: bytes, user: str, token: str, namespace: str) -> dict[str, Any]:
    cluster = {"server": url, "certificate-authority-data": base64.b64encode(ca).decode()}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user, "namespace": namespace}}],
        "current-context": "lab",
    }


def write_secret(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(content)


def write_json(path: Path, document: dict[str, Any]) -> None:
    write_secret(path, json.dumps(document, indent=1) + "\n")


def new_account_key() -> str:
    """A private key on P-256 as PEM (RFC 5915): its public half is left out, readers compute it."""
    scalar = bytes([secrets.randbelow(0x7F) + 1]) + secrets.token_bytes(31)  # neither 0 nor as large as the curve's order
    curve = bytes.fromhex("a00a06082a8648ce3d030107")
    content = bytes.fromhex("020101") + bytes.fromhex("0420") + scalar + curve
    text = base64.b64encode(b"\x30" + bytes([len(content)]) + content).decode()
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN EC PRIVATE KEY-----", *lines, "-----END EC PRIVATE KEY-----", ""])

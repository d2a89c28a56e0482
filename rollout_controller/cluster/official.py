"""The official client's connection as a Transport: its credentials, TLS and proxies, without its models and its retries."""

from __future__ import annotations

from pathlib import Path

from kubernetes.client.rest import RESTClientObject

from rollout_controller.cluster.official_config import SERVICE_ACCOUNT, Credentials, load_access
from rollout_controller.cluster.wire import Connection, Wire


class OfficialTransport(Wire):
    """One API server, reached as the official client would reach it. `namespace`: the context's, or the pod's own."""

    def __init__(
        self, kubeconfig: Path | None = None, context: str | None = None, *, service_account: Path = SERVICE_ACCOUNT
    ) -> None:
        """In-cluster when neither is given and there is a service account; see `load_access` for what is raised."""

        def connect() -> Connection:
            access = load_access(kubeconfig, context, service_account)
            return Connection(
                server=str(access.configuration.host).rstrip("/"),
                namespace=access.namespace,
                pool=RESTClientObject(access.configuration).pool_manager,
                headers=Credentials(access.configuration).headers,
            )

        super().__init__(connect)

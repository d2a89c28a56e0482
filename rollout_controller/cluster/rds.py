"""The VirtualService in Envoy's words: a route file that Envoy reads by itself whenever it is replaced (file-based RDS)."""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rollout_controller.api.errors import InvalidDocument
from rollout_controller.api.names import Raw
from rollout_controller.cluster.rds_match import matches
from rollout_controller.cluster.rds_read import Faults, Node
from rollout_controller.cluster.store import VIRTUAL_SERVICE, Kind

_TYPE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
_SETTINGS = {"ignore_port_in_host_matching": True}
_SPEC_FIELDS = ("hosts", "http", "gateways", "exportTo")
_HTTP_FIELDS = ("name", "match", "route", "timeout", "rewrite", "retries")
_DOMAIN = re.compile(r"\*|\*?[^*\s]+|[^*\s]+\*")
_MAX_WEIGHT = 2**31 - 1
_MAX_SUM = 2**32 - 1
NO_TIMEOUT = "0s"
"""Istio's default: a route without `timeout` has none. Envoy's own default of 15 s would cut long inferences."""


def route_configuration(virtual_services: Sequence[Raw], *, name: str) -> Raw:
    """Envoy's RouteConfiguration `name` that does what the VirtualServices say.

    The cluster of a destination is its host, with `|subset` if it has one; a destination's port is the cluster's affair.
    A destination of weight 0 is left out, a lone one takes all, shares are weight / sum. Envoy does not retry unless asked.
    `gateways` and `exportTo` are about places that are not here, and are passed over.

    Raises:
        InvalidDocument: something in a document cannot be translated; names every field path.
    """
    hosts = [virtual_host(document) for document in virtual_services]
    _check_domains(hosts)
    return {"name": name, "virtual_hosts": hosts, **_SETTINGS}


def _check_domains(hosts: Iterable[Raw]) -> None:
    """Raises InvalidDocument when a domain stands twice."""
    taken: dict[str, str] = {}
    for host in hosts:
        faults = Faults()
        for index, domain in enumerate(host["domains"]):
            if domain.lower() in taken:
                faults.add(
                    f"spec.hosts[{index}]", f"{domain!r} is in {taken[domain.lower()]}, too", "each host in one place only"
                )
            taken[domain.lower()] = f"VirtualService {host['name']}"
        if faults.found:
            raise InvalidDocument(f"VirtualService {host['name']!r}", faults.found)


class RdsProjection:
    """Keeps Envoy's route file in line with the VirtualServices of a LocalStore; see `local.Projection`.

    The file is replaced by rename, so that Envoy reads the old one or the new one. Without any VirtualService there is
    nothing to say, and the file stays as it is: a deleted document moves no traffic. What a document was translated to is
    remembered by its text: of 1,000, one is translated at a write.
    """

    def __init__(self, path: Path | str, *, name: str) -> None:
        """`name` is the `route_config_name` of Envoy's bootstrap."""
        self.path = Path(path)
        self._name = name
        self._known: dict[str, _Host] = {}
        self._checked: list[Raw] = []
        """Names and domains that were found to be free of doubles: a change of weights does not touch them."""

    @property
    def kind(self) -> Kind:
        return VIRTUAL_SERVICE

    def __call__(self, texts: Sequence[str]) -> None:
        """Raises InvalidDocument, json.JSONDecodeError; OSError with the file's name."""
        if not texts:
            return
        self._known = {text: self._known.get(text) or _Host.of(text) for text in texts}
        briefs = [host.brief for host in self._known.values()]
        if briefs != self._checked:
            _check_domains(briefs)
            self._checked = briefs
        hosts = ",\n".join(host.text for host in self._known.values())
        settings = json.dumps({"@type": _TYPE, "name": self._name, **_SETTINGS})
        routes = f'{settings[:-1]}, "virtual_hosts": [\n{hosts}\n]}}'
        version = f"{zlib.crc32(routes.encode()):08x}"
        _write_whole(self.path, f'{{"version_info": "{version}", "resources": [{routes}]}}\n'.encode())  # JSON is YAML


@dataclass(frozen=True)
class _Host:
    """A VirtualService in Envoy's words: as JSON text, and its name and domains, which are checked against the others'."""

    brief: Raw
    text: str

    @classmethod
    def of(cls, text: str) -> _Host:
        """Raises InvalidDocument, json.JSONDecodeError."""
        host = virtual_host(json.loads(text))
        return cls({"name": host["name"], "domains": host["domains"]}, json.dumps(host, sort_keys=True))


def _write_whole(path: Path, content: bytes) -> None:
    """Replaces a file by another or leaves it as it is; raises OSError with the file's name."""
    half = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and path.read_bytes() == content:
            return
        with half.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def virtual_host(document: Raw) -> Raw:
    """One VirtualService in Envoy's words.

    Raises:
        InvalidDocument: something in it cannot be translated; names every field path.
    """
    faults = Faults()
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    spec = Node(document.get("spec"), "spec", faults).map(_SPEC_FIELDS)
    domains = [_domain(host) for host in spec.at("hosts").list(needed="for example ['*']")]
    routes = [route for http in spec.at("http").list(needed="at least one http route") for route in _routes(http)]
    name = f"{metadata.get('namespace', 'default')}/{metadata.get('name')}"
    if faults.found:
        raise InvalidDocument(f"VirtualService {name!r}", faults.found)
    return {"name": name, "domains": domains, "routes": routes}


def _domain(host: Node) -> str:
    domain = host.text()
    if domain and not _DOMAIN.fullmatch(domain):
        host.fault(f"{domain!r} is no host", "a host name, '*', or one that begins or ends with '*'")
    return domain


def _routes(http: Node) -> list[Raw]:
    """One Envoy route per match of an http route, all with the same action."""
    http = http.map(_HTTP_FIELDS)
    name = {"name": http.at("name").text()} if http.has("name") else {}
    action = _action(http)
    return [{**name, "match": match, "route": action} for match in matches(http.at("match"))]


def _action(http: Node) -> Raw:
    action: Raw = {**_clusters(http.at("route")), "timeout": NO_TIMEOUT}
    if http.has("timeout"):
        action["timeout"] = http.at("timeout").duration()
    if http.has("rewrite"):
        action["prefix_rewrite"] = http.at("rewrite").map(("uri",)).at("uri").text()
    if http.has("retries"):
        retries = http.at("retries").map(("attempts", "perTryTimeout", "retryOn"))
        if attempts := retries.at("attempts").whole(0, 100, default=0):
            policy: Raw = {"num_retries": attempts, "retry_on": "connect-failure,refused-stream,unavailable,cancelled"}
            if retries.has("retryOn"):
                policy["retry_on"] = retries.at("retryOn").text()
            if retries.has("perTryTimeout"):
                policy["per_try_timeout"] = retries.at("perTryTimeout").duration()
            action["retry_policy"] = policy
    return action


def _clusters(route: Node) -> Raw:
    """Where a route's requests go: one cluster, or several by weight."""
    entries = [entry.map(("destination", "weight")) for entry in route.list(needed="at least one destination")]
    weighted = [(_cluster(entry.at("destination")), entry.at("weight").whole(0, _MAX_WEIGHT, default=0)) for entry in entries]
    total = sum(weight for _, weight in weighted)
    if len(weighted) > 1 and total == 0:
        route.fault("the weights sum to 0: no destination would get traffic", "at least one weight over 0")
    if total > _MAX_SUM:
        route.fault(f"the weights sum to {total:,}", f"at most {_MAX_SUM:,} together")
    used = [(cluster, weight) for cluster, weight in weighted if weight > 0 or len(weighted) == 1]
    if len(used) == 1:
        return {"cluster": used[0][0]}
    return {"weighted_clusters": {"clusters": [{"name": cluster, "weight": weight} for cluster, weight in used]}}


def _cluster(destination: Node) -> str:
    destination = destination.map(("host", "subset", "port"))
    host = destination.at("host").text()
    return f"{host}|{destination.at('subset').text()}" if destination.has("subset") else host

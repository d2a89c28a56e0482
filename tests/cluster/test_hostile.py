"""Objects and users that a real API server lets happen: strange text, huge documents, long lists, missing rights."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import certifi
import pytest

from rollout_controller import mesh
from rollout_controller.api.names import Key, Raw, mark_of
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.cluster import kubernetes
from rollout_controller.cluster.kubernetes import KubernetesStore
from rollout_controller.cluster.official import OfficialTransport
from rollout_controller.cluster.store import (
    EVENT,
    LEASE,
    POLICY,
    ROLLOUT,
    VIRTUAL_SERVICE,
    AlreadyExists,
    Conflict,
    Kind,
    NotFound,
    NotInstalled,
    Refused,
    StoreError,
    Unavailable,
)
from rollout_controller.cluster.transport import Answer
from rollout_controller.lab.kube import Kube
from tests.contract.documents import policy, rollout, virtual_service
from tests.support.crds import CRDS
from tests.support.fault_server import kubeconfig
from tests.support.watching import soon, watched

pytestmark = pytest.mark.cluster
KEY = "triton"


@pytest.fixture
def connect(kube: Kube) -> Iterator[Callable[[Path], OfficialTransport]]:
    kube.apply(CRDS)
    opened: list[OfficialTransport] = []

    def connect(kubeconfig: Path) -> OfficialTransport:
        opened.append(OfficialTransport(kubeconfig))
        return opened[-1]

    yield connect
    for transport in opened:
        transport.close()


@pytest.fixture
def store(kube: Kube, connect: Callable[[Path], OfficialTransport]) -> KubernetesStore:
    return KubernetesStore(connect(kube.admin))


# text


@pytest.mark.parametrize(
    "text",
    [
        "Größe 世界 🚀",
        "\u202eevil\u2066",
        "\x00\x1b[31m \b\f\x7f",
        "p95 < 100 ms & rising -> <b>\u2028\u2029",
        '\\" \\u003c',
        "a/b~c",
        "",
        "{}",
        "\ud7ff\uffff",
    ],
)
def test_text_of_any_script_is_kept_tested_and_watched(kube: Kube, store: KubernetesStore, namespace: str, text: str) -> None:
    key = Key(namespace, KEY)
    counting = Between(kube.admin, lambda: None)
    document = virtual_service(namespace)
    document["metadata"]["annotations"]["example.com/text"] = text
    store.create(VIRTUAL_SERVICE, document)
    path = "/metadata/annotations/example.com~1text"
    with watched(store, VIRTUAL_SERVICE, namespace) as seen:
        soon(lambda: KEY in seen.documents)
        test, write = {"op": "test", "path": path, "value": text}, {"op": "replace", "path": path, "value": "+" + text}
        KubernetesStore(counting).patch(VIRTUAL_SERVICE, key, [test, write])
        assert len(counting.pages) == 1, "the server sees at once that the text is the same"
        counting.close()
        soon(lambda: seen.documents[KEY]["metadata"]["annotations"]["example.com/text"] == "+" + text)
    with pytest.raises(Conflict):
        store.patch(VIRTUAL_SERVICE, key, [{"op": "test", "path": path, "value": text}])


@pytest.mark.parametrize("name", ["größe", "世界", "a b", "-a", "a/b/c", "x" * 64])
def test_a_name_of_an_annotation_that_cannot_be_is_refused_with_the_field(
    store: KubernetesStore, namespace: str, name: str
) -> None:
    document = virtual_service(namespace)
    document["metadata"]["annotations"][name] = "1"
    with pytest.raises(Refused, match=r"metadata\.annotations"):
        store.create(VIRTUAL_SERVICE, document)


def test_a_number_that_the_server_writes_otherwise_is_still_the_same(store: KubernetesStore, namespace: str) -> None:
    """The server compares what is written: 0.00001 and 1e-05 are two texts, and the same number."""
    key = Key(namespace, KEY)
    document = virtual_service(namespace)
    fault = {"abort": {"httpStatus": 500, "percentage": {"value": 0.00001}}}
    document["spec"]["http"][0]["fault"] = fault
    made = store.create(VIRTUAL_SERVICE, document)
    test = {"op": "test", "path": "/spec/http/0/fault", "value": made["spec"]["http"][0]["fault"]}
    patched = store.patch(VIRTUAL_SERVICE, key, [test, {"op": "replace", "path": "/spec/http/0/route/0/weight", "value": 7}])
    assert (patched["spec"]["http"][0]["fault"], patched["spec"]["http"][0]["route"][0]["weight"]) == (fault, 7)
    other = {**test, "value": {"abort": {"httpStatus": 500, "percentage": {"value": 0.00002}}}}
    with pytest.raises(Conflict):
        store.patch(VIRTUAL_SERVICE, key, [other, {"op": "replace", "path": "/spec/http/0/route/0/weight", "value": 8}])


# size


def test_an_annotation_of_a_mebibyte_is_refused_with_the_limit(store: KubernetesStore, namespace: str) -> None:
    made = store.create(VIRTUAL_SERVICE, virtual_service(namespace))
    add = {"op": "add", "path": "/metadata/annotations/big", "value": "x" * 1024 * 1024}
    with pytest.raises(Refused, match="262144 bytes") as caught:
        store.patch(VIRTUAL_SERVICE, Key(namespace, KEY), [add])
    assert len(str(caught.value)) < 1000
    assert store.get(VIRTUAL_SERVICE, Key(namespace, KEY)) == made


def test_a_document_that_a_patch_makes_too_big_is_told_as_the_servers_trouble(store: KubernetesStore, namespace: str) -> None:
    made = store.create(VIRTUAL_SERVICE, virtual_service(namespace))
    with pytest.raises(Unavailable, match="too large"):
        store.patch(VIRTUAL_SERVICE, Key(namespace, KEY), [{"op": "add", "path": "/spec/hosts", "value": ["x" * 1_600_000]}])
    with pytest.raises(Refused, match="too large"):
        store.patch(VIRTUAL_SERVICE, Key(namespace, KEY), [{"op": "add", "path": "/spec/hosts", "value": ["x" * 4_000_000]}])
    assert store.get(VIRTUAL_SERVICE, Key(namespace, KEY)) == made


def test_in_a_thousand_routes_ours_is_patched_and_nothing_else(store: KubernetesStore, namespace: str) -> None:
    document = virtual_service(namespace)
    (template,) = document["spec"]["http"]
    document["spec"]["http"] = [{**template, "name": f"r{index}"} for index in range(1000)]
    document["spec"]["http"][777] = template
    made = store.create(VIRTUAL_SERVICE, document)
    spec = TritonRollout.model_validate(rollout(namespace)).spec
    operations = mesh.patch_weights(spec, made, {"blue": 90, "green": 10}, mark_of("resnet50"), {"attempt": "a"})
    patched = store.patch(VIRTUAL_SERVICE, Key(namespace, KEY), operations)
    assert mesh.read_weights(spec, patched) == {"blue": 90, "green": 10}
    changed = [index for index in range(1000) if patched["spec"]["http"][index] != made["spec"]["http"][index]]
    assert changed == [777]
    reordered = {**patched, "spec": {**patched["spec"], "http": patched["spec"]["http"][::-1]}}
    now = store.replace(VIRTUAL_SERVICE, reordered)
    stale = mesh.patch_weights(spec, patched, {"blue": 0, "green": 100}, mark_of("resnet50"), {"attempt": "a"})
    with pytest.raises(Conflict):
        store.patch(VIRTUAL_SERVICE, Key(namespace, KEY), stale)
    assert store.get(VIRTUAL_SERVICE, Key(namespace, KEY)) == now


# long lists


class Between(OfficialTransport):
    """Does something after the first page of a list."""

    def __init__(self, kubeconfig: Path, what: Callable[[], None]) -> None:
        super().__init__(kubeconfig)
        self.pages: list[Mapping[str, str]] = []
        self._what = what

    def call(self, method: str, path: str, **rest: Any) -> Answer:
        answer = super().call(method, path, **rest)
        self.pages.append(rest["query"])
        if len(self.pages) == 1:
            self._what()
        return answer


@pytest.fixture
def many(store: KubernetesStore, namespace: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """600 documents, and pages of 200."""
    monkeypatch.setattr(kubernetes, "PAGE", 200)
    names = [f"p{index:03}" for index in range(600)]
    for name in names:
        store.create(POLICY, policy(namespace, name))
    return names


def names_of(documents: tuple[Raw, ...]) -> list[str]:
    return [document["metadata"]["name"] for document in documents]


def test_a_long_list_is_read_in_pages_of_one_state(kube: Kube, store: KubernetesStore, namespace: str, many: list[str]) -> None:
    def change() -> None:
        store.delete(POLICY, Key(namespace, "p000"))
        store.delete(POLICY, Key(namespace, "p599"))
        store.create(POLICY, policy(namespace, "p300-new"))

    transport = Between(kube.admin, change)
    listing = KubernetesStore(transport).list(POLICY, namespace)
    assert names_of(listing.items) == many
    assert [page["limit"] for page in transport.pages] == ["200"] * 3
    with watched(store, POLICY, namespace) as seen:  # what changed meanwhile comes by the watch from the list's version
        seen.holds(lambda: {item["metadata"]["name"]: item for item in store.list(POLICY, namespace).items})
        assert len(seen.documents) == 599
    events = {
        (e.type, e.document["metadata"]["name"])
        for e in store.watch(POLICY, namespace, listing.resource_version, 2)
        if e.document["metadata"].get("name")
    }
    assert events == {("DELETED", "p000"), ("DELETED", "p599"), ("ADDED", "p300-new")}
    transport.close()


def test_pages_that_expire_while_they_are_read_are_read_anew(
    kube: Kube, namespace: str, many: list[str], store: KubernetesStore
) -> None:
    def expire() -> None:
        store.create(POLICY, policy(namespace, "p999"))
        kube.compact()
        kube.wait_ready()

    transport = Between(kube.admin, expire)
    found = KubernetesStore(transport).list(POLICY, namespace)
    assert names_of(found.items) == [*many, "p999"]
    assert [page.get("limit") for page in transport.pages][:2] == ["200", "200"]
    transport.close()


# rights


def test_a_server_with_anothers_certificate_and_a_user_with_a_wrong_token_are_told(
    kube: Kube, connect: Callable[[Path], OfficialTransport], tmp_path: Path
) -> None:
    config = kubeconfig(tmp_path / "config", kube.url, **{"certificate-authority": certifi.where()})
    with pytest.raises(Unavailable, match="certificate that is not trusted"):
        KubernetesStore(connect(config)).list(POLICY)
    config = kubeconfig(tmp_path / "config", kube.url, token="wrong", **{"certificate-authority": str(kube.ca)})
    with pytest.raises(Refused, match="credentials are missing, wrong or expired") as caught:
        KubernetesStore(connect(config)).list(POLICY)
    assert "token" not in str(caught.value)


VERBS: list[tuple[str, Callable[[KubernetesStore, str], object]]] = [
    ("verb get on tritonrollouts.rollouts.triton.dev in namespace", lambda s, ns: s.get(ROLLOUT, Key(ns, "resnet50"))),
    ("verb list on tritonrollouts.rollouts.triton.dev in all namespaces", lambda s, _ns: s.list(ROLLOUT)),
    ("verb watch on tritonrollouts.rollouts.triton.dev in namespace", lambda s, ns: next(s.watch(ROLLOUT, ns, "1", 1))),
    ("verb create on tritonrollouts.rollouts.triton.dev", lambda s, ns: s.create(ROLLOUT, rollout(ns))),
    ("verb delete on tritonrollouts.rollouts.triton.dev", lambda s, ns: s.delete(ROLLOUT, Key(ns, "resnet50"))),
    ("verb patch on virtualservices.networking.istio.io", lambda s, ns: s.patch(VIRTUAL_SERVICE, Key(ns, "triton"), [])),
    (
        "verb patch on tritonrollouts.rollouts.triton.dev/status",
        lambda s, ns: s.replace_status(ROLLOUT, Key(ns, "resnet50"), {"phase": "Idle"}, "1"),
    ),
]


def test_a_missing_right_is_named_with_where_it_comes_from(
    kube: Kube, connect: Callable[[Path], OfficialTransport], store: KubernetesStore, namespace: str
) -> None:
    store.create(ROLLOUT, rollout(namespace))
    user = KubernetesStore(connect(kube.user("nobody")))
    for said, call in VERBS:
        with pytest.raises(Refused, match=said) as caught:
            call(user, namespace)
        assert "chart's RBAC" in str(caught.value)
        assert "nobody" in str(caught.value), "the server's own message is quoted"


def allow(kube: Kube, namespace: str, user: str, resource: str, *verbs: str) -> None:
    group, _, plural = resource.partition("/")
    name = secrets.token_hex(4)
    rules = [{"apiGroups": [group], "resources": [plural], "verbs": list(verbs)}]
    rbac = "rbac.authorization.k8s.io"
    metadata = {"name": name, "namespace": namespace}
    kube.apply(
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": user}],
        },
    )


def test_a_status_needs_the_verb_patch_on_it_and_no_other(
    kube: Kube, connect: Callable[[Path], OfficialTransport], store: KubernetesStore, namespace: str
) -> None:
    made = store.create(ROLLOUT, rollout(namespace))
    allow(kube, namespace, "status-writer", "rollouts.triton.dev/tritonrollouts/status", "patch")
    writer = KubernetesStore(connect(kube.user("status-writer")))
    key, version = Key(namespace, "resnet50"), made["metadata"]["resourceVersion"]

    def written() -> bool:
        try:
            return bool(writer.replace_status(ROLLOUT, key, {"phase": "Idle"}, version)["status"])
        except Refused:  # RBAC reaches the authorizer a moment later
            return False

    soon(written)
    with pytest.raises(Conflict):
        writer.replace_status(ROLLOUT, key, {"phase": "Paused"}, version)
    with pytest.raises(NotFound):
        writer.replace_status(ROLLOUT, Key(namespace, "nothing"), {"phase": "Paused"}, version)
    assert store.get(ROLLOUT, key)["status"] == {"phase": "Idle"}


def test_a_cache_without_rights_says_so_and_starts_when_they_come(
    kube: Kube, connect: Callable[[Path], OfficialTransport], store: KubernetesStore, namespace: str
) -> None:
    store.create(POLICY, policy(namespace))
    with watched(KubernetesStore(connect(kube.user("late"))), POLICY, namespace) as seen:
        soon(lambda: "verb list on rolloutpolicies.rollouts.triton.dev" in seen.problem)
        allow(kube, namespace, "late", "rollouts.triton.dev/rolloutpolicies", "list", "watch")
        seen.holds(lambda: {item["metadata"]["name"]: item for item in store.list(POLICY, namespace).items})


def test_kinds_that_the_server_has_of_its_own_are_whole_documents(store: KubernetesStore, namespace: str) -> None:
    """Their lists leave apiVersion and kind out of the items."""
    metadata = {"name": "lease", "namespace": namespace}
    spec = {"holderIdentity": "a", "leaseDurationSeconds": 4, "renewTime": "2026-01-01T00:00:00.000000Z"}
    made = store.create(LEASE, {"apiVersion": LEASE.api_version, "kind": "Lease", "metadata": metadata, "spec": spec})
    assert store.get(LEASE, Key(namespace, "lease")) == made
    listing = store.list(LEASE, namespace)
    assert listing.items == (made,)
    taken = store.replace(LEASE, {**made, "spec": {**spec, "holderIdentity": "b"}})
    with pytest.raises(Conflict):
        store.replace(LEASE, {**made, "spec": {**spec, "holderIdentity": "c"}})
    assert next(store.watch(LEASE, namespace, listing.resource_version, 5)).document == taken
    event = {
        "apiVersion": EVENT.api_version,
        "kind": "Event",
        "metadata": {"name": "resnet50.1", "namespace": namespace},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "type": "Warning",
        "reason": "RolledBack",
        "action": "Rollout",
        "note": "Grüße <b>",
        "reportingController": "rollouts.triton.dev/controller",
        "reportingInstance": "test",
        "regarding": {"apiVersion": ROLLOUT.api_version, "kind": ROLLOUT.name, "name": "resnet50", "namespace": namespace},
    }
    assert store.create(EVENT, event)["note"] == "Grüße <b>"
    with pytest.raises(AlreadyExists):
        store.create(EVENT, event)


def test_a_kind_that_the_server_does_not_know_is_told_from_an_object_that_is_not_there(
    store: KubernetesStore, namespace: str
) -> None:
    for kind in (Kind("example.com/v1", "Nothing", "nothings"), Kind("apps/v1", "Nothing", "nothings")):
        for call in (lambda kind=kind: store.get(kind, Key(namespace, "a")), lambda kind=kind: store.list(kind)):
            with pytest.raises(StoreError, match="custom resource definitions") as caught:
                call()
            assert type(caught.value) is NotInstalled

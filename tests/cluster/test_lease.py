"""Leadership on a real API server: its Lease is one that Kubernetes takes, and one of many leads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster.fence import Fence, FencedStore, FencedTransport, LeadershipLost
from rollout_controller.cluster.kubernetes import KubernetesStore
from rollout_controller.cluster.lease import Candidate, Leadership, Timing
from rollout_controller.cluster.official import OfficialTransport
from rollout_controller.cluster.store import LEASE, VIRTUAL_SERVICE
from rollout_controller.lab.kube import Kube
from tests.contract.documents import virtual_service
from tests.support.tcp_proxy import TcpProxy
from tests.support.watching import soon

pytestmark = pytest.mark.cluster

ADD_LABEL = [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]


class One:
    """A candidate with a connection of its own."""

    def __init__(self, kubeconfig: Path, namespace: str, name: str) -> None:
        self.key = Key(namespace, "controller")
        self.fence = Fence(Timing().request_s)
        self.wire = OfficialTransport(kubeconfig)
        self.store = KubernetesStore(self.wire, timeout_s=Timing().request_s)
        self.fenced = FencedStore(self.store, KubernetesStore(FencedTransport(self.wire, self.fence), timeout_s=1.0), self.fence)
        self.led = threading.Event()
        self.lost: list[str] = []
        self.leadership = Leadership(
            self.store,
            self.key,
            Candidate(name),
            self.fence,
            on_lead=self.led.set,
            on_lost=self.lost.append,
            on_death=lambda name, error: self.lost.append(f"{name} died: {error!r}"),
        )

    def spec(self) -> Raw:
        spec: Raw = self.store.get(LEASE, self.key)["spec"]
        return spec


@pytest.fixture
def make(kube: Kube, namespace: str) -> Iterator[Callable[..., One]]:
    made: list[One] = []

    def one(name: str, kubeconfig: Path | None = None) -> One:
        made.append(One(kubeconfig or kube.admin, namespace, name))
        made[-1].leadership.start()
        return made[-1]

    yield one
    for each in made:
        each.leadership.stop(5.0)
        each.wire.close()


def test_one_of_many_leads_and_its_lease_is_right(make: Callable[..., One]) -> None:
    many = [make(f"c{n}") for n in range(5)]
    soon(lambda: any(one.led.is_set() for one in many))
    time.sleep(2 * Timing().renew_s)
    leaders = [one for one in many if one.led.is_set()]
    assert len(leaders) == 1
    first = leaders[0].spec()
    assert first["leaseDurationSeconds"] == 4
    assert first["leaseTransitions"] == 0
    soon(lambda: leaders[0].spec()["renewTime"] != first["renewTime"])
    for field in ("acquireTime", "renewTime"):
        assert datetime.fromisoformat(first[field]).tzinfo is not None
    assert leaders[0].spec()["acquireTime"] == first["acquireTime"]


def test_it_is_given_back_and_taken(make: Callable[..., One]) -> None:
    first = make("first")
    assert first.led.wait(120)
    second = make("second")
    time.sleep(1.0)
    assert first.leadership.stop(5.0)
    assert first.leadership.release()
    assert second.led.wait(120)
    assert second.spec()["holderIdentity"] == "second"
    assert second.spec()["leaseTransitions"] == 1
    with pytest.raises(LeadershipLost):
        first.fenced.patch(VIRTUAL_SERVICE, Key(first.key.namespace, "triton"), ADD_LABEL)


def test_a_lease_taken_by_hand_is_lost(make: Callable[..., One]) -> None:
    first = make("first")
    assert first.led.wait(120)
    first.store.patch(LEASE, first.key, [{"op": "replace", "path": "/spec/holderIdentity", "value": "somebody"}])
    soon(lambda: bool(first.lost))
    assert "held by 'somebody'" in first.lost[0]


def test_a_leader_that_is_cut_off_is_lost_before_another_leads(
    kube: Kube, namespace: str, make: Callable[..., One], tmp_path: Path
) -> None:
    """Its connection swallows everything: nothing answers, nothing is refused. What it writes meanwhile is refused here."""
    kube.apply(virtual_service(namespace), namespace=namespace)
    proxy = TcpProxy("127.0.0.1", urlsplit(kube.url).port or 443, slow_bytes_s=200)
    through = tmp_path / "through.json"
    through.write_text(kube.admin.read_text().replace(kube.url, f"https://127.0.0.1:{proxy.port}"))
    first = make("first", through)
    assert first.led.wait(120)
    second = make("second")
    route = Key(namespace, "triton")
    first.fenced.patch(VIRTUAL_SERVICE, route, ADD_LABEL)
    proxy.set("swallow")
    soon(lambda: bool(first.lost))
    assert not second.led.is_set()
    assert "not renewed" in first.lost[0]
    with pytest.raises(LeadershipLost):
        first.fenced.patch(VIRTUAL_SERVICE, route, ADD_LABEL)
    assert second.led.wait(120)
    proxy.close()


def test_without_the_right_to_the_lease_it_says_so_and_waits(kube: Kube, namespace: str, make: Callable[..., One]) -> None:
    one = make("nobody", kube.user(f"{namespace}-nobody"))
    soon(lambda: one.leadership.problem() is not None)
    said = one.leadership.problem()
    assert said is not None
    assert said.startswith(f"Lease {namespace}/controller: ")
    assert "403" in said
    rbac = "rbac.authorization.k8s.io"
    meta = {"name": "lease", "namespace": namespace}
    rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}
    subject = {"kind": "User", "name": f"{namespace}-nobody", "apiGroup": rbac}
    reference = {"apiGroup": rbac, "kind": "Role", "name": "lease"}
    kube.apply(
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": [rule]},
        {"apiVersion": f"{rbac}/v1", "kind": "RoleBinding", "metadata": meta, "roleRef": reference, "subjects": [subject]},
    )
    assert one.led.wait(120)
    assert one.leadership.problem() is None

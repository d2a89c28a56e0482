"""What is told of a local store in tests/unit/controller holds on a real API server, with the rights that the chart gives.

People edit as an admin; what the controller writes (routes, statuses, events) is written as the chart's service account.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest

from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster.kubernetes import KubernetesStore
from rollout_controller.cluster.official import OfficialTransport
from rollout_controller.cluster.store import EVENT, Kind, ObjectStore, PatchOp
from rollout_controller.cluster.transport import Transport
from rollout_controller.lab.kube import Kube
from tests.contract.conftest import MakesNamespaces
from tests.support.chart import Installed, install_chart
from tests.unit.controller import test_conditions, test_deletion, test_drift, test_events, test_news, test_peers_failures

pytestmark = pytest.mark.cluster

WHOLE = (test_deletion, test_events, test_peers_failures)
PARTS = (
    test_conditions.test_every_status_ever_written_keeps_the_rules,
    test_drift.test_a_drift_in_an_attempt_is_put_right_at_the_next_turn_and_said,
    test_drift.test_what_only_a_person_can_put_right_is_said_and_waited_for,
    test_drift.test_a_virtual_service_deleted_and_made_anew_before_anybody_looked,
    test_drift.test_a_virtual_service_deleted_at_rest_is_said_and_put_right_when_it_is_back,
    test_drift.test_the_order_of_routes_is_the_owners,
    test_drift.test_another_field_that_its_owner_changes_meanwhile_is_kept,
    test_drift.test_one_virtual_service_of_two_rollouts_is_no_fight,
    test_news.test_a_rollback_says_why_what_it_cost_and_what_is_next,
    test_news.test_what_was_told_is_owed_no_more_and_the_thread_is_kept_for_the_attempt,
)
BY_PROCESSES = {"test_an_event_for_every_one_of_a_dozen_rollbacks_at_once"}
"""test_peers.py does it with a hundred, and with a controller's process."""
case = test_conditions.case
globals().update(
    {name: test for file in WHOLE for name, test in vars(file).items() if name.startswith("test_") and name not in BY_PROCESSES}
)
globals().update({test.__name__: test for test in PARTS})


class TwoUsers(MakesNamespaces):
    """Whatever only the controller writes goes over its own account; everything else is an admin's."""

    def __init__(self, admin: Transport, controller: ObjectStore) -> None:
        super().__init__(admin)
        self._controller = controller

    def create(self, kind: Kind, document: Raw) -> Raw:
        return self._controller.create(kind, document) if kind is EVENT else super().create(kind, document)

    def patch(self, kind: Kind, key: Key, operations: Sequence[PatchOp]) -> Raw:
        return self._controller.patch(kind, key, operations)

    def replace_status(self, kind: Kind, key: Key, status: Raw, resource_version: str) -> Raw:
        return self._controller.replace_status(kind, key, status, resource_version)


@pytest.fixture(scope="module")
def installed(kube: Kube) -> Installed:
    return install_chart(kube, {}, namespace="stories")


@pytest.fixture
def store(kube: Kube, installed: Installed) -> Iterator[ObjectStore]:
    with closing(OfficialTransport(kube.admin)) as admin, closing(OfficialTransport(installed.kubeconfig)) as controller:
        yield TwoUsers(admin, KubernetesStore(controller))

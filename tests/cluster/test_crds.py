"""The CustomResourceDefinitions on a real API server: what is taken, what is refused and how, and that nothing is lost."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
import yaml

from rollout_controller.api.meta import Model, parse
from rollout_controller.api.names import Raw
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.api.status import RolloutStatus
from rollout_controller.cluster.store import POLICY, ROLLOUT
from rollout_controller.crd.served import OPENAPI_PATH, missing_fields
from rollout_controller.lab.kube import Kube
from rollout_controller.lab.kube_api import KubeRefused
from tests.contract import documents
from tests.play import KEY, Play
from tests.support.bad_documents import BAD, Bad
from tests.support.chart import CHART, apply_crds
from tests.world import Behaviour, World

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
CRDS = CHART / "crds"
GROUP = "/apis/rollouts.triton.dev/v1alpha1"
NAMESPACE = "crds"
MANIFESTS = sorted([*(ROOT / "policies").glob("*.yaml"), *(ROOT / "mesh").glob("*.yaml")])


@pytest.fixture(scope="module")
def api(kube: Kube) -> Kube:
    """The API server with our CRDs and Istio's that our manifests use, and a namespace for these tests."""
    apply_crds(kube)
    kube.apply_istio_crds("gateways", "destinationrules")
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    return kube


def collection(document: Raw) -> str:
    plural = POLICY.plural if document["kind"] == "RolloutPolicy" else ROLLOUT.plural
    return f"{GROUP}/namespaces/{NAMESPACE}/{plural}"


def store(api: Kube, document: Raw, status: Raw | None = None) -> Raw:
    """The document as it is stored, new, with its status."""
    path = f"{collection(document)}/{document['metadata']['name']}"
    try:
        api.api.call("DELETE", path)
    except KubeRefused as error:
        if error.status != 404:
            raise
    stored = api.api.call("POST", collection(document), document)
    return stored if status is None else api.api.call("PUT", f"{path}/status", {**stored, "status": status})


@pytest.mark.parametrize("plural", [ROLLOUT.plural, POLICY.plural])
def test_definitions_are_established(api: Kube, plural: str) -> None:
    found = api.api.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.rollouts.triton.dev")
    conditions = {condition["type"]: condition["status"] for condition in found["status"]["conditions"]}
    assert conditions["Established"] == conditions["NamesAccepted"] == "True"
    assert conditions.get("NonStructuralSchema", "False") == "False"
    assert found["status"]["storedVersions"] == ["v1alpha1"]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_we_ship_is_taken_as_it_is(api: Kube, path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):  # as kubectl reads it: `off` is false
        document["metadata"].setdefault("namespace", NAMESPACE)
        target = api.api.path_of(document).rpartition("/")[0]
        api.api.call("POST", target, document, query={"dryRun": "All", "fieldValidation": "Strict"})


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_what_can_never_work_is_refused_in_words(api: Kube, bad: Bad) -> None:
    document = bad.document(NAMESPACE)
    with pytest.raises(KubeRefused) as caught:
        api.api.call("POST", collection(document), document, query={"dryRun": "All"})
    assert caught.value.status == 422
    causes = json.loads(str(caught.value).partition(": ")[2])["details"]["causes"]
    assert any(cause["field"] == bad.field and bad.words in cause["message"] for cause in causes), causes


def test_an_unknown_field_is_named_to_who_asks_strictly(api: Kube) -> None:
    """kubectl does; who does not, loses the field: that is how Kubernetes is."""
    document = documents.rollout(NAMESPACE)
    document["spec"]["polcy"] = "x"
    with pytest.raises(KubeRefused, match=r'unknown field \\"spec.polcy\\"'):
        api.api.call("POST", collection(document), document, query={"dryRun": "All", "fieldValidation": "Strict"})
    stored = api.api.call("POST", collection(document), document, query={"dryRun": "All"})
    assert "polcy" not in stored["spec"]


def test_what_is_left_out_is_filled_in_and_means_the_same(api: Kube) -> None:
    policy, rollout = store(api, documents.policy(NAMESPACE)), store(api, documents.rollout(NAMESPACE))
    assert policy["spec"]["hold"] == {"min": "3m", "minRequests": 30, "timeout": "30m"}
    assert policy["spec"]["judge"]["tolerance"] == {"errors": "1m30s", "latency": "2m"}
    assert rollout["spec"]["deploy"] == {"timeout": "10m"}
    assert parse(TritonRollout, rollout).spec == parse(TritonRollout, documents.rollout(NAMESPACE)).spec


def test_null_is_as_left_out(api: Kube) -> None:
    document = documents.rollout(NAMESPACE)
    document["spec"] |= {"deploy": None, "scale": None}
    document["spec"]["route"]["http"] = None
    stored = store(api, document)
    assert stored["spec"]["deploy"] == {"timeout": "10m"}
    assert "scale" not in stored["spec"]
    assert "http" not in stored["spec"]["route"]


# --- status ------------------------------------------------------------------------------------------------------


def real_statuses(path: Path) -> Iterator[tuple[str, Raw]]:
    """Statuses that the controller wrote in its own store: at every turn of a good attempt and of a bad one."""
    worlds = {
        "good": Behaviour(errors=0.001, slow=0.01),
        "bad": Behaviour(errors=0.05),
        "broken": Behaviour(fails_to_load="no file"),
    }
    for name, behaviour in worlds.items():
        play = Play(path / f"{name}.db", World(behaviours={"1": Behaviour(), "2": behaviour}, window_s=10.0))
        play.settle()
        yield f"{name}-idle", play.store.get(ROLLOUT, KEY)["status"]
        play.annotate(version="2", request="run-1")
        for turn in range(200):
            play.world.advance(play.world.now + 10)
            play.settle()
            if turn in (5, 8):
                play.annotate(command={5: "pause p-1", 8: "resume p-2"}[turn])
            yield f"{name}-{turn}", play.store.get(ROLLOUT, KEY)["status"]
            if turn > 8 and play.status.attempt is None:
                break


def test_real_statuses_come_back_whole(api: Kube, tmp_path: Path) -> None:
    """Nothing is pruned, no number changes: what a restarted controller reads is what the other wrote."""
    document = store(api, documents.rollout(NAMESPACE))
    path = f"{collection(document)}/{document['metadata']['name']}/status"
    seen: dict[str, str] = {}
    for name, status in real_statuses(tmp_path):
        written = json.loads(json.dumps(status))
        phase = f"{name.partition('-')[0]} {written['phase']} {'judge' in written}"
        if seen.get(phase) == json.dumps(written):
            continue
        seen[phase] = json.dumps(written)
        document = api.api.call("PUT", path, {**document, "status": written})
        read = api.api.get(path.removesuffix("/status"))
        assert read["status"] == written, name
        assert parse(RolloutStatus, read["status"]) == parse(RolloutStatus, written)
    assert {
        "good Progressing True",
        "good Paused True",
        "good Succeeded False",
        "bad RolledBack False",
        "broken Stalled False",
    } <= set(seen)


def full(kind: Any) -> Any:
    """A value of a type with every field of it set, as JSON."""
    if isinstance(kind, type) and issubclass(kind, Model):
        fields = kind.model_fields.items()
        raw = {field.alias or name: full(_whole(field)) for name, field in fields}
        return parse(kind, raw).to_raw()
    if hasattr(kind, "_fields"):
        return [full(below) for below in get_type_hints(kind).values()]
    arguments = [argument for argument in get_args(kind) if argument is not type(None)]
    if get_origin(kind) is tuple:
        return [full(argument) for argument in arguments if argument is not Ellipsis]
    if get_origin(kind) is dict:
        return {"blue": full(arguments[1])}
    if hasattr(kind, "__metadata__"):
        return "2026-01-31T13:02:07.250Z" if "parse_instant" in str(kind.__metadata__) else full(arguments[0])
    if arguments:
        return arguments[0] if isinstance(arguments[0], str) else full(arguments[0])
    if isinstance(kind, type) and hasattr(kind, "__members__"):
        return next(iter(kind.__members__.values())).value
    return {int: 7, float: 0.30000000000000004, str: "text", bool: True}[kind]


def _whole(field: Any) -> Any:
    """A field's annotation with what pydantic took off it."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def test_a_status_with_every_field_comes_back_whole(api: Kube) -> None:
    written = full(RolloutStatus)
    assert written["judge"]["slos"]["blue"]["pending"]["canary"] == [7, 7]
    assert store(api, documents.rollout(NAMESPACE), written)["status"] == written


def test_a_status_of_a_later_version_is_taken(api: Kube) -> None:
    """A phase or a verdict that this definition does not know keeps nobody from writing it."""
    written = full(RolloutStatus)
    written["phase"] = "Hibernating"
    written["verdicts"][0]["verdict"] = "Perhaps"
    assert store(api, documents.rollout(NAMESPACE), written)["status"] == written


def test_status_and_spec_are_written_apart(api: Kube) -> None:
    stored = store(api, documents.rollout(NAMESPACE), {"phase": "Idle"})
    path = f"{collection(stored)}/{stored['metadata']['name']}"
    after = api.api.call("PUT", path, {**stored, "status": {"phase": "Paused"}})
    assert after["status"] == {"phase": "Idle"}
    changed = {**after, "spec": {**after["spec"], "policy": "other"}, "status": {"phase": "Paused"}}
    after = api.api.call("PUT", f"{path}/status", changed)
    assert (after["status"], after["spec"]["policy"]) == ({"phase": "Paused"}, "balanced")
    assert after["metadata"]["generation"] == 1


# --- what people see ---------------------------------------------------------------------------------------------


def table(api: Kube, path: str) -> tuple[list[Raw], list[dict[str, Any]]]:
    """kubectl's own question: columns, and a row for each object."""
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    found = api.api.call("GET", path, accept=accept)
    names = [column["name"] for column in found["columnDefinitions"]]
    return found["columnDefinitions"], [dict(zip(names, row["cells"], strict=True)) for row in found["rows"]]


def test_columns_of_rollouts(api: Kube, tmp_path: Path) -> None:
    active = next(
        status for _, status in real_statuses(tmp_path) if status["phase"] == "Progressing" and status["attempt"]["weight"]
    )
    stored = store(api, documents.rollout(NAMESPACE), active)
    columns, rows = table(api, collection(stored))
    shown = [column["name"] for column in columns if column["priority"] == 0]
    assert shown == ["Name", "Phase", "Version", "Weight", "Reason", "Age"]
    row = next(row for row in rows if row["Name"] == "resnet50")
    assert (row["Phase"], row["Version"], row["Weight"], row["Policy"]) == ("Progressing", "2", 10, "balanced")
    assert row["Reason"] == active["reason"]["code"]
    assert row["Message"] == active["reason"]["sentence"]
    assert row["Ready"] == "Unknown"
    assert row["Stable"] == "blue"


def test_columns_of_policies(api: Kube) -> None:
    stored = store(api, documents.policy(NAMESPACE))
    columns, rows = table(api, collection(stored))
    assert [column["name"] for column in columns] == ["Name", "Undecided", "Unknown", "Drift", "Age"]
    row = next(row for row in rows if row["Name"] == "balanced")
    assert (row["Undecided"], row["Unknown"], row["Drift"]) == ("Advance", "Rollback", "Restore")


def test_short_names_and_categories(api: Kube) -> None:
    found = {resource["name"]: resource for resource in api.api.get(GROUP)["resources"]}
    assert found["tritonrollouts"]["shortNames"] == ["tro"]
    assert found["tritonrollouts"]["categories"] == ["all", "triton"]
    assert found["rolloutpolicies"]["shortNames"] == ["rp"]
    assert found["rolloutpolicies"]["categories"] == ["triton"]
    assert "tritonrollouts/status" in found


def test_explain_reads_well(api: Kube) -> None:
    """What `kubectl explain` asks for has our sentences, for every field that a person writes."""
    schemas = api.api.get(f"/openapi/v3{GROUP}")["components"]["schemas"]
    policy = schemas["dev.triton.rollouts.v1alpha1.RolloutPolicy"]["properties"]["spec"]["properties"]
    assert policy["steps"]["description"] == "The way from the first traffic to all of it: weights that rise, the last one 100."
    assert policy["undecided"]["properties"]["then"]["description"].startswith("Advance goes on and marks the step unproven")
    rollout = schemas["dev.triton.rollouts.v1alpha1.TritonRollout"]["properties"]
    assert "One of Idle, Preparing" in rollout["status"]["properties"]["phase"]["description"]


# --- a newer definition over stored objects ---------------------------------------------------------------------------


def older(definition: Raw) -> Raw:
    """The definition as it was before: fewer fields, fewer rules, no defaults, no columns."""
    definition = copy.deepcopy(definition)
    version = definition["spec"]["versions"][0]
    version["additionalPrinterColumns"] = version["additionalPrinterColumns"][:1]
    properties = version["schema"]["openAPIV3Schema"]["properties"]
    for name in ("paused", "judge", "deploy", "scale"):
        properties["spec"]["properties"].pop(name, None)
    for name in ("judge", "verdicts", "guards"):
        properties.get("status", {"properties": {}})["properties"].pop(name, None)
    _strip(properties["spec"])
    return definition


def _wait_for(api: Kube, *, lacking: bool) -> None:
    """An API server says what it serves a moment after it was told."""
    deadline = time.monotonic() + 30
    while bool(missing_fields(api.api.get(OPENAPI_PATH))) is not lacking:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _strip(node: Any) -> None:
    if isinstance(node, dict):
        node.pop("x-kubernetes-validations", None)
        node.pop("default", None)
        for below in node.values():
            _strip(below)
    elif isinstance(node, list):
        for below in node:
            _strip(below)


def test_a_newer_definition_reads_what_an_older_one_stored(api: Kube) -> None:
    newer = [yaml.safe_load(path.read_text()) for path in sorted(CRDS.glob("*.yaml"))]
    try:
        api.apply(*(older(definition) for definition in newer))
        _wait_for(api, lacking=True)
        policy = store(api, {**documents.policy(NAMESPACE), "metadata": {"name": "old", "namespace": NAMESPACE}})
        assert "hold" not in policy["spec"]
        assert {"RolloutPolicy.spec.paused", "TritonRollout.status.judge"} <= set(missing_fields(api.api.get(OPENAPI_PATH)))
        falling = [{"weight": 50}, {"weight": 10}]
        store(
            api, {**policy, "metadata": {"name": "wrong", "namespace": NAMESPACE}, "spec": {**policy["spec"], "steps": falling}}
        )
        rollout = store(
            api, {**documents.rollout(NAMESPACE), "metadata": {"name": "old", "namespace": NAMESPACE}}, {"phase": "Succeeded"}
        )
    finally:
        api.apply(*newer)
    _wait_for(api, lacking=False)
    path = collection(policy)
    assert api.api.get(f"{path}/old")["spec"]["hold"] == {"min": "3m", "minRequests": 30, "timeout": "30m"}
    read = api.api.get(f"{collection(rollout)}/old")
    assert (read["status"], read["metadata"]["uid"]) == ({"phase": "Succeeded"}, rollout["metadata"]["uid"])
    written = api.api.call("PUT", f"{collection(rollout)}/old/status", {**read, "status": full(RolloutStatus)})
    assert written["status"] == full(RolloutStatus)
    wrong = api.api.get(f"{path}/wrong")
    assert wrong["spec"]["steps"] == falling, "a stored object that the new rules would refuse can still be read"
    wrong["metadata"]["labels"] = {"team": "vision"}
    api.api.call("PUT", f"{path}/wrong", wrong)  # and still be labelled: rules are asked about what changes
    wrong["spec"]["steps"] = [{"weight": 60}, {"weight": 10}]
    wrong["metadata"].pop("resourceVersion")
    with pytest.raises(KubeRefused, match="the weights do not rise"):
        api.api.call("PUT", f"{path}/wrong", {**wrong, "metadata": api.api.get(f"{path}/wrong")["metadata"]})

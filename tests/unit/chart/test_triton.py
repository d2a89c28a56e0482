"""The chart of Triton: two slots that a TritonRollout works on as they come, and values that say where they are wrong."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import helm_python
import pytest
import yaml

from rollout_controller import mesh
from rollout_controller.api.images import version_of
from rollout_controller.api.meta import parse
from rollout_controller.api.names import Raw
from rollout_controller.api.policy import RolloutPolicy
from rollout_controller.api.quantities import parse_duration
from rollout_controller.api.rollout import TritonRollout
from tests.support.chart import CHART, one
from tests.support.triton_chart import EVERYTHING, IMAGES, TRITON, named, over, rendered, values_of

CI = ("minimum", "image")


@functools.cache
def plain(base: str) -> list[Raw]:
    """What ci/BASE-values.yaml makes. Not to be changed."""
    return rendered(base=base)


def container(documents: list[Raw], name: str = "triton-blue") -> Raw:
    (found,) = named(documents, "Deployment")[name]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("base", CI)
def test_helm_finds_nothing_to_say(base: str) -> None:
    report = helm_python.lint(TRITON, values_of(base), strict=True, kube_version="v1.29.0")
    assert report["errors"] == []
    assert [message["error"] for message in report["messages"]] == ["icon is recommended"]


def test_both_charts_are_of_one_version() -> None:
    ours, other = (yaml.safe_load((chart / "Chart.yaml").read_text()) for chart in (TRITON, CHART))
    names = ("apiVersion", "version", "appVersion", "kubeVersion")
    assert [ours[name] for name in names] == [other[name] for name in names]


# --- as the controller expects them ------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", CI)
def test_a_rollout_of_the_chart_finds_its_route_and_its_workloads(base: str) -> None:
    """Read with the product's own types: the route has both slots, all traffic is on the first one, hosts are Services."""
    documents = plain(base)
    rollout = parse(TritonRollout, one(documents, "TritonRollout"))
    route = one(documents, "VirtualService")
    assert rollout.spec.route.virtual_service == route["metadata"]["name"]
    assert mesh.read_weights(rollout.spec, route) == {"blue": 100, "green": 0}
    for slot in rollout.spec.slots.values():
        labels = named(documents, "Deployment")[slot.workload.name if slot.workload else slot.host]["spec"]["template"][
            "metadata"
        ]["labels"]
        assert named(documents, "Service")[slot.host]["spec"]["selector"].items() <= labels.items()
    selectors = [
        named(documents, "Deployment")[f"triton-{slot}"]["spec"]["selector"]["matchLabels"] for slot in ("blue", "green")
    ]
    assert selectors[0] != selectors[1]


def test_workloads_are_named_only_where_they_are_changed() -> None:
    """A controller without workloads.manage refuses slots that name one; the sources then go by the host, so it has its name."""
    for documents, wanted in (
        (plain("minimum"), None),
        (rendered({"rollout": {"scale": {"idle": 0}}}), "named"),
        (plain("image"), "named"),
    ):
        for slot in parse(TritonRollout, one(documents, "TritonRollout")).spec.slots.values():
            assert slot.host in named(documents, "Deployment")
            assert (slot.workload.name if slot.workload else None) == (slot.host if wanted else None)


def test_a_policy_of_the_chart_is_the_one_of_its_rollout() -> None:
    spec = yaml.safe_load((CHART.parents[1] / "policies" / "balanced.yaml").read_text())["spec"]
    documents = rendered({"rollout": {"policy": "mine", "policySpec": spec}})
    policy = parse(RolloutPolicy, one(documents, "RolloutPolicy"))
    assert one(documents, "TritonRollout")["spec"]["policy"] == policy.metadata.name == "mine"
    assert one(documents, "RolloutPolicy")["spec"] == spec
    assert not named(plain("minimum"), "RolloutPolicy")


def test_a_model_repository_is_the_controllers_to_load_from() -> None:
    documents = plain("minimum")
    args = container(documents)["args"]
    assert args[:2] == ["tritonserver", "--model-repository=s3://models/vision"]
    assert {"--model-control-mode=explicit", "--strict-readiness=false", "--exit-timeout-secs=30"} <= set(args)
    assert not [arg for arg in args if arg.startswith("--load-model")], "the highest version there is may be a bad one"
    rollout = parse(TritonRollout, one(documents, "TritonRollout"))
    assert rollout.spec.deploy.model_repository is not None
    assert rollout.spec.deploy.model_repository.model == "resnet50"
    started = rendered({"modelRepository": {"loadAtStart": True}})
    assert "--load-model=resnet50" in container(started)["args"]


def test_an_image_is_its_version() -> None:
    documents = plain("image")
    args = container(documents)["args"]
    assert "--model-repository=/models" in args
    assert "--model-control-mode=none" in args
    rollout = parse(TritonRollout, one(documents, "TritonRollout"))
    assert rollout.spec.deploy.image is not None
    for name, deployment in named(documents, "Deployment").items():
        (triton,) = deployment["spec"]["template"]["spec"]["containers"]
        assert version_of(rollout.spec.deploy.image, triton["image"]) == "1", name
        assert rollout.spec.deploy.container == triton["name"]
    replicas = {name: d["spec"]["replicas"] for name, d in named(documents, "Deployment").items()}
    assert replicas == {"triton-blue": 3, "triton-green": 0}, "the second one begins as a slot without traffic"


def test_istio_knows_the_protocol_of_each_port() -> None:
    documents = plain("minimum")
    declared = {port["name"]: port["containerPort"] for port in container(documents)["ports"]}
    assert declared == {"http": 8000, "grpc": 8001, "metrics": 8002}
    for name in ("triton-blue", "triton-green"):
        for port in named(documents, "Service")[name]["spec"]["ports"]:
            assert port["name"] == port["targetPort"]
            assert port["appProtocol"] == {"metrics": "http"}.get(port["name"], port["name"])
            assert declared[port["targetPort"]] == port["port"]
    for protocol, number in (("http", 8000), ("grpc", 8001)):
        chosen = rendered({"virtualService": {"protocol": protocol}})
        (http,) = one(chosen, "VirtualService")["spec"]["http"]
        assert {entry["destination"]["port"]["number"] for entry in http["route"]} == {number}
        front = named(chosen, "Service")["triton"]["spec"]
        assert "selector" not in front, "who is not in the mesh must not be spread over both slots"
        assert [(port["appProtocol"], port["port"]) for port in front["ports"]] == [(protocol, number)]


@pytest.mark.parametrize(
    ("protocol", "calls"), [("http", "/v2/models/resnet50/infer"), ("grpc", "/inference.GRPCInferenceService/ModelInfer")]
)
def test_the_route_lets_clients_infer_and_not_load(protocol: str, calls: str) -> None:
    (http,) = one(rendered({"virtualService": {"protocol": protocol}}), "VirtualService")["spec"]["http"]
    refused = {
        "/v2/repository/models/resnet50/load",
        "/inference.GRPCInferenceService/RepositoryModelLoad",
        "/v2/models/other/infer",
    }

    def taken(path: str) -> bool:
        return any(path == m["uri"].get("exact") or path.startswith(m["uri"].get("prefix", "\0")) for m in http["match"])

    assert taken(calls)
    assert not [path for path in refused if taken(path)]
    assert http["retries"] == {"attempts": 0}, "Istio's own would hide a canary's errors"


def test_the_mesh_treats_the_slots_as_in_the_manifests() -> None:
    shown = yaml.safe_load_all((CHART.parents[1] / "mesh" / "destinationrule.yaml").read_text())
    wanted = {each["metadata"]["name"]: each["spec"] for each in shown}
    assert {name: each["spec"] for name, each in named(plain("minimum"), "DestinationRule").items()} == wanted


def test_times_fit_together() -> None:
    """A slow start ends before the workload and the rollout give up; a pod has time to end its requests."""
    documents = rendered({"startSeconds": 1801, "drain": {"endpointsSeconds": 7, "requestsSeconds": 120}})
    spec = named(documents, "Deployment")["triton-blue"]["spec"]
    triton = container(documents)
    probe = triton["startupProbe"]
    start = probe["failureThreshold"] * probe["periodSeconds"]
    assert 1801 <= start < parse_duration(one(documents, "TritonRollout")["spec"]["deploy"]["timeout"])
    assert start < spec["progressDeadlineSeconds"]
    assert triton["lifecycle"]["preStop"] == {"exec": {"command": ["sleep", "7"]}}
    assert "--exit-timeout-secs=120" in triton["args"]
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] > 127
    paths = [triton[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert paths == ["/v2/health/live", "/v2/health/live", "/v2/health/ready"]


def test_where_models_and_credentials_come_from() -> None:
    keys = rendered({"modelRepository": {"credentials": {"secret": "triton-s3"}}})
    assert container(keys)["envFrom"] == [{"secretRef": {"name": "triton-s3"}}]
    claimed = rendered({"modelRepository": {"url": "", "persistentVolumeClaim": "models"}})
    assert "--model-repository=/models" in container(claimed)["args"]
    assert {"name": "models", "mountPath": "/models", "readOnly": True} in container(claimed)["volumeMounts"]
    tried = named(rendered({"modelRepository": {"url": "", "emptyDir": True}}), "Deployment")["triton-green"]
    assert {"name": "models", "emptyDir": {}} in tried["spec"]["template"]["spec"]["volumes"]


def test_the_monitor_finds_each_slot_and_its_port() -> None:
    """Samples come with the labels namespace and pod: what dashboards and alerts join the GPUs' by."""
    documents = rendered({"monitoring": {"serviceMonitor": {"enabled": True}}})
    monitor = one(documents, "ServiceMonitor")["spec"]
    (endpoint,) = monitor["endpoints"]
    assert set(endpoint) == {"port", "interval"}
    selected = [
        s
        for s in named(documents, "Service").values()
        if monitor["selector"]["matchLabels"].items() <= s["metadata"]["labels"].items()
    ]
    scraped = {s["metadata"]["name"] for s in selected if endpoint["port"] in {port["name"] for port in s["spec"]["ports"]}}
    assert scraped == {"triton-blue", "triton-green"}
    for deployment in named(documents, "Deployment").values():
        assert deployment["spec"]["template"]["metadata"]["annotations"]["traffic.sidecar.istio.io/excludeInboundPorts"] == "8002"
    assert not {"ServiceMonitor", "HorizontalPodAutoscaler"} & {d["kind"] for d in plain("minimum")}


def test_two_releases_share_nothing_and_long_names_fit() -> None:
    def names(documents: list[Raw]) -> set[tuple[str, str]]:
        assert all(len(d["metadata"]["name"]) <= 63 for d in documents)
        return {(d["kind"], d["metadata"]["name"]) for d in documents}

    assert not names(plain("minimum")) & names(rendered(name="r" * 53, values={"slots": ["s" * 20, "t" * 20]}))


# --- values --------------------------------------------------------------------------------------------------------------


def leaves(value: object) -> Iterator[str]:
    """The texts and numbers in a tree of values, as they would stand in a document."""
    if isinstance(value, dict):
        for below in value.values():
            yield from leaves(below)
    elif isinstance(value, list):
        for below in value:
            yield from leaves(below)
    else:
        yield str(value)


def test_every_value_gets_somewhere() -> None:
    """Values that differ from all defaults are all found again in what is rendered."""
    written = json.dumps(rendered(EVERYTHING)) + json.dumps(rendered(IMAGES, base="image"))
    lost = [leaf for leaf in (*leaves(EVERYTHING), *leaves(IMAGES)) if leaf not in written and leaf != "True"]
    assert lost == []
    pod = named(rendered(EVERYTHING), "Deployment")["resnet50-red"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert set(EVERYTHING) | set(IMAGES) >= set(defaults()) - {"podDisruptionBudget", "nameOverride", "versions", "startSeconds"}


def defaults() -> Raw:
    found: Raw = yaml.safe_load((TRITON / "values.yaml").read_text())
    return found


def test_what_is_switched_off_is_not_there() -> None:
    off: Raw = {name: {"enabled": False} for name in ("rollout", "virtualService", "destinationRule", "podDisruptionBudget")}
    bare = rendered({**off, "serviceAccount": {"create": False, "name": "mine"}, "istio": {"inject": False}, "gpu": {"count": 0}})
    assert {document["kind"] for document in bare} == {"Deployment", "Service"}
    assert set(named(bare, "Service")) == {"triton-blue", "triton-green"}
    template = named(bare, "Deployment")["triton-blue"]["spec"]["template"]
    assert template["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"
    assert template["spec"]["serviceAccountName"] == "mine"
    assert set(container(bare)["resources"]["limits"]) == {"memory"}
    with pytest.raises(helm_python.HelmRenderError, match=r"serviceAccount\.name is needed"):
        rendered({"serviceAccount": {"create": False}})


def test_what_has_no_default_is_asked_for() -> None:
    with helm_python.Chart.load(TRITON) as chart:
        for values, said in (
            ({}, "at '': missing property 'versions'"),
            ({"versions": "image"}, "at '/image': missing properties 'repository', 'tag'"),
        ):
            with pytest.raises(helm_python.HelmValuesError) as caught:
                chart.validate_schema(values)
            assert said in str(caught.value)


REFUSED: list[tuple[str, Raw, str]] = [
    ("minimum", {"replica": 1}, "at '': additional properties 'replica' not allowed"),
    ("minimum", {"model": ""}, "at '/model': minLength: got 0, want 1"),
    ("minimum", {"replicas": 2}, "at '/replicas': maximum: got 2, want 1"),
    ("minimum", {"strategy": {"maxSurge": 1}}, "at '/strategy/maxSurge': value must be one of 0, '0%'"),
    ("minimum", {"autoscaling": {"enabled": True}}, "at '/autoscaling/enabled': value must be false"),
    ("minimum", {"rollout": {"scale": {"canary": "weight"}}}, "at '/rollout/scale/canary': value must be 'full'"),
    ("minimum", {"modelRepository": {"url": ""}}, "at '/modelRepository': 'oneOf' failed"),
    ("minimum", {"modelRepository": {"emptyDir": True}}, "at '/modelRepository': 'oneOf' failed"),
    ("minimum", {"modelRepository": {"url": "/models"}}, "at '/modelRepository/url': '/models' does not match pattern"),
    (
        "minimum",
        {"modelRepository": {"credentials": {"file": "key.json"}}},
        "at '/modelRepository/credentials': properties 'secret' required, if 'file' exists",
    ),
    ("minimum", {"slots": ["blue", "blue-2"]}, "at '/slots/1': 'blue-2' does not match pattern"),
    ("minimum", {"slots": ["blue"]}, "at '/slots': minItems: got 1, want 2"),
    ("minimum", {"slots": ["blue", "blue"]}, "at '/slots': items at 0 and 1 are equal"),
    ("minimum", {"image": {"tag": 25.08}}, "at '/image/tag': got number, want string"),
    ("minimum", {"gpu": {"count": "1"}}, "at '/gpu/count': got string, want integer"),
    ("minimum", {"resources": {"limits": {"nvidia.com/gpu": 1}}}, "at '/resources/limits/nvidia.com~1gpu': false schema"),
    ("minimum", {"extraArgs": ["--strict-readiness=true"]}, "at '/extraArgs/0': 'not' failed"),
    ("minimum", {"podLabels": {"rollouts.triton.dev/slot": "blue"}}, "at '/podLabels/rollouts.triton.dev~1slot': false schema"),
    ("minimum", {"podAnnotations": {"proxy.istio.io/config": "{}"}}, "at '/podAnnotations/proxy.istio.io~1config': false schema"),
    ("minimum", {"virtualService": {"gateways": ["public"]}}, "at '/virtualService/hosts': minItems: got 0, want 1"),
    ("minimum", {"virtualService": {"protocol": "tcp"}}, "at '/virtualService/protocol': value must be one of 'http', 'grpc'"),
    ("minimum", {"rollout": {"scale": {"idle": "0"}}}, "at '/rollout/scale/idle': got string, want integer"),
    ("image", {"modelRepository": {"url": "s3://models"}}, "at '/modelRepository/url': value must be ''"),
    ("image", {"autoscaling": {"enabled": True}}, "at '/autoscaling/metrics': minItems: got 0, want 1"),
]


def test_bad_values_are_refused_with_their_place() -> None:
    with helm_python.Chart.load(TRITON) as chart:
        for base, values, said in REFUSED:
            with pytest.raises(helm_python.HelmValuesError) as caught:
                chart.validate_schema(over(chart.merge_values(values_of(base)), values))
            assert said in str(caught.value), values


def test_every_value_is_known_to_the_schema_and_shown() -> None:
    """values.yaml shows all there is: nothing in the schema without a default, but what is needed and what Helm adds."""
    with helm_python.Chart.load(TRITON) as chart:
        schema, values = chart.schema, chart.merge_values(values_of("minimum"))
    assert schema is not None
    assert set(schema["properties"]) - set(values) == {"global"}
    for name, part in schema["properties"].items():
        if "properties" in part and name != "podAnnotations":
            assert set(part["properties"]) == set(values[name]), name


def test_the_pods_are_what_pod_security_calls_restricted() -> None:
    pod = named(plain("minimum"), "Deployment")["triton-blue"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container(plain("minimum"))["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    chosen = named(rendered({"runAsUser": None}), "Deployment")["triton-blue"]["spec"]["template"]["spec"]["securityContext"]
    assert chosen == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


@pytest.mark.parametrize(
    ("base", "said"), [("minimum", "/v2/repository/models/resnet50/load"), ("image", "workloads.manage=true")]
)
def test_the_notes_say_the_next_command(base: str, said: str) -> None:
    with helm_python.Chart.load(TRITON) as chart:
        notes = chart.render(values_of(base), name="triton", namespace="vision")["triton/templates/NOTES.txt"]
    assert said in notes
    assert "rollouts -n vision trigger triton --version VERSION --wait" in notes
    assert (Path(CHART).parents[1] / "policies" / "balanced.yaml").is_file()


def test_the_install_that_the_page_shows_is_one() -> None:
    page = (CHART.parents[1] / "docs" / "kubernetes.md").read_text()
    command = re.search(r"helm install triton helm/triton (?:.*\\\n)*.*", page)
    assert command is not None
    pairs = re.findall(r"--set ([\w.]+)=(\S+)", command[0])
    values: Raw = {}
    for path, value in pairs:
        *above, last = path.split(".")
        functools.reduce(lambda below, part: below.setdefault(part, {}), above, values)[last] = value
    assert len(pairs) == 6
    with helm_python.Chart.load(TRITON) as chart:
        chart.validate_schema(values)

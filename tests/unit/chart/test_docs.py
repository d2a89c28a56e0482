"""docs/kubernetes.md and the Dockerfile say what the chart does."""

from __future__ import annotations

import json
import re
import tomllib
from collections import defaultdict

import yaml

from tests.support.chart import CHART, one, render
from tests.unit.chart.test_chart import RIGHTS, WORKLOADS

ROOT = CHART.parents[1]
PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_the_table_of_rights_is_the_charts() -> None:
    rows = re.findall(r"^\| ([a-z0-9.]+) \| ([^|]+) \| ([^|]+) \| [^|]+ \|$", PAGE, re.MULTILINE)
    told: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for group, resources, verbs in rows:
        for resource in resources.split(","):
            told[group, resource.strip()] |= set(re.findall(r"get|list|watch|patch|update|create", verbs))
    leases = told.pop(("coordination.k8s.io", "leases"))
    assert dict(told) == {**RIGHTS, **WORKLOADS}
    assert leases == {"create", "get", "update"}


def test_the_role_for_pipelines_names_what_there_is() -> None:
    block = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None
    (rule,) = yaml.safe_load(block[1])["rules"]
    assert (rule["apiGroups"][0], rule["resources"][0]) in RIGHTS


def test_values_named_by_the_page_are_values() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for path in ("workloads.manage", "prometheus.tokenSecret", "triton.url", "podLabels", "namespaces"):
        assert path in PAGE
        below = values
        for part in path.split("."):
            below = below[part]


def test_the_image_holds_what_it_copies_and_runs_as_the_chart_says() -> None:
    """It cannot be built here; these are the ways in which it would break first."""
    copied = [words.split() for words in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)]
    names = [name for words in copied for name in words]
    assert names
    assert all((ROOT / name).exists() for name in names)
    kept = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert kept == set(names)
    pod = one(render(), "Deployment")["spec"]["template"]["spec"]
    user = re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    assert user is not None
    assert {int(user[1]), int(user[2])} == {pod["securityContext"]["runAsUser"]}


def test_image_and_chart_start_the_same_command() -> None:
    entry = re.search(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)
    command = re.search(r"^CMD (.*)$", DOCKERFILE, re.MULTILINE)
    assert entry is not None
    assert command is not None
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    (program,) = json.loads(entry[1])
    assert program in scripts
    (container,) = one(render(), "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["args"] == json.loads(command[1])

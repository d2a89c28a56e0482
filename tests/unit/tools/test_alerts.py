"""The alerts' files are what their code says; each alert is explained, tested, and asks for what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollout_controller.controller import metrics_page
from tests.support.promql import selectors
from tests.unit.tools.test_dashboards import OURS, TARGET, metric_of
from tools.alerts.files import ALERTS, CHART, GROUPS, MANIFEST, PLAIN, ROOT, texts
from tools.alerts.model import RUNBOOKS, Alert, Recording

RECORDED = {rule.record for group in GROUPS for rule in group.rules if isinstance(rule, Recording)}
FOREIGN = {
    "istio_requests_total",
    "istio_request_duration_milliseconds_bucket",
    "nv_inference_request_success",
    "nv_inference_request_failure",
    "nv_inference_queue_duration_us",
    "DCGM_FI_DEV_GPU_UTIL",
    "kube_pod_container_status_restarts_total",
}
TESTS = ROOT / "alerts" / "tests"
PAGES = ROOT / "docs" / "runbooks"


def by_name(alert: Alert) -> str:
    return alert.name


def test_making_them_anew_changes_nothing() -> None:
    assert {path: path.read_text() for path in texts()} == texts(), "python -m tools.alerts --write"


def test_the_manifest_and_the_plain_file_have_the_same_rules() -> None:
    plain, manifest = yaml.safe_load(PLAIN.read_text()), yaml.safe_load(MANIFEST.read_text())
    assert manifest["spec"] == plain == yaml.safe_load(CHART.read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")


@pytest.mark.parametrize("rule", [rule for group in GROUPS for rule in group.rules], ids=lambda rule: rule[0])
def test_every_rule_asks_for_metrics_labels_and_values_that_there_are(rule: Alert | Recording) -> None:
    listed = {name: set(re.findall(r"`([^`]+)`", text)) for name, text in metrics_page.LABELS.items()}
    found = selectors(rule.expr)
    assert found
    for selector in found:
        if selector.metric in FOREIGN | RECORDED:
            continue
        metric = OURS.get(metric_of(selector))
        assert metric is not None, f"nobody exports {selector.metric}"
        assert selector.labels <= {*metric.labels, *TARGET}
        for label, value in selector.values.items():
            assert not listed.get(label) or set(value.split("|")) <= listed[label], f"{label}={value}"


def test_names_are_their_own_and_recordings_are_called_as_they_should_be() -> None:
    names = [alert.name for alert in ALERTS]
    assert len(set(names)) == len(names)
    for record in RECORDED:
        assert re.fullmatch(r"[a-z_]+:[a-z0-9_]+:[a-z0-9_]+", record), "level:metric:operation"


@pytest.mark.parametrize("alert", ALERTS, ids=by_name)
def test_an_alert_says_whom_and_what_it_is_about_and_links_to_its_page(alert: Alert) -> None:
    said = alert.to_raw(RUNBOOKS)["annotations"]
    assert len(said["summary"]) < 140, "it is a headline"
    if not alert.expr.startswith("absent("):
        assert "{{ $labels." in said["summary"]
        assert "{{ $labels." in said["description"]
    assert said["runbook_url"].endswith(f"/{alert.name}.md")
    page = (PAGES / f"{alert.name}.md").read_text()
    assert page.startswith(f"# {alert.name}\n\n{alert.severity}\n")
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == ["What it means", "First look", "What to do"]


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "tools.alerts", *map(str, words)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("runbooks", "link"),
    [
        ("https://wiki.example.com/runbooks/", "https://wiki.example.com/runbooks/RolloutStuck.md"),
        ("https://wiki.example.com/{alert}.html", "https://wiki.example.com/RolloutStuck.html"),
    ],
)
def test_anybody_can_have_the_rules_with_links_to_a_place_of_their_own(tmp_path: Path, runbooks: str, link: str) -> None:
    assert command("--runbooks", runbooks, "--to", tmp_path).returncode == 0
    plain, manifest = (yaml.safe_load((tmp_path / path.name).read_text()) for path in (PLAIN, MANIFEST))
    assert manifest["spec"] == plain
    links = {rule["annotations"]["runbook_url"] for group in plain["groups"] for rule in group["rules"] if "alert" in rule}
    assert len(links) == len(ALERTS)
    assert link in links


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--runbooks", "https://wiki.example.com"), "--runbooks URL and --to DIR go together"),
        (("--runbooks", "wiki", "--to", "x"), "--runbooks: 'wiki' is not a URL; http:// or https://"),
    ],
)
def test_what_makes_no_sense_is_refused(words: tuple[str, ...], said: str) -> None:
    done = command(*words)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_there_is_no_page_and_no_test_without_an_alert() -> None:
    names = {alert.name for alert in ALERTS}
    assert {path.stem for path in PAGES.glob("*.md")} == names
    assert {path.stem for path in TESTS.iterdir()} == names


@pytest.mark.parametrize("alert", ALERTS, ids=by_name)
def test_its_test_has_it_fire_resolve_and_stay_quiet_just_below(alert: Alert) -> None:
    """That it does so is promtool's to say: tests/lab/test_alerts.py."""
    document: dict[str, Any] = yaml.safe_load((TESTS / f"{alert.name}.yaml").read_text())
    assert document["rule_files"] == ["../rules.yaml"]
    cases = {case["name"]: case["alert_rule_test"] for case in document["tests"]}
    assert {check["alertname"] for case in cases.values() for check in case} == {alert.name}
    fires = [bool(check["exp_alerts"]) for check in cases["fires, and resolves"]]
    assert fires[-2:] == [True, False]
    below = cases["just below"]
    assert below
    assert not any(check["exp_alerts"] for check in below)


def test_the_table_of_the_docs_is_the_alerts() -> None:
    rows = re.findall(
        r"^\| \[(\w+)\]\(runbooks/\1\.md\) \| (\w+) \|", (ROOT / "docs" / "observability.md").read_text(), re.MULTILINE
    )
    assert rows == [(alert.name, alert.severity) for alert in ALERTS]

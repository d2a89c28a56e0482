"""What the canary is compared with: stable's shares of late, and for latency the bucket edges at which the two are compared.

A canary that is a little slower shows most where a fifth to a half of stable's requests are slower than the edge, and that is
seldom the objective's own edge. So the bet is spread over up to three edges, chosen from stable's past alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp

from rollout_controller.api.evidence import ComparedEdge, StableShare
from rollout_controller.api.meta import unchecked
from rollout_controller.core.observation import Counts, Slower
from rollout_controller.core.rounding import rounded

OWN = 0.0
"""The place of the SLO's own edge (or of its errors) among edges."""
SHARES = (0.4, 0.4, 0.2)
"""Of the bet, over the edges; the one with the largest share of slow requests first."""
_MEMORY_S = 600.0
_FEWEST = 0.002
_MOST = 0.5
_NOTHING = (0.0, 0.0)
_ENOUGH = 200
"""Requests of stable before its shares say which edges to compare at."""

Shares = tuple[StableShare, ...]
ArmsByEdge = Mapping[float, tuple[Counts, Counts]]
"""The canary's and stable's counts, by edge."""


def remember(recent: Shares, seconds: float, stable: Counts, slower: Sequence[Slower]) -> Shares:
    """Stable's shares of late with one more window, which may be several joined ones."""
    if stable.total == 0:
        return recent
    fade = exp(-seconds / _MEMORY_S)
    known = {edge: (total, bad) for edge, total, bad in recent}
    now = [(OWN, stable.bad), *[(edge, bad) for edge, _, bad in slower]]
    return tuple([_faded(known.get(edge, _NOTHING), edge, fade, stable.total, bad) for edge, bad in now])


def _faded(before: tuple[float, float], edge_ms: float, fade: float, total: int, bad: int) -> StableShare:
    return StableShare(edge_ms, rounded(before[0] * fade + total, 1e3), rounded(before[1] * fade + bad, 1e3))


def share(of_late: StableShare | None, prior: float) -> float:
    """Stable's share of late; with nothing known, `prior`, which weighs as much as one request."""
    return prior if of_late is None else (of_late.bad + prior) / (of_late.total + 1)


def choose(recent: Shares) -> tuple[ComparedEdge, ...]:
    """The edges at which stable's share of slow requests is from 0.2 to 50 %, the largest three; none before enough is known."""
    known = [(each.bad / each.total, each.edge_ms) for each in recent if each.total >= _ENOUGH]
    fit = sorted((pair for pair in known if _FEWEST <= pair[0] <= _MOST), reverse=True)[: len(SHARES)]
    whole = sum(SHARES[: len(fit)])
    return tuple(ComparedEdge(edge_ms=fit[i][1], share=round(SHARES[i] / whole, 6)) for i in range(len(fit)))


def fits(of_late: StableShare) -> bool:
    """Whether stable's share of late at an edge is one at which a comparison says something."""
    return of_late.total > 0 and _FEWEST <= of_late.bad / of_late.total <= _MOST


def at_edges(canary: Counts, stable: Counts, slower: Sequence[Slower]) -> ArmsByEdge:
    """Both arms by edge."""
    found = {OWN: (canary, stable)}
    for edge, slow, stable_slow in slower:
        found[edge] = Counts(canary.total, slow), Counts(stable.total, stable_slow)
    return found


def counted(edges: tuple[ComparedEdge, ...], by_edge: ArmsByEdge) -> tuple[ComparedEdge, ...]:
    """The edges with a judged window added to what people are told of them."""
    return tuple([_added(edge, *by_edge[edge.edge_ms]) if edge.edge_ms in by_edge else edge for edge in edges])


def _added(edge: ComparedEdge, canary: Counts, stable: Counts) -> ComparedEdge:
    fields = {
        "edge_ms": edge.edge_ms,
        "share": edge.share,
        "requests": edge.requests + canary.total,
        "slow": edge.slow + canary.bad,
        "stable_requests": edge.stable_requests + stable.total,
        "stable_slow": edge.stable_slow + stable.bad,
    }
    return unchecked(ComparedEdge, fields)


def joined(before: Sequence[Slower], more: Sequence[Slower]) -> tuple[Slower, ...]:
    """Of two joined windows, the edges that both have."""
    if not before or not more:
        return ()
    known = {edge: (canary, stable) for edge, canary, stable in before}
    both = [(*known[edge], edge, canary, stable) for edge, canary, stable in more if edge in known]
    return tuple([Slower(edge, canary + a, stable + b) for a, b, edge, canary, stable in both])


def usable(slower: Sequence[Slower], canary: Counts, stable: Counts) -> tuple[Slower, ...]:
    """Without impossible ones (negative, more slow ones than all)."""
    return tuple([e for e in slower if 0 <= e.canary <= canary.total and 0 <= e.stable <= stable.total]) if slower else ()

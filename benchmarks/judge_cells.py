"""The worlds of docs/judge-tables.md: those that the judge was designed for, with the figures wanted, and held-out ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rollout_controller.api.meta import parse
from rollout_controller.api.policy import RolloutPolicy
from rollout_controller.replay.attempt import Play
from rollout_controller.replay.simulate import play_of
from rollout_controller.replay.world import Harm, World
from rollout_controller.slo.sources import load_sources

SOURCES = load_sources()
ALIGNED = {"aligned": True, "readAfter": "0s", "shift": "0s"}


@dataclass(frozen=True)
class Cell:
    """One world in one table. `wanted`: for an identical version the largest share; else (share, seconds, bad requests)."""

    table: str
    row: str
    column: str
    play: Play
    kind: str
    """identical, errors or slow: whose requests are counted."""
    wanted: str = ""
    most_false: float = 0.01
    seconds: float | None = None
    off: float | None = None
    tags: frozenset[str] = field(default_factory=frozenset)

    @property
    def name(self) -> str:
        return f"{self.table} / {self.row} / {self.column}"


def policy(**changes: Any) -> RolloutPolicy:
    """24 minutes, no early advance, no guard; the defaults of the product but for what is given."""
    spec: dict[str, Any] = {
        "steps": [{"weight": weight} for weight in (10, 25, 50, 100)],
        "slos": [
            {"name": "errors", "source": "istio", "errorRate": {"max": "1%"}},
            {"name": "latency", "source": "istio", "latency": {"quantile": 0.95, "max": "100ms"}, "grace": "60s"},
        ],
        "hold": {"min": "6m", "minRequests": 0, "timeout": "30m"},
        "undecided": {"after": "6m"},
        "compareToStable": {"tolerance": "10%"},
        **changes,
    }
    raw = {"apiVersion": "rollouts.triton.dev/v1alpha1", "kind": "RolloutPolicy", "metadata": {"name": "tables"}, "spec": spec}
    return parse(RolloutPolicy, raw)


def tolerance(errors: int, latency: int, **judge: Any) -> dict[str, Any]:
    return {"tolerance": {"errors": f"{errors}s", "latency": f"{latency}s"}, **judge}


def made(harm: Mapping[str, Any], world: Mapping[str, Any], rules: RolloutPolicy, *, insist: bool = False) -> Play:
    return play_of(rules, World.model_validate(world), Harm.model_validate(harm), SOURCES, insist=insist)


def pods(length: str, every: str, *, regular: bool = False, **more: Any) -> dict[str, Any]:
    """The canary has one pod, stable has four; each has hiccups of its own."""
    return {"hiccups": [{"length": length, "every": every, "pods": 1, "stablePods": 4, "regular": regular, **more}]}


OLD = policy(judge=tolerance(60, 120), retreat="off")
OLD_BATCHES = policy(judge=tolerance(60, 120, batchSize=12), retreat="off")
DEFAULT = policy()

IDENTICAL: tuple[tuple[str, dict[str, Any], RolloutPolicy, tuple[float, ...], tuple[float, ...]], ...] = (
    ("identical, clean", {}, OLD, (0.2, 20, 2000), (0, 0, 0)),
    ("identical, 20 s pod hiccup every 5 min", pods("20s", "5m", regular=True), OLD, (3, 20, 2000), (0, 0, 0.024)),
    ("identical, 45 s pod hiccup every 20 min", pods("45s", "20m", regular=True), OLD, (3, 20, 2000), (0, 0, 0)),
    ("identical, both over the objective", {"errors": "2%"}, OLD, (3, 20, 2000), (0.008, 0.002, 0)),
    (
        "identical, late shared incident",
        {"incidents": [{"at": "14m", "length": "60s", "errors": "20%"}]},
        OLD,
        (0.2, 20, 2000),
        (0.001, 0, 0),
    ),
    ("identical, batches of 12", {"batch": 12}, OLD_BATCHES, (0.2, 20, 2000), (0.001, 0, 0)),
    (
        "identical, cold start + batches of 4",
        {"batch": 4, "coldStart": {"length": "60s", "slower": 3}},
        OLD,
        (0.2, 20, 2000),
        (0.001, 0, 0),
    ),
)
HARMS: tuple[tuple[str, dict[str, Any], str, tuple[tuple[float, float | None, float | None], ...]], ...] = (
    ("errors 0.5 -> 5 %", {"errors": "5%"}, "errors", ((0.16, None, None), (1, 150, 16), (1, 75, 749))),
    ("errors 0.5 -> 2 %", {"errors": "2%"}, "errors", ((0.0005, None, None), (1, 495, 29), (1, 90, 359))),
    ("p95 80 -> 120 ms", {"p95": "120ms"}, "slow", ((0.0015, None, None), (1, 285, 56), (1, 225, 4513))),
    ("p95 80 -> 95 ms", {"p95": "95ms"}, "slow", ((0, None, None), (0.998, 660, 89), (1, 255, 2055))),
    ("outage", {"outage": True}, "errors", ((1, 270, 6), (1, 75, 150), (1, 75, 15005))),
)


def without_retreat() -> list[Cell]:
    cells = []
    for row, world, rules, rates, most in IDENTICAL:
        for rps, share in zip(rates, most, strict=True):
            play = made({}, {"rps": rps, "scrape": "15s", **ALIGNED, **world}, rules, insist=True)
            cells.append(Cell("without retreat", row, f"{rps:g} rps", play, "identical", f"{share * 100:g} %"))
    for row, harm, kind, wanted in HARMS:
        for rps, (share, seconds, bad) in zip((0.2, 20, 2000), wanted, strict=True):
            play = made(harm, {"rps": rps, "scrape": "15s", **ALIGNED}, OLD, insist=True)
            words = f"{share * 100:g} %" + (f", {seconds:g} s, {bad:g}" if seconds is not None else "")
            cells.append(Cell("without retreat", row, f"{rps:g} rps", play, kind, words, seconds=seconds))
    return cells


OUTAGES: tuple[tuple[str, float, dict[str, Any], tuple[tuple[float, float, float], tuple[float, float, float]]], ...] = (
    ("outage, 3 rps", 3, {}, ((10, 165, 13), (15, 180, 17))),
    ("outage, 20 rps", 20, {}, ((5, 135, 30), (15, 165, 89))),
    ("outage, 2,000 rps", 2000, {}, ((5, 135, 3006), (15, 165, 9008))),
    ("outage only at >= 50 %, 20 rps", 20, {"fromWeight": "50%"}, ((5, 135, 163), (15, 165, 463))),
)


def with_retreat() -> list[Cell]:
    cells = []
    rules = policy(judge=tolerance(60, 120))
    for row, rps, more, wanted in OUTAGES:
        for scrape, (off, seconds, bad) in zip(("5s", "15s"), wanted, strict=True):
            play = made({"outage": True, **more}, {"rps": rps, "scrape": scrape, **ALIGNED}, rules, insist=True)
            words = f"{off:g} / {seconds:g} / {bad:,.0f}"
            cells.append(Cell("with retreat", row, f"scrape {scrape}", play, "errors", words, seconds=seconds, off=off))
    for seconds_dead in (60, 90, 120):
        play = made(
            {},
            {"rps": 20, "scrape": "5s", **ALIGNED, **pods(f"{seconds_dead}s", "20m", regular=True, stablePods=0)},
            rules,
            insist=True,
        )
        row = f"identical, one total failure of {seconds_dead} s, 20 rps"
        cells.append(Cell("with retreat", row, "scrape 5s", play, "identical", "0 %"))
    return cells


TOLERANCES = ((60, 120, (4.2, 3.3, 0.5), (1.2, 8.7, 12.8)), (90, 120, (0.5, 0.2, 0), (0.3, 3.3, 2.5)))


def by_tolerance() -> list[Cell]:
    cells = []
    for errors, latency, seldom, often in TOLERANCES:
        rules = policy(judge=tolerance(errors, latency))
        for what, wanted in ((("20s", "20m"), seldom), (("40s", "10m"), often)):
            for rps, share in zip((20, 200, 2000), wanted, strict=True):
                play = made({}, {"rps": rps, "scrape": "5s", **ALIGNED, **pods(*what)}, rules, insist=True)
                row = f"pods dead {what[0][:-1]} s every {what[1][:-1]} min, {rps:g} rps"
                cells.append(Cell("tolerance", row, f"{errors} / {latency} s", play, "identical", f"{share:g} %", 0.05))
    for row, harm, kind, all_wanted in (
        ("errors 0.5 -> 5 %, 20 rps", {"errors": "5%"}, "errors", ((165, 16), (210, 22))),
        ("errors 0.5 -> 2 %, 20 rps", {"errors": "2%"}, "errors", ((510, 30), (578, 36))),
        ("p95 80 -> 120 ms, 20 rps", {"p95": "120ms"}, "slow", ((270, 56), (270, 56))),
    ):
        for (errors, latency, *_), (seconds, bad) in zip(TOLERANCES, all_wanted, strict=True):
            play = made(harm, {"rps": 20, "scrape": "5s", **ALIGNED}, policy(judge=tolerance(errors, latency)), insist=True)
            cells.append(Cell("tolerance", row, f"{errors} / {latency} s", play, kind, f"{seconds} s, {bad}", seconds=seconds))
    return cells


HELD_OUT: tuple[tuple[str, dict[str, Any], float], ...] = (
    ("clean, 0.05 rps", {"rps": 0.05}, 0.01),
    ("clean, 20,000 rps", {"rps": 20_000}, 0.01),
    ("clean, 20,000 rps, errors at the objective", {"rps": 20_000, "errors": "0.97%", "p95": "98ms"}, 0.01),
    ("one of 3 pods dead 30 s, every 15 min, 200 rps", {"rps": 200, **pods("30s", "15m", pods=3, stablePods=3)}, 0.01),
    ("pods slow 10 times for 40 s every 15 min, 200 rps", {"rps": 200, **pods("40s", "15m", what="slow")}, 0.01),
    ("short hiccups, 4 s every 20 min, of 2 and 20 pods, 50 rps", {"rps": 50, **pods("4s", "20m", pods=2, stablePods=20)}, 0.01),
    (
        "the canary's only pod dead 20 s every 5 min, stable's never: 6.7 % worse, 20 rps",
        {"rps": 20, **pods("20s", "5m", stablePods=0)},
        1.0,
    ),
    ("pods dead 60 s every 40 min, 20 rps", {"rps": 20, **pods("60s", "40m")}, 0.01),
    ("errors drift, times 4 an hour, 100 rps", {"rps": 100, "errors": "0.7%", "drift": {"errorsPerHour": 4}}, 0.01),
    ("latency drifts, times 2 an hour, 100 rps", {"rps": 100, "drift": {"latencyPerHour": 2}}, 0.01),
    ("shared flicker of 100 % each 30 s, 100 rps", {"rps": 100, "flicker": {"spread": 1, "every": "30s", "shared": True}}, 0.01),
    ("own flicker of 50 % each 15 s, 100 rps", {"rps": 100, "flicker": {"spread": 0.5, "every": "15s"}}, 0.01),
    ("own flicker of 100 % each 60 s, 2,000 rps", {"rps": 2000, "flicker": {"spread": 1, "every": "60s"}}, 0.01),
    ("batches of 32, none told, 50 rps", {"rps": 50, "batch": 32}, 0.01),
    ("batches of 8, 1,000 rps", {"rps": 1000, "batch": 8}, 0.01),
    (
        "shared incident in the first minute, 50 rps",
        {"rps": 50, "incidents": [{"at": "20s", "length": "2m", "errors": "30%"}]},
        0.01,
    ),
    (
        "three shared slow-downs, 200 rps",
        {"rps": 200, "incidents": [{"at": f"{m}m", "length": "90s", "slower": 3} for m in (3, 9, 16)]},
        0.01,
    ),
    (
        "cold start 45 s, 3 times as slow, 2 % errors, 100 rps",
        {"rps": 100, "coldStart": {"length": "45s", "slower": 3, "errors": "2%"}},
        0.01,
    ),
    (
        "news missing 90 s every 6 min, batches of 4, 30 rps",
        {"rps": 30, "batch": 4, "gaps": {"length": "90s", "every": "6m"}},
        0.01,
    ),
    (
        "not scraped 40 s every 5 min, pods dead 20 s every 10 min, 30 rps",
        {"rps": 30, "gaps": {"length": "40s", "every": "5m", "what": "unscraped"}, **pods("20s", "10m")},
        0.01,
    ),
    ("2 pods dead 10 s every 3 min, 50 rps", {"rps": 50, **pods("10s", "3m", pods=2, stablePods=2)}, 0.01),
    ("5 pods dead 25 s every 12 min, 500 rps", {"rps": 500, **pods("25s", "12m", pods=5, stablePods=5)}, 0.01),
    ("10 pods dead 50 s every 30 min, 5,000 rps", {"rps": 5000, **pods("50s", "30m", pods=10, stablePods=10)}, 0.01),
    ("3 pods slow 3 times for 30 s every 7 min, 300 rps", {"rps": 300, **pods("30s", "7m", pods=3, what="slow", slower=3)}, 0.01),
    ("errors at 0.95 %, p95 99 ms, 50,000 rps", {"rps": 50_000, "errors": "0.95%", "p95": "99ms"}, 0.01),
    ("sigma 1, p95 95 ms, 100 rps", {"rps": 100, "sigma": 1.0, "p95": "95ms"}, 0.01),
    ("own flicker of 30 % each 2 min, 500 rps", {"rps": 500, "flicker": {"spread": 0.3, "every": "2m"}}, 0.01),
    ("own flicker of 50 % each 5 min, 200 rps", {"rps": 200, "flicker": {"spread": 0.5, "every": "5m"}}, 1.0),
    ("batches of 64, none told, 200 rps", {"rps": 200, "batch": 64}, 0.01),
    ("scraped once a minute, pods dead 20 s every 10 min, 50 rps", {"rps": 50, "scrape": "60s", **pods("20s", "10m")}, 0.01),
    (
        "all of it: batches, drift, hiccups, incident, 60 rps",
        {
            "rps": 60,
            "batch": 6,
            "drift": {"errorsPerHour": 2},
            "incidents": [{"at": "10m", "length": "60s", "errors": "15%"}],
            **pods("25s", "20m", pods=2),
        },
        0.01,
    ),
)
HELD_OUT_HARMS: tuple[tuple[str, dict[str, Any], dict[str, Any], str], ...] = (
    ("outage only at 100 %, 20 rps", {"outage": True, "fromWeight": "100%"}, {"rps": 20}, "errors"),
    (
        "outage only at 100 %, both at 0.9 % errors, 20 rps",
        {"outage": True, "fromWeight": "100%"},
        {"rps": 20, "errors": "0.9%"},
        "errors",
    ),
    ("outage only at 100 %, 2,000 rps", {"outage": True, "fromWeight": "100%"}, {"rps": 2000}, "errors"),
    ("errors 0.5 -> 10 % after 10 min, 20 rps", {"errors": "10%", "after": "10m"}, {"rps": 20}, "errors"),
    ("errors 2 -> 8 %, stable over the objective, 50 rps", {"errors": "8%"}, {"rps": 50, "errors": "2%"}, "errors"),
    ("outage, 0.05 rps", {"outage": True}, {"rps": 0.05}, "errors"),
    ("errors 0.5 -> 5 %, 20,000 rps", {"errors": "5%"}, {"rps": 20_000}, "errors"),
    ("outage with pods dead 20 s every 5 min, 20 rps", {"outage": True}, {"rps": 20, **pods("20s", "5m")}, "errors"),
    (
        "p95 80 -> 120 ms, flicker of 50 %, 100 rps",
        {"p95": "120ms"},
        {"rps": 100, "flicker": {"spread": 0.5, "every": "30s", "shared": True}},
        "slow",
    ),
    ("errors 0.5 -> 1.5 %, 200 rps", {"errors": "1.5%"}, {"rps": 200}, "errors"),
    ("errors 0.5 -> 0.9 %, within the objective, 2,000 rps", {"errors": "0.9%"}, {"rps": 2000}, "errors"),
    ("errors 0.5 -> 5 % in batches of 12, 50 rps", {"errors": "5%"}, {"rps": 50, "batch": 12}, "errors"),
    ("errors 0.5 -> 5 % from 25 % on, 50 rps", {"errors": "5%", "fromWeight": "25%"}, {"rps": 50}, "errors"),
    ("p95 80 -> 300 ms, 3 rps", {"p95": "300ms"}, {"rps": 3}, "slow"),
    (
        "errors 0.5 -> 10 % beside 3 pods dead 20 s every 10 min, 100 rps",
        {"errors": "10%"},
        {"rps": 100, **pods("20s", "10m", pods=3)},
        "errors",
    ),
    (
        "errors 0.5 -> 3 % beside 3 pods dead 30 s every 15 min, 200 rps",
        {"errors": "3%"},
        {"rps": 200, **pods("30s", "15m", pods=3, stablePods=3)},
        "errors",
    ),
    (
        "errors 0.5 -> 10 % two minutes after a shared incident, 50 rps",
        {"errors": "10%", "after": "4m"},
        {"rps": 50, "incidents": [{"at": "1m", "length": "2m", "errors": "20%"}]},
        "errors",
    ),
    ("half of the requests hang, 50 rps", {"hang": "50%"}, {"rps": 50}, "errors"),
)


def held_out() -> list[Cell]:
    """Anywhere in the window, weights that take 2 s, windows that can be read after 2 s; the product's defaults with retreat."""
    usual = {"scrape": "15s", "shift": "2s"}
    cells = [
        Cell("held out", row, "default", made({}, {**usual, **world}, DEFAULT, insist=True), "identical", "1 %", most)
        for row, world, most in HELD_OUT
    ]
    cells += [
        Cell("held out, harm", row, "default", made(harm, {**usual, **world}, DEFAULT, insist=True), kind)
        for row, harm, world, kind in HELD_OUT_HARMS
    ]
    return cells


def all_cells() -> list[Cell]:
    return [*without_retreat(), *with_retreat(), *by_tolerance(), *held_out()]

"""`make bench-judge`: the judge against its figures and in worlds that it was not designed for; writes docs/judge-tables.md.

Rounds of attempts of every world, one round after another, until `--attempts` or `--time` is reached; each round is kept in a
file, so that a run that was ended goes on where it was (and begins anew when the judge has changed). Identical versions get
three times as many attempts: a small share needs them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.judge_cells import Cell, all_cells
from rollout_controller.replay.attempt import Result
from rollout_controller.replay.figures import Figures, Share, figures, spread
from rollout_controller.replay.picture import picture
from rollout_controller.replay.simulate import Ask, simulate

ROOT = Path(__file__).parents[1]
PAGE, PICTURES, KEPT = ROOT / "docs" / "judge-tables.md", ROOT / "docs" / "images", ROOT / ".bench" / "judge.json"
MORE = 3
"""Times as many attempts of identical versions."""
ROUND = 8
SLOW_BY_S = 15.0
"""Slower than wanted by no more than this is not called slower: it is one scrape."""
INTRO = """# The judge's tables

Made by `make bench-judge` (at least {attempts} attempts with harm, {identical} of each identical version; seed {seed}). In
square brackets Wilson's 95 % interval of the simulated share; in round ones the figure wanted. **Bold**: surely more
than promised, or slower than wanted by more than a scrape. What the worlds are is in `benchmarks/judge_cells.py`, what they
assume in `rollout_controller/replay/world.py`; all of it runs through the product's own `decide`.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attempts", type=int, default=200, help="of each version that hurts (default 200)")
    parser.add_argument("--time", type=float, default=480.0, help="seconds after which no round is begun (default 480)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=0)
    parser.add_argument("--only", default="", help="worlds whose name has this in it; prints them and writes nothing")
    parser.add_argument("--fresh", action="store_true", help="forget earlier rounds")
    args = parser.parse_args()
    cells = [cell for cell in all_cells() if args.only in cell.name]
    results = _play(cells, args)
    found = {cell.name: figures(results[cell.name]) for cell in cells if results[cell.name]}
    cells = [cell for cell in cells if cell.name in found]
    watched = {} if args.only else _peers(cells, min(args.attempts, 100))
    text = _page(cells, found, watched, args.seed)
    sys.stdout.write(text)
    if not args.only:
        PAGE.write_text(text, encoding="utf-8")
        _pictures(cells, results)


# --- playing --------------------------------------------------------------------------------------------------


def _play(cells: Sequence[Cell], args: argparse.Namespace) -> dict[str, list[Result]]:
    kept = {} if args.fresh else _recall(args.seed)
    results: dict[str, list[Result]] = {cell.name: kept.get(_key(cell), []) for cell in cells}
    ends = time.monotonic() + args.time
    done = min(len(results[c.name]) // _times(c) for c in cells)
    while done < args.attempts and time.monotonic() < ends:
        size = min(ROUND, args.attempts - done)
        behind = [cell for cell in cells if len(results[cell.name]) // _times(cell) <= done]
        more = {cell.name: _times(cell) for cell in behind}
        left = max(ends - time.monotonic(), 1.0)
        ask = Ask({c.name: c.play for c in behind}, size, more, args.seed, done, args.processes, seconds=left)
        for name, some in simulate(ask).items():
            results[name] = results[name] + some
        done = min(len(results[c.name]) // _times(c) for c in cells)
        _keep(args.seed, {**kept, **{_key(cell): results[cell.name] for cell in cells}})
        sys.stderr.write(f"{done} of {args.attempts} attempts in each of {len(cells)} worlds\n")
    return results


def _times(cell: Cell) -> int:
    return MORE if cell.kind == "identical" else 1


def _key(cell: Cell) -> str:
    """Another policy or world under the same name is another cell."""
    return f"{cell.name} #{hashlib.sha256(repr(cell.play).encode()).hexdigest()[:12]}"


def _judge() -> str:
    """Changes when any code does that a result depends on."""
    rooms = [ROOT / "rollout_controller" / room for room in ("core", "api", "replay")]
    files = [path for room in rooms for path in sorted(room.rglob("*.py"))]
    files = [path for path in files if path.name not in {"figures.py", "picture.py", "simulate.py"}]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _recall(seed: int) -> dict[str, list[Result]]:
    try:
        said: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if (said.get("judge"), said.get("seed")) != (_judge(), seed):
        return {}
    return {name: [Result(*[*row[:-1], tuple(map(tuple, row[-1]))]) for row in rows] for name, rows in said["results"].items()}


def _keep(seed: int, results: dict[str, list[Result]]) -> None:
    KEPT.parent.mkdir(exist_ok=True)
    fresh = KEPT.with_suffix(".new")
    fresh.write_text(json.dumps({"judge": _judge(), "seed": seed, "results": results}), encoding="utf-8")
    fresh.replace(KEPT)


def _peers(cells: Sequence[Cell], attempts: int) -> dict[str, list[list[peers.PeerResult]]]:
    """By world the attempts, each with what every peer did."""
    asked = [cell for cell in cells if cell.table == "without retreat"]
    return {cell.name: [peers.watch(cell.play, f"1/{number}") for number in range(attempts)] for cell in asked}


# --- saying ---------------------------------------------------------------------------------------------------


def _page(cells: Sequence[Cell], found: dict[str, Figures], watched: dict[str, list[list[peers.PeerResult]]], seed: int) -> str:
    counts = [found[c.name].attempts for c in cells if c.kind == "identical"] or [0]
    hurt = [found[c.name].attempts for c in cells if c.kind != "identical"] or [0]
    lines = [INTRO.format(attempts=min(hurt), identical=min(counts), seed=seed)]
    titles = {
        "without retreat": "Without the retreat\n\nTolerance 60 / 120 s, 6 min each step, scrape 15 s, errors 0.5 %, p95 80 ms.",
        "with retreat": "With the retreat\n\nSeconds until traffic is off / until the verdict / failed requests (medians).",
        "tolerance": "Tolerances\n\nWith retreat, scrape 5 s. Pods of the canary die one at a time, at random; it has one.",
        "held out": "Held-out worlds, identical versions\n\nThe defaults (90 / 120 s, retreat), anywhere in the scrape interval.",
        "held out, harm": "Held-out worlds, versions that hurt\n\nSeconds until off / until the verdict / bad requests.",
    }
    for table, title in titles.items():
        mine = [cell for cell in cells if cell.table == table]
        if mine:
            lines += [f"## {title}\n", *_table(mine, found), "", *_shown(table)]
    if watched:
        lines += ["## What others do in the worlds of the first table\n", *_peer_table(cells, found, watched), ""]
    return "\n".join(lines)


def _shown(table: str) -> list[str]:
    """The picture below a table."""
    pictures = {"without retreat": "judge-20rps", "with retreat": "judge-retreat"}
    return [f"![{table}](images/{pictures[table]}.svg)", ""] if table in pictures else []


def _table(cells: Sequence[Cell], found: dict[str, Figures]) -> list[str]:
    columns = list(dict.fromkeys(cell.column for cell in cells))
    if all(column.endswith(" rps") for column in columns):
        columns.sort(key=lambda column: float(column.removesuffix(" rps")))
    rows: dict[str, dict[str, str]] = {}
    for cell in cells:
        rows.setdefault(cell.row, {})[cell.column] = _cell(cell, found[cell.name])
    lines = [f"| world | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    return [*lines, *(f"| {row} | {' | '.join(there.get(c, '') for c in columns)} |" for row, there in rows.items())]


def _cell(cell: Cell, found: Figures) -> str:
    back = found.outcomes["rolled-back"]
    wanted = f" ({cell.wanted})" if cell.wanted else ""
    if cell.kind == "identical":
        needless = f"; {found.needless:.2f} retreats" if found.needless >= 0.005 else ""
        others = sum(found.outcomes[o].count for o in ("gave-up", "paused", "not-started", "unfinished"))
        other = f"; {others} not through" if others else ""
        return _bold(f"{_share(back)}{needless}{other}{wanted}", back.interval[0] > cell.most_false)
    bad = found.failed if cell.kind == "errors" else found.slow
    if cell.table in {"with retreat", "held out, harm"}:
        times = f"{_number(found.off.median)} / {_number(found.verdict.median)} / {_number(bad.median)}"
        said = f"{times}{'' if back.value == 1 else f'; found {_share(back)}'}{wanted}"
        slower = _slower(found.off.median, cell.off) or _slower(found.verdict.median, cell.seconds)
        return _bold(said, slower)
    times = "" if found.verdict.median is None else f", {_number(found.verdict.median)} s, {_number(bad.median)}"
    return _bold(f"{_share(back)}{times}{wanted}", _slower(found.verdict.median, cell.seconds))


def _slower(measured: float | None, wanted: float | None) -> bool:
    return wanted is not None and (measured is None or measured > wanted + SLOW_BY_S)


def _bold(text: str, yes: bool) -> str:
    return f"**{text}**" if yes else text


def _share(share: Share) -> str:
    low, high = share.interval
    return f"{share.value * 100:.3g} % [{low * 100:.2g}, {high * 100:.3g}]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _peer_table(cells: Sequence[Cell], found: dict[str, Figures], watched: dict[str, list[list[peers.PeerResult]]]) -> list[str]:
    names = [peer.name for peer in peers.PEERS]
    lines = [f"| world | this judge | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for cell in cells:
        if cell.name not in watched:
            continue
        said = [_peer_cell([attempt[i] for attempt in watched[cell.name]], cell) for i in range(len(names))]
        mine = found[cell.name]
        own = f"{mine.outcomes['rolled-back'].value * 100:.3g} %"
        own += "" if mine.verdict.median is None else f", {_number(mine.verdict.median)} s"
        lines.append(f"| {cell.row}, {cell.column} | {own} | {' | '.join(said)} |")
    return lines


def _peer_cell(results: Sequence[peers.PeerResult], cell: Cell) -> str:
    back = Share(sum(r.verdict_s is not None for r in results), len(results))
    times = spread(r.verdict_s for r in results)
    text = f"{back.value * 100:.3g} %" + ("" if times.median is None else f", {_number(times.median)} s")
    return _bold(text, cell.kind == "identical" and back.interval[0] > cell.most_false)


PICTURED = {
    "judge-20rps": (
        "without retreat / identical, clean / 20 rps",
        "without retreat / errors 0.5 -> 5 % / 20 rps",
        "without retreat / errors 0.5 -> 2 % / 20 rps",
        "without retreat / p95 80 -> 120 ms / 20 rps",
    ),
    "judge-retreat": (
        "with retreat / identical, one total failure of 60 s, 20 rps / scrape 5s",
        "with retreat / outage, 20 rps / scrape 5s",
        "with retreat / outage only at >= 50 %, 20 rps / scrape 5s",
    ),
}


def _pictures(cells: Sequence[Cell], results: dict[str, list[Result]]) -> None:
    """Price and gain at 20 requests a second, and what the retreat does for users."""
    by_name = {cell.name: cell for cell in cells}
    for file, names in PICTURED.items():
        some = [by_name[name] for name in names if name in by_name]
        drawn = picture(file, {c.row: results[c.name] for c in some}, {c.row: c.play for c in some})
        (PICTURES / f"{file}.svg").write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()

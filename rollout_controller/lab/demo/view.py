"""The live view: one calm screen, drawn again in its place."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from rollout_controller.api.status import Phase, VerdictKind
from rollout_controller.core.explain.numbers import milliseconds, percent, percent_exact
from rollout_controller.core.explain.phase import span
from rollout_controller.lab.demo.scene import Limits, Scene, SlotScene
from rollout_controller.lab.demo.summary import Row, seconds

WIDEST = 140
"""On a wider screen the eye loses the line."""
BAR, BESIDE = 30, 76
"""Characters of a whole bar, and of all that stands beside it."""
TOLD = 4
"""How many of the last messages are shown."""
VERDICTS = {
    VerdictKind.SATISFIED: ("fine", "green"),
    VerdictKind.UNDECIDED: ("undecided", "default"),
    VerdictKind.VIOLATED: ("violated", "bold red"),
    VerdictKind.UNKNOWN: ("unknown", "yellow"),
}
GUARDS = {"fine": ("fine", "green"), "over": ("over", "yellow"), "unknown": ("unknown", "yellow")}
PHASES = {Phase.SUCCEEDED: "green", Phase.ROLLED_BACK: "red", Phase.ROLLING_BACK: "red"}
GPU_NOTE = "GPU use is played: there is no GPU here, a small exporter says what the models declare. All else is real."


def view(scene: Scene, limits: Limits, width: int) -> RenderableType:
    """The screen of one moment, on a terminal of that width."""
    bar = max(min(BAR, width - BESIDE), 4)
    parts: list[RenderableType] = [_head(scene), Text(), _slots(scene, limits, bar)]
    if checks := _checks(scene):
        parts += [Text(), checks]
    parts += [Text(), _why(scene)]
    if scene.told or scene.done:
        parts += [Text(), Rule(style="dim"), _so_far(scene)]
    parts += [Text(), Text(GPU_NOTE, "dim")]
    return Constrain(Padding(Group(*parts), (1, 1, 0, 1)), min(width, WIDEST))


def _head(scene: Scene) -> RenderableType:
    table = Table.grid(expand=True)
    table.add_column(ratio=1, no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    left = Text("rollouts demo", "bold")
    if scene.act is not None:
        left.append(f"   {scene.number} of {scene.total}", "dim")
    right = Text(scene.phase, PHASES.get(scene.phase, "cyan"))
    if scene.step is not None:
        right.append(f", step {scene.step[0]} of {scene.step[1]}", "default")
    right.append(f"   {span(scene.elapsed_s):>6}", "dim")
    table.add_row(left, right)
    if scene.act is None:
        return Group(table, Text("a little traffic first", "dim"))
    return Group(table, Text.assemble((f"version {scene.act.version}", "bold cyan"), (f": {scene.act.what}", "bold")))


def _slots(scene: Scene, limits: Limits, bar: int) -> RenderableType:
    table = Table.grid(padding=(0, 2), pad_edge=False)
    for justify in ("left", "left", "left", "right", "left", "right", "right", "right"):
        table.add_column(justify=justify, no_wrap=True)
    allowed_ms = f"at most {milliseconds(limits.latency_ms)}" if limits.latency_ms is not None else ""
    allowed_share = f"at most {percent_exact(limits.errors_share)}" if limits.errors_share is not None else ""
    quantile = f"p{limits.quantile * 100:g}"
    heads = ("", "", "", "", Text("traffic", "dim"), Text("req/s", "dim"), Text(quantile, "dim"), Text("errors", "dim"))
    table.add_row(*heads)
    for slot in scene.slots:
        table.add_row(*_slot(slot, limits, bar))
    table.add_row("", "", "", "", "", "", Text(allowed_ms, "dim"), Text(allowed_share, "dim"))
    return table


def _slot(slot: SlotScene, limits: Limits, size: int) -> list[Text]:
    colour = {"canary": "cyan", "stable": "default"}.get(slot.role, "dim")
    bar = Text("━" * round(slot.percent * size / 100), colour if slot.role == "canary" else "blue")
    bar.append("━" * (size - len(bar)), "bright_black dim")
    slow = limits.latency_ms is not None and slot.p95_ms is not None and slot.p95_ms > limits.latency_ms
    failing = limits.errors_share is not None and slot.failed_share is not None and slot.failed_share > limits.errors_share
    return [
        Text(slot.name, f"bold {colour}"),
        Text(f"version {slot.version}" if slot.version else "empty", colour if slot.version else "dim"),
        Text(slot.role, "dim"),
        Text(f"{slot.percent} %", "bold"),
        bar,
        Text(f"{slot.rps:.0f}" if slot.rps else "-", "default" if slot.rps else "dim"),
        Text("-" if slot.p95_ms is None else f"{slot.p95_ms:.0f} ms", "bold red" if slow else "default"),
        Text("-" if slot.failed_share is None else percent(slot.failed_share), "bold red" if failing else "default"),
    ]


def _checks(scene: Scene) -> RenderableType | None:
    table = Table.grid(padding=(0, 2), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, min_width=9)
    table.add_column()
    for verdict in scene.verdicts:
        word, style = VERDICTS[verdict.verdict]
        table.add_row(verdict.slo, Text(word, style), Text(verdict.sentence, "default"))
    for guard in scene.guards:
        word, style = GUARDS[guard.state]
        table.add_row(guard.guard, Text(word, style), Text(guard.sentence, "dim"))
    return table if table.row_count else None


def _why(scene: Scene) -> RenderableType:
    table = Table.grid(padding=(0, 2), pad_edge=False)
    table.add_row(
        Text("why", "dim"), Text(scene.sentence or "the controller has not looked yet", "bold" if scene.sentence else "dim")
    )
    return table


def _so_far(scene: Scene) -> RenderableType:
    table = Table.grid(padding=(0, 2), pad_edge=False)
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column()
    for row in scene.done:
        table.add_row(*_done(row))
    current = scene.done[-1:] and scene.act is not None and scene.done[-1].version == scene.act.version
    for told in () if current else scene.told[-TOLD:]:
        at = Text(f"{told.at - scene.told[0].at:+.0f} s".rjust(6), "dim")
        table.add_row(at, "", Text(told.sentence, "yellow" if told.warning else "default"))
    return table


def _done(row: Row) -> list[Text]:
    good = "green" if row.good else "bold red"
    text = Text(row.why)
    if row.harm_s is not None:
        text.append(f"   {seconds(row.harm_s)} from first harm to traffic off, {row.bad:,} bad requests", "dim")
    sign = "✓" if row.good else "✗"
    return [Text(f"{sign} version {row.version}", good), Text(row.outcome), text]

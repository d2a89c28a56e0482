"""What the dashboards are made of: panels with their queries, variables, links and annotations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "rollout-controller"
WIDTH = 24
GREEN, YELLOW, ORANGE, RED, BLUE, PURPLE, GREY = "green", "yellow", "orange", "red", "blue", "purple", "text"


class Query(NamedTuple):
    """One PromQL expression, and how its series are called."""

    expr: str
    legend: str = ""


class State(NamedTuple):
    """A value of a state's label, and its colour."""

    name: str
    color: str


Panel = Builder[dashboard.Panel]
Variable = Builder[dashboard.VariableModel]
Annotation = Builder[dashboard.AnnotationQuery]


def _target(query: Query, number: int, *, instant: bool) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(chr(ord("A") + number)).datasource(SOURCE)
    return target.instant() if instant else target.range()


def graph(
    title: str,
    says: str,
    unit: str,
    *queries: Query,
    width: int = 12,
    height: int = 8,
    top: float | None = None,
    log: bool = False,
    repeat: str | None = None,
) -> Panel:
    """Lines over time. `top`: the axis' end; `repeat`: the variable that has one panel for each value."""
    panel = timeseries.Panel().title(title).description(says).datasource(SOURCE).unit(unit).span(width).height(height)
    panel = panel.min(0).line_width(1).fill_opacity(8).show_points(common.VisibilityMode.NEVER)
    panel = panel.tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    panel = panel.legend(
        common_builders.VizLegendOptions()
        .show_legend(True)
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
    )
    if top is not None:
        panel = panel.max(top)
    if log:
        scale = common_builders.ScaleDistributionConfig().type(common.ScaleDistribution.LOG).log(10)
        panel = panel.min(1).scale_distribution(scale)
    if repeat is not None:
        panel = panel.repeat(repeat).repeat_direction("h").max_per_row(2)
    for number, query in enumerate(queries):
        panel = panel.with_target(_target(query, number, instant=False))
    return panel


def timeline(title: str, says: str, query: Query, states: Sequence[State], *, width: int = 24, height: int = 5) -> Panel:
    """One bar for each series, coloured by its state: the number that `numbered` gave it."""
    panel = statetimeline.Panel().title(title).description(says).datasource(SOURCE).span(width).height(height)
    panel = panel.mappings([_names(states)]).show_value(common.VisibilityMode.AUTO).merge_values(True).row_height(0.8)
    panel = panel.legend(
        common_builders.VizLegendOptions()
        .show_legend(False)
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
    )
    return panel.with_target(_target(query, 0, instant=False))


def figure(
    title: str,
    says: str,
    query: Query,
    *,
    unit: str = "short",
    width: int = 4,
    named: bool = False,
    steps: Sequence[tuple[float | None, str]] = ((None, BLUE),),
    states: Sequence[State] = (),
) -> Panel:
    """One number, coloured by its thresholds. `named`: the series' name instead of its value; `states`: the value's name."""
    panel = stat.Panel().title(title).description(says).datasource(SOURCE).unit(unit).span(width).height(4)
    panel = panel.color_mode(common.BigValueColorMode.VALUE).graph_mode(common.BigValueGraphMode.NONE).no_value("-")
    panel = panel.reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    if named:
        panel = panel.text_mode(common.BigValueTextMode.NAME)
    if states:
        panel = panel.mappings([_names(states)])
    limits = [dashboard.Threshold(value=value, color=color) for value, color in steps]
    panel = panel.thresholds(build.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(limits))
    return panel.with_target(_target(query, 0, instant=True))


def listing(
    title: str,
    says: str,
    query: Query,
    *,
    value: str,
    unit: str = "short",
    width: int = 12,
    columns: Mapping[str, str],
) -> Panel:
    """A table of the series of one moment. `columns`: the labels that are shown, and their headings; `value`: the value's."""
    hidden = {"Time": True}
    renamed = {**columns, "Value": value}
    arrange = {"excludeByName": hidden, "renameByName": renamed, "indexByName": {n: k for k, n in enumerate(renamed)}}
    panel = table.Panel().title(title).description(says).datasource(SOURCE).span(width).height(8).unit(unit)
    panel = panel.with_transformation(dashboard.DataTransformerConfig(id_val="organize", options=arrange))
    target = _target(query, 0, instant=True)
    return panel.with_target(target.format(PromQueryFormat.TABLE))


def numbered(metric: str, selector: str, label: str, states: Sequence[State], by: str) -> str:
    """PromQL: for each `by`, the number (from 1, in the order of `states`) of the state that is so now."""
    parts = [f'(max by ({by}) ({metric}{{{selector}, {label}="{state.name}"}}) == 1) * {n}' for n, state in enumerate(states, 1)]
    return "\nor ".join(parts)


def _names(states: Sequence[State]) -> dashboard.ValueMapping:
    options = {
        str(n): dashboard.ValueMappingResult(text=state.name, color=state.color, index=n - 1) for n, state in enumerate(states, 1)
    }
    return dashboard.ValueMap(options=options)


def data_source() -> Variable:
    """Which Prometheus."""
    return build.DatasourceVariable("datasource").label("Prometheus").type("prometheus")


def variable(name: str, label: str, query: str, *, many: bool = False, hidden: bool = False) -> Variable:
    """Values of a label. `many`: several, or all."""
    chosen = build.QueryVariable(name).label(label).query({"query": query, "refId": name}).datasource(SOURCE)
    chosen = chosen.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(dashboard.VariableSort.ALPHABETICAL_ASC)
    if hidden:
        chosen = chosen.hide(dashboard.VariableHide.HIDE_VARIABLE)
    if many:
        all_of_them = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
        chosen = chosen.multi(True).include_all(True).all_value(".*").current(all_of_them)
    return chosen


def annotation(name: str, color: str, expr: str, title: str) -> Annotation:
    """A mark at the time that the series have as their value, in milliseconds."""
    return (
        build.AnnotationQuery()
        .name(name)
        .datasource(SOURCE)
        .enable(True)
        .icon_color(color)
        .expr(expr)
        .step("15s")
        .use_value_for_time(True)
        .title_format(title)
        .tag_keys("namespace,rollout,event")
    )


class Board(NamedTuple):
    """One dashboard: what is in it, in the order of reading. A text among the panels begins a row."""

    uid: str
    title: str
    says: str
    variables: Sequence[Variable]
    panels: Sequence[Panel | str]
    annotations: Sequence[Annotation] = ()
    span: str = "now-1h"

    def build(self) -> dashboard.Dashboard:
        """As Grafana's model."""
        made = build.Dashboard(self.title).uid(self.uid).description(self.says).tags([TAG]).time(self.span, "now").refresh("10s")
        made = made.tooltip(dashboard.DashboardCursorSync.CROSSHAIR).timezone("browser").readonly()
        made = made.link(
            build.DashboardLink("Rollouts")
            .type(dashboard.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .keep_time(True)
            .include_vars(True)
        )
        for one in self.variables:
            made = made.with_variable(one)
        for mark in self.annotations:
            made = made.annotation(mark)
        for panel in self.panels:
            made = made.with_row(build.Row(panel)) if isinstance(panel, str) else made.with_panel(panel)
        built = made.build()
        for number, placed in enumerate(built.panels or [], 1):
            placed.id_val = number
        return built

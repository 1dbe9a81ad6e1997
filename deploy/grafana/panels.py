"""The few kinds of panel that our dashboards are made of, and a dashboard around them."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    Panel,
    Threshold,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
#: On every dashboard; their values are the reader's to set.
HOLDFAST: Final = "${holdfast}"
RUNBOOKS: Final = "${runbooks}"
#: The colour below the first limit, and from each limit on.
COLOURS: Final = ("green", "orange", "red")

#: An expression, and how its lines are called: `{{label}}` is a label's value.
Query = tuple[str, str]
Row = tuple[str, Sequence[Builder[Panel]]]


def graph(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    limit: float | None = None,
    stacked: bool = False,
    runbook: str = "",
) -> timeseries.Panel:
    """Lines over time. limit: where a red line is drawn. runbook: the alert that watches this."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .height(8)
        .span(8)
        .fill_opacity(20 if stacked else 8)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .links(_runbook(runbook))
    )
    for expr, legend in queries:
        panel.with_target(prometheus.Dataquery().expr(expr).legend_format(legend).range())
    if stacked:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    if limit is not None:
        panel.thresholds(_thresholds(None, limit)).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
        )
    return panel


def figure(
    title: str,
    description: str,
    unit: str,
    query: Query,
    limits: tuple[float | None, float] | None = None,
    *,
    low_is_bad: bool = False,
    runbook: str = "",
) -> stat.Panel:
    """One number now. limits: from where it is orange (None: nowhere) and red; below, if low is."""
    expr, legend = query
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .height(4)
        .span(4)
        .color_mode(BigValueColorMode.VALUE)
        .thresholds(_thresholds(*(limits or (None, None)), low_is_bad=low_is_bad))
        .with_target(prometheus.Dataquery().expr(expr).legend_format(legend).instant())
        .links(_runbook(runbook))
    )


def alerts() -> table.Panel:
    """The alerts that fire; each leads to its runbook."""
    firing = prometheus.Dataquery().expr('ALERTS{alertstate="firing"}').instant()
    return (
        table.Panel()
        .title("Alerts that fire")
        .description(
            "Watchdog always does. A name leads to its runbook: set `runbooks` above to where "
            "docs/runbooks can be read."
        )
        .datasource(SOURCE)
        .height(8)
        .span(12)
        .with_target(firing.format(PromQueryFormat.TABLE))
        .with_transformation(
            DataTransformerConfig(
                id_val="organize",
                options={"excludeByName": {"Time": True, "Value": True, "__name__": True}},
            )
        )
        .data_links(
            [dashboard.DashboardLink("Runbook").url(f"{RUNBOOKS}/${{__data.fields.alertname}}.md")]
        )
    )


def board(
    uid: str,
    title: str,
    description: str,
    variables: Iterable[Builder[Any]],
    rows: Iterable[Row],
) -> dashboard.Dashboard:
    """A dashboard with what all of ours have, and its rows."""
    made = (
        dashboard.Dashboard(f"Holdfast: {title}")
        .uid(uid)
        .description(description)
        .tags(["holdfast"])
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .readonly()
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Source").type("prometheus")
        )
        .link(
            dashboard.DashboardLink("Others")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["holdfast"])
            .as_dropdown(as_dropdown=True)
            .keep_time(keep_time=True)
        )
        .link(_link("Holdfast's own dashboard", f"{HOLDFAST}/dashboard"))
        .link(_link("Runbooks", f"{RUNBOOKS}/README.md"))
    )
    for variable in variables:
        made.with_variable(variable)
    made.with_variable(_text("holdfast", "Holdfast", "http://localhost:8000"))
    made.with_variable(
        _text("runbooks", "Runbooks", "https://git.example.com/holdfast/docs/runbooks")
    )
    for name, panels in rows:
        made.with_row(dashboard.Row(name))
        for panel in panels:
            made.with_panel(panel)
    return made


def choice(name: str, label: str, values_of: str) -> dashboard.QueryVariable:
    """A variable for some or all values of a label. values_of: a call of `label_values`."""
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(values_of)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(VariableOption(text="All", value="$__all"))
    )


def _text(name: str, label: str, value: str) -> dashboard.TextBoxVariable:
    return (
        dashboard.TextBoxVariable(name)
        .label(label)
        .default_value(value)
        .current(VariableOption(text=value, value=value))
    )


def _link(title: str, url: str) -> dashboard.DashboardLink:
    link = dashboard.DashboardLink(title).type(DashboardLinkType.LINK).url(url)
    return link.icon("external link").target_blank(target_blank=True)


def _runbook(alert: str) -> list[Builder[Any]]:
    return [_link(f"Runbook: {alert}", f"{RUNBOOKS}/{alert}.md")] if alert else []


def _thresholds(
    warn: float | None, bad: float | None, *, low_is_bad: bool = False
) -> dashboard.ThresholdsConfig:
    """Steps rise; the first has no value, and holds for what is below the next."""
    good, middle, worst = COLOURS
    if low_is_bad:
        steps = [(None, worst), (bad, good if warn is None else middle), (warn, good)]
    else:
        steps = [(None, good), (warn, middle), (bad, worst)]
    first, *others = steps
    return dashboard.ThresholdsConfig().steps(
        [Threshold(*first), *(Threshold(at, colour) for at, colour in others if at is not None)]
    )

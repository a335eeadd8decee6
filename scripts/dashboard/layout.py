"""Turns rows of panels into the JSON of a Grafana dashboard."""

import json
import string
from collections.abc import Iterable
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import (
    DatasourceVariable,
    QueryVariable,
    ThresholdsConfig,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from scripts.dashboard.panel import Panel, Row, Steps

SOURCE = models.DataSourceRef("prometheus", "${datasource}")
INPUT = "DS_PROMETHEUS"
HEIGHTS = {"stat": 4, "graph": 8, "stacked": 8, "heatmap": 8, "table": 6}
VARIABLES = (
    ("job", "label_values(rudolph_build_info, job)", False),
    ("instance", 'label_values(rudolph_build_info{job="$job"}, instance)', True),
    ("model", "label_values(rudolph_model_info, model)", True),
    ("worker", 'label_values(rudolph_model_info{model=~"$model"}, worker)', True),
    ("task", "label_values(rudolph_jobs_total, task)", True),
    ("tenant", "label_values(rudolph_jobs_accepted_total, tenant)", True),
)
"""Name, query, and whether several may be chosen."""
Built = timeseries.Panel | stat.Panel | heatmap.Panel | table.Panel


def build(rows: Iterable[Row], *, asks_for_source: bool) -> str:
    """Return the JSON. `asks_for_source`: Grafana's import dialog asks for the data source."""
    board = (
        dashboard.Dashboard("RuDOLPH server")
        .uid("rudolph")
        .tags(["rudolph"])
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .refresh("10s")
        .time("now-30m", "now")
        .with_variable(DatasourceVariable("datasource").label("data source").type("prometheus"))
        .annotation(_releases())
    )
    for name, query, several in VARIABLES:
        variable = QueryVariable(name).datasource(SOURCE).query(query).multi(several).include_all(several)
        if several and name != "worker":  # the workers of the chosen models are all that are listed
            variable.all_value(".*")
        board.with_variable(variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED))
    for number, row in enumerate(rows):
        board.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            board.with_panel(_panel(panel))
        if number == 0:
            board.with_panel(_alerts())
    return _encode(board.build(), asks_for_source=asks_for_source)


def _encode(board: models.Dashboard, *, asks_for_source: bool) -> str:
    plain: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True).encode(board))
    for number, panel in enumerate(plain["panels"], start=1):
        panel["id"] = number
    if asks_for_source:
        # Only the import dialog replaces these names; a provisioned file has the default data source.
        source = {"name": INPUT, "label": "Prometheus", "type": "datasource", "pluginId": "prometheus"}
        plain["__inputs"] = [{**source, "pluginName": "Prometheus", "description": ""}]
        plain["__requires"] = [
            {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "10.1.0"},
            {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
        ]
        plain["templating"]["list"][0]["current"] = {"text": "Prometheus", "value": f"${{{INPUT}}}"}
    return json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _panel(panel: Panel) -> Built:
    match panel.kind:
        case "stat":
            built: Built = (
                stat.Panel()
                .graph_mode(common_models.BigValueGraphMode.AREA)
                .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
            )
        case "heatmap":
            built = heatmap.Panel().y_axis(heatmap.YAxisConfig().unit(panel.unit)).calculate(False)
        case "table":
            built = table.Panel()
        case "graph" | "stacked":
            built = timeseries.Panel().line_width(1).fill_opacity(10 if panel.kind == "graph" else 40)
            if panel.kind == "stacked":
                built.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
            elif len(panel.steps) > 1:
                style = common.GraphThresholdsStyleConfig().mode(common_models.GraphTresholdsStyleMode.LINE)
                built.thresholds_style(style)
    for letter, (expression, legend) in zip(string.ascii_uppercase, panel.queries, strict=False):
        built.with_target(_query(panel, expression, legend).ref_id(letter))
    if panel.kind != "heatmap":
        built.unit(panel.unit)
    return (
        built.title(panel.title)
        .description(panel.text)
        .datasource(SOURCE)
        .span(panel.width)
        .height(HEIGHTS[panel.kind])
        .thresholds(_thresholds(panel.steps))
    )


def _query(panel: Panel, expression: str, legend: str) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(expression).legend_format(legend).datasource(SOURCE)
    if panel.kind == "table":
        return query.instant().format(PromQueryFormat.TABLE)
    if panel.kind == "heatmap":
        return query.format(PromQueryFormat.HEATMAP).exemplar(True)
    return query.range()


def _thresholds(steps: Steps) -> ThresholdsConfig:
    return (
        ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value, color) for value, color in steps])
    )


def _alerts() -> dashboard.Panel:
    options = {"alertName": "Rudolph", "maxItems": 30, "sortOrder": 3, "dashboardAlerts": False}
    shown = {
        "stateFilter": {"firing": True, "pending": True},
        "datasource": "${datasource}",
        "viewMode": "list",
    }
    text = "Alerts that fire or are pending. The annotation runbook_url of an alert names its page."
    return (
        dashboard.Panel()
        .type("alertlist")
        .title("Alerts")
        .description(text)
        .options(options | shown)
        .span(24)
        .height(6)
    )


def _releases() -> dashboard.AnnotationQuery:
    """Return a mark where a release appears that did not run five minutes before."""
    seen = "count by (version) (rudolph_build_info)"
    return (
        dashboard.AnnotationQuery()
        .name("Releases")
        .datasource(SOURCE)
        .enable(True)
        .icon_color("purple")
        .expr(f"{seen} unless {seen.replace('_info', '_info offset 5m')}")
    )

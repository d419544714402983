"""What is written from the table: Grafana's dashboard, Prometheus' rules, and a page.

`python -m marsmith.watch.files docs` writes them anew.

See: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model
and https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from marsmith.watch.table import Panel, Table, read

WIDTH, HEIGHT = 12, 8
"""Of a panel, in Grafana's grid of 24 columns."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
HEAD = """# Metrics

This page, [a dashboard](grafana/dashboard.json) and [rules](grafana/alerts.yaml) are written from
one table, `marsmith/watch/metrics.yaml`, by `python -m marsmith.watch.files docs`.

All are at `/metrics`, for keys with the scope `metrics`; [production.md](production.md#telemetry)
has what Prometheus is told, where the rules expect a job named `marsmith`. In Grafana, the
dashboard is taken by *Dashboards*, *New*, *Import*.
"""


def dashboard(table: Table) -> dict[str, Any]:
    """Grafana's dashboard, two panels in a row."""
    return {
        "uid": "marsmith",
        "title": "marsmith",
        "schemaVersion": 39,
        "timezone": "browser",
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                {
                    "name": "model",
                    "type": "query",
                    "datasource": SOURCE,
                    "query": "label_values(marsmith_workers_ready, model)",
                    "refresh": 2,
                    "includeAll": True,
                    "multi": True,
                    "allValue": ".*",
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": [_panel(panel, number) for number, panel in enumerate(table.panels)],
    }


def _panel(panel: Panel, number: int) -> dict[str, Any]:
    place = {"x": number % 2 * WIDTH, "y": number // 2 * HEIGHT, "w": WIDTH, "h": HEIGHT}
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": SOURCE,
            "expr": query.expr.replace("$range", "$__rate_interval"),
            "legendFormat": query.legend,
        }
        for index, query in enumerate(panel.queries)
    ]
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": targets,
    }


def rules(table: Table) -> dict[str, Any]:
    """Prometheus' alerting rules."""
    written = [
        {
            "alert": alert.name,
            "expr": alert.expr,
            "for": alert.lasts,
            "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.summary},
        }
        for alert in table.alerts
    ]
    return {"groups": [{"name": "marsmith", "rules": written}]}


def page(table: Table) -> str:
    """The page that says what each is."""
    metrics = [
        _row(f"`{each.name}{{{','.join(each.labels)}}}`", each.type, each.about)
        for each in table.metrics
    ]
    panels = [_row(each.title, each.about) for each in table.panels]
    alerts = [
        _row(f"`{each.name}`", each.severity, f"`{each.expr}`", each.lasts) for each in table.alerts
    ]
    return "\n".join(
        [
            *(HEAD, _row("metric", "type", ""), _row(*["---"] * 3), *metrics),
            *("", "## Panels", "", _row("panel", ""), _row(*["---"] * 2), *panels),
            *("", "## Alerts", "", _row("alert", "severity", "holds", "for"), _row(*["---"] * 4)),
            *(*alerts, ""),
        ]
    )


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def files(table: Table) -> dict[str, str]:
    """What is written, by the path within the folder of documents."""
    return {
        "grafana/dashboard.json": json.dumps(dashboard(table), indent=2) + "\n",
        "grafana/alerts.yaml": yaml.safe_dump(rules(table), sort_keys=False, width=100),
        "metrics.md": page(table),
    }


def write(folder: Path) -> None:
    """Write all files into a folder."""
    for name, text in files(read()).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Write a dashboard, rules and a page.")
    arguments.add_argument("folder", type=Path, help="Where they go.")
    write(arguments.parse_args().folder)

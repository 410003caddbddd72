"""Every metric of a report by name as Markdown: its definition, and the rows from which it is computed."""

from __future__ import annotations

from bench.analysis.measures import METRICS


def metrics() -> str:
    """Return a table of all metrics, in the order of the registry."""
    lines = ["| name | definition | rows |", "|---|---|---|"]
    for name, metric in METRICS.items():
        columns = ", ".join(f"`{column}`" for column in metric.columns)
        definition = " ".join(metric.about.split()).replace("|", "\\|")
        lines.append(f"| `{name}` | {definition} | `samples/{metric.table}`: {columns} |")
    return "\n".join(lines)

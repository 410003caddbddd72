"""The report of a run as one HTML page, rendered from the stored rows.

The page is self-contained: it loads nothing, and text from files and plugins is escaped. Each section is built by a
module of this package and printed by a template in `templates/`.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment

from bench.analysis import claim_results
from bench.analysis.rows import Rows
from bench.analysis.tables.client_cost import COUNTED
from bench.analysis.tables.row_layout import CONTROL
from bench.analysis.tables.summary import BARS
from bench.api.types import Section
from bench.core.files import write_atomically
from bench.core.text import plural
from bench.report.page import (
    assets,
    attack_strength,
    claims,
    exposed,
    judges,
    leakage_ladder,
    provenance,
    run_facts,
    several_runs,
    standard_line,
    threat_models,
    threshold_tables,
)
from bench.report.page.attack_strength import StrengthSection
from bench.report.page.evidence import Evidence, order, support
from bench.report.page.experiments import ExperimentSection, parts
from bench.report.page.image_budget import Album
from bench.report.page.missing_cells import gaps, smaller_batches, unfinished
from bench.report.page.recommendation import RecommendationSection, controls_section, rulings
from bench.report.page.run_facts import Grid
from bench.report.page.trimmed_tables import reasons
from bench.report.page_key import page_key, sealed
from bench.report.page_text import environment, finished, script_data
from bench.store.reading import RunResults


def render(results: RunResults, sections: Sequence[Section] = (), *, include_real_faces: bool = False) -> str:
    """Return the page of a run, or of several joined runs, as HTML.

    ``sections`` come from plugins and hold text only. Pictures of real faces are shown only if ``include_real_faces``;
    synthetic faces are always shown.
    """
    rows = Rows(results)
    evidence, album = Evidence(rows), Album()
    found = parts(rows, include_real_faces, album)
    judged = several_runs.judge(rows)
    ruled = rulings(rows)
    strength = attack_strength.section(rows)
    context: dict[str, Any] = {
        "suite": results.run.suite,
        "standard": standard_line.quoted(rows),
        "unfinished": unfinished(rows),
        "synthetic": rows.synthetic,
        "badges": run_facts.badges(rows, include_real_faces=include_real_faces),
        "parts": found,
        "ladder": leakage_ladder.drawn(rows),
        "strength": strength,
        "exposed": exposed.section(rows),
        "verdicts": ruled,
        "controls": controls_section(rows),
        "judges": judges.sentence(rows),
        "shared_facts": judges.shared_facts(rows),
        "counted": COUNTED,
        "claims": claims.claims(judged, rows.defense_names),
        "tally": claim_results.tally(judged),
        "bars": BARS,
        "facts": run_facts.facts(rows),
        "thresholds": [t for t in (threshold_tables.deployed(rows), threshold_tables.adversaries(rows)) if t.grid.rows],
        "adversaries": threat_models.adversaries(rows),
        "promises": threat_models.promises(rows),
        "gaps": gaps(rows),
        "smaller": smaller_batches(rows),
        "methods": run_facts.methods(rows),
        "commands": provenance.commands(rows, _names(found), bool(judged)),
        "together": several_runs.together(rows),
        "sections": [_section(s) for s in sections],
        **_origins(rows),
    }
    plots = _plots(found, ruled, strength)
    scripts = assets.scripts(charts=bool(plots), tables=bool(found))
    context |= {
        "styles": assets.styles(),
        "pictures": album.styles(),
        "scripts": scripts,
        "policy": assets.policy(scripts),
        # The template calls it last, when all measurements are printed.
        "data": lambda: script_data({"rows": evidence.data(), "charts": plots}),
    }
    html = _environment(evidence).get_template("page.html.j2").render(context)
    return finished(html, scripts)


def _origins(rows: Rows) -> dict[str, Any]:
    """Return what the page says about where its rows come from."""
    return {
        "identities": provenance.identities(rows),
        "again": provenance.again(rows),
        "components": provenance.components(rows),
        "notes": provenance.notes(rows),
        "unusable": provenance.plugins(rows),
        "stages": provenance.stages(rows),
        "totals": provenance.totals(rows),
    }


def _plots(
    found: Sequence[ExperimentSection], ruled: Sequence[RecommendationSection], strength: StrengthSection | None
) -> dict[str, Any]:
    """Return the plots of the page by their ids, with what they share; empty if the page has none."""
    plots = {d.id: d.plot for part in found for d in (*part.charts, part.scatter) if d}
    plots |= {d.id: d.plot for d in (strength.charts if strength else ())}
    plots |= {one.chart: one.plot for one in ruled if one.plot}
    if not plots:
        return {}
    from bench.report.charts import drawing  # This import is slow, and not every page has charts.

    return {**drawing.shared(), "plots": plots}


def _names(found: Sequence[ExperimentSection]) -> list[str]:
    """Return the names of the main tables of all experiments, as ``bench export`` takes them."""
    return [t.name for part in found for t in part.main]


def write_report(
    results: RunResults, path: Path, sections: Sequence[Section] = (), *, include_real_faces: bool = False
) -> Path:
    """Write the page of a run atomically and return its path. Raise `StorageError` if it cannot be written.

    A page of a single run ends with the line by which `bench.report.page_key` recognises it.
    """
    with _without_garbage_collection():
        html = render(results, sections, include_real_faces=include_real_faces)
    if len(results.runs) == 1:
        html = sealed(html, page_key(results.folder, sections, include_real_faces=include_real_faces))
    write_atomically(path, html)
    return path


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Turn off the garbage collector within the context.

    The page of a large run consists of millions of small objects that are needed until it is written. Searching them
    for reference cycles takes a fifth of the time and finds none.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _section(section: Section) -> dict[str, Any]:
    """Return the title and the table of a plugin's section as text."""
    columns = [str(c) for c in section.columns]
    rows = [["" if v is None else str(v) for v in row] for row in section.rows]
    return {"title": str(section.title), "grid": Grid(columns=columns, rows=rows)}


def _environment(evidence: Evidence) -> Environment:
    """Return the Jinja environment of the page, which escapes everything and knows the functions of the templates."""
    found = environment("bench.report.page")
    found.globals.update(plural=plural, reasons=reasons, opens=evidence.mark, axes=evidence.axes)
    found.globals.update(control_words=CONTROL)
    found.globals.update(printed=evidence.number, measured=evidence.measured, support=support, order_key=order)
    return found

"""Rows -> one self-contained HTML page: nothing is loaded, everything from files and plugins is escaped."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from bench import verdicts
from bench.cache import write_atomically
from bench.hookspecs import Section
from bench.report.figures import plural
from bench.report.page import claims, facts, ladder, methods, provenance, threats, together, web
from bench.report.page.album import Album
from bench.report.page.evidence import Evidence, order, support
from bench.report.page.facts import Grid
from bench.report.page.gaps import gaps, smaller_batches, unfinished
from bench.report.page.parts import Part, parts
from bench.report.page.tidy import reasons
from bench.report.page.verdict import PARETO, Ruling, ruling
from bench.report.rows import Rows
from bench.report.tables.cost import COUNTED
from bench.report.tables.summary import BARS
from bench.store import Results


def render(results: Results, sections: Sequence[Section] = (), *, include_real_faces: bool = False) -> str:
    """The page of a run, or of several that are read as one, as HTML.

    ``sections`` are those of plugins, text only. Pictures of real faces are left out unless they are asked for;
    synthetic ones are always shown.
    """
    rows = Rows(results)
    evidence = Evidence(rows)
    album = Album()
    found = parts(rows, include_real_faces, album)
    judged = together.judge(rows)
    ruled = ruling(rows)
    grid, about = methods.thresholds(rows)
    context: dict[str, Any] = {
        "suite": results.run.get("suite") or {},
        "unfinished": unfinished(rows),
        "synthetic": rows.synthetic,
        "stand_in_models": facts.stand_in_models(rows),
        "shown": facts.licenses(rows) if include_real_faces else [],
        "real": list(dict.fromkeys(c.dataset for c in rows.cells if not c.synthetic)),
        "parts": found,
        "ladder": ladder.drawn(rows),
        "verdict": ruled,
        "counted": COUNTED,
        "claims": claims.claims(judged),
        "tally": verdicts.tally(judged),
        "bars": BARS,
        "facts": facts.facts(rows),
        "thresholds": grid,
        "thresholds_about": about,
        "adversaries": threats.adversaries(rows),
        "promises": threats.promises(rows),
        "gaps": gaps(rows),
        "smaller": smaller_batches(rows),
        "methods": methods.methods(rows),
        "commands": provenance.commands(rows, _names(found), bool(judged)),
        "together": together.together(rows),
        "identities": provenance.identities(rows),
        "again": provenance.again(rows),
        "components": provenance.components(rows),
        "unusable": provenance.plugins(rows),
        "stages": provenance.stages(rows),
        "totals": provenance.totals(rows),
        "sections": [_section(s) for s in sections],
    }
    plots = _plots(found, ruled)
    scripts = web.scripts(charts=bool(plots), tables=bool(found))
    context |= {
        "styles": web.styles(),
        "pictures": album.styles(),
        "scripts": scripts,
        "policy": web.policy(scripts),
        "data": lambda: web.data({"rows": evidence.data(), "charts": plots}),  # called when everything else is printed
    }
    return _environment(evidence).get_template("page.html.j2").render(context)


def _plots(found: Sequence[Part], ruled: Ruling | None) -> dict[str, Any]:
    """The plots of the page by their ids, with what they share; empty where there are none."""
    plots = {d.id: d.plot for part in found for d in (*part.charts, part.scatter) if d}
    plots |= {PARETO: ruled.plot} if ruled and ruled.plot else {}
    if not plots:
        return {}
    from bench.report.charts import drawing  # takes a while to import

    return {**drawing.shared(), "plots": plots}


def _names(found: Sequence[Part]) -> list[str]:
    """The tables that answer the experiments, by the names that ``bench export`` takes."""
    return [t.name for part in found for t in part.main]


def write_report(
    results: Results, path: Path, sections: Sequence[Section] = (), *, include_real_faces: bool = False
) -> Path:
    """Write the page of a run, whole or not at all; return where it is. Raises `StorageError`."""
    with _no_search_for_cycles():
        write_atomically(path, render(results, sections, include_real_faces=include_real_faces))
    return path


@contextlib.contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """A page of a large run is made of millions of small objects that all live until it is written: to look for cycles
    among them again and again takes a fifth of the time, and finds none."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _section(section: Section) -> dict[str, Any]:
    columns = [str(c) for c in section.columns]
    rows = [["" if v is None else str(v) for v in row] for row in section.rows]
    return {"title": str(section.title), "grid": Grid(columns=columns, rows=rows)}


def _environment(evidence: Evidence) -> Environment:
    environment = Environment(
        loader=PackageLoader("bench.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(plural=plural, reasons=reasons, opens=evidence.mark, axes=evidence.axes)
    environment.globals.update(printed=evidence.number, support=support, order_key=order)
    return environment

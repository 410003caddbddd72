"""A site of static pages about several runs: leaderboards, and a page for each defense, attacker, data set, recogniser
and run. It works offline and on any host of files.

Every number is computed by the functions of the report, from the rows of the runs. Each page is self-contained, as the
report is: it loads nothing, runs only the scripts that its policy lists, and every text of a run is escaped.
"""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment

from bench.analysis.tables.assessed_defense import CHANCE, LEAKAGE
from bench.analysis.tables.client_cost import COUNTED, FLOPS, LATENCY
from bench.core.files import write_atomically
from bench.core.paths import below
from bench.core.provenance import VERSION
from bench.core.text import plural
from bench.report.page import assets as report_assets
from bench.report.page.evidence import order, support
from bench.report.page_text import environment, finished, script_data
from bench.report.site import assets
from bench.report.site.attack_page import attacker_pages
from bench.report.site.defense_page import defense_page, kinds_of, strength_of
from bench.report.site.documentation import Installed
from bench.report.site.fact_pages import calibrations_of, dataset_pages, judge_pages, run_pages, verification_in_words
from bench.report.site.folder import INDEX, replacing_site
from bench.report.site.leaderboard import board_sections
from bench.report.site.links import Content
from bench.report.site.paths import SitePage, entry
from bench.report.site.sources import Source
from bench.report.site.standings import boards


def write_site(
    sources: Sequence[Source], folder: Path, arguments: Sequence[str], output: str, installed: Installed | None = None
) -> list[Path]:
    """Write the pages of a site and return their paths, the first page first. ``arguments`` and ``output`` are those of
    the command, which every page names; ``installed`` are the components whose documentation is shown, by default none.

    Pages of an earlier site in the folder are replaced all at once (`bench.report.site.folder`); those that are no
    longer made are removed. Raises `StorageError` if the folder holds something else than a site, if another command
    writes to it, or if it cannot be written.
    """
    with replacing_site(folder) as unfinished:
        content = Content(boards=boards(sources), sources=sources, installed=installed or {})
        pages = list(_pages(content))
        common = _common(content, pages, shlex.join(["bench", "site", *arguments, "-o", output]))
        env = _environment()
        for page in pages:
            write_atomically(below(unfinished, page.path), _html(env, page, common))
    return [below(folder, page.path) for page in pages]


def _common(content: Content, pages: Sequence[SitePage], command: str) -> dict[str, Any]:
    """Return what every page shows or needs."""
    sources = content.sources
    return {
        "index": [entry(page) for page in pages],
        "made": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "version": VERSION,
        "command": command,
        "sources": [(source, content.page_of_source(source)) for source in sources],
        "synthetic": any(c.synthetic for source in sources for c in source.rows.cells),
        "styles": assets.styles(),
    }


def _pages(content: Content) -> Iterator[SitePage]:
    """Yield all pages, the leaderboards first."""
    attackers = attacker_pages(content)
    calibrations = list(calibrations_of(content))
    datasets, judges = dataset_pages(content, calibrations), judge_pages(content, calibrations)
    runs = run_pages(content)
    sections = board_sections(content)
    listed = {"attackers": attackers, "datasets": datasets, "judges": judges, "runs": runs}
    yield SitePage(INDEX, "index.html.j2", "Leaderboard", "leaderboard", {"sections": sections, **listed})
    strengths = {source.name: strength_of(source.rows) for source in content.sources}
    for one in content.standings:
        page = defense_page(content, one, strengths[one.source.name])
        about = {"page": page, "one": one, "run_path": content.page_of_source(one.source), "kinds": kinds_of(one)}
        words = " ".join([one.cell.plugin, one.entry.goal, one.family, one.badge, one.mark, one.source.name])
        yield SitePage(content.page_of(one), "defense.html.j2", one.name, "defense", about, words)
    for attacker in attackers:
        words = f"{attacker.channel} {attacker.attacker.plugin} {attacker.knowledge}"
        yield SitePage(attacker.path, "attack.html.j2", attacker.name, "attack", {"page": attacker}, words)
    for facts, what in [*((p, "data set") for p in datasets), *((p, "recogniser") for p in judges)]:
        own = [(source, content.page_of_source(source)) for source in facts.sources]
        about = {"page": facts, "what": what.capitalize(), "own": own}
        yield SitePage(facts.path, "facts.html.j2", facts.name, what, about, facts.facts[0][1])
    for run in runs:
        yield SitePage(run.path, "run.html.j2", run.source.name, "run", {"page": run})


def _html(env: Environment, page: SitePage, common: Mapping[str, Any]) -> str:
    scripts = assets.scripts(board=page.path == INDEX)
    context = {
        **common,
        **page.about,
        "title": page.title,
        "path": page.path,
        "root": "../" * page.path.count("/"),
        "scripts": scripts,
        "policy": report_assets.policy(scripts),
        "data": script_data({"pages": common["index"]}),
    }
    return finished(env.get_template(page.template).render(context), scripts)


def _environment() -> Environment:
    found = environment("bench.report.site")
    found.globals.update(plural=plural, support=support, order_key=order, counted=COUNTED)
    found.globals.update(leakage_metric=LEAKAGE, chance_metric=CHANCE, flops_metric=FLOPS, latency_metric=LATENCY)
    found.globals.update(verification=verification_in_words)
    return found

"""Calls the report hooks of plugins one at a time, so that a plugin that fails does not affect the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pluggy import HookImpl

from bench.api.results import Results
from bench.api.types import Section
from bench.core.errors import error_text
from bench.registry.discovery import discover


def _call(implementation: HookImpl, **arguments: object) -> Any:
    """Call one implementation of a hook with the arguments that it accepts, which may be fewer than the hook has."""
    return implementation.function(*(arguments[name] for name in implementation.argnames))


def report_sections(results: Results) -> list[Section]:
    """Return the sections that plugins add to the report of one or several runs.

    The plugins see one run at a time. A plugin that fails gets a section that names the problem.
    """
    sections: list[Section] = []
    for name, run in zip(results.names, results.runs, strict=True):
        for section in _sections_of(run):
            sections.append(replace(section, title=f"{section.title} ({name})") if name else section)
    return sections


def _sections_of(run: Results) -> Iterator[Section]:
    for implementation in discover().manager.hook.bench_report_sections.get_hookimpls():
        try:
            yield from list(_call(implementation, results=run))
        except Exception as error:
            problem = f"the plugin failed with {error_text(error)}"
            title = f"From {implementation.plugin_name}"
            yield Section(title=title, columns=("problem",), rows=((problem,),))

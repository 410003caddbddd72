"""Write the measured tables of the design pages from runs of the suites ``tuning-*.toml``: ``make tuning``.

``python docs/design/tuning.py [NAME ...]`` reads the latest run of ``tuning-NAME`` (by default of ``pmt``, ``recface``
and ``inversion``), applies the rule of the page to its rows, and writes the table and the chosen setting between
``<!-- tuning:NAME -->`` and ``<!-- /tuning:NAME -->``. Everything outside these markers is written by hand. It prints
the chosen settings.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.analysis.measures import measure, metric_named, select
from bench.analysis.rows import CellRow, Rows
from bench.analysis.table_model import Measurement
from bench.store.reading import RunResults
from bench.store.run_folders import find_run

HERE = Path(__file__).parent
TOLERANCE = 0.01  # By how much the authorised accuracy of PMT's setting may lie below the best one.
RECFACE_STEPS = 1000  # The budgets within which the strongest attack is chosen.
INVERSION_STEPS = 100
CHOSEN = "Chosen by the rule:"
_ACCURACY, _MATCHED = "authorised: accuracy", "held-out: matched"

Params = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Column:
    """A measured column: a metric of the cells of one role and one defense (any defense if it is empty)."""

    heading: str
    metric: str
    role: str
    defense: str = ""

    def of(self, rows: Rows, cells: Sequence[CellRow]) -> Measurement:
        """Return the measurement over the cells of a setting; one without a value if the setting has no such cell.

        Of the models that are not authorised, only the judge of the run counts.
        """
        own = [c for c in cells if c.role == self.role and self.defense in ("", c.defense)]
        judge = judge_of(rows)
        return measure(rows, [c for c in own if c.role == "authorised" or c.evaluated == judge], self.metric)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A row of a page: its parameters and its measurements by the headings of their columns."""

    params: Params
    measured: Mapping[str, Measurement]

    def value(self, column: str) -> float:
        """Return the value of the column with a heading. Raises ValueError if it was not measured."""
        found = self.measured[column]
        if found.value is None:
            raise ValueError(f"{dict(self.params)}: {column} was not measured: {found.status}, {found.reason}")
        return found.value


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page with one table: the experiments that it shows, its parameters and columns, and the rule of choice."""

    name: str
    file: str
    experiments: Sequence[str]
    shown: Mapping[str, str]  # The parameters that a row shows, with their headings.
    chosen: Sequence[str]  # Those of them that the rule chooses.
    params: Callable[[CellRow], Params]
    columns: Sequence[Column]
    choose: Callable[[Sequence[Setting]], Setting]


def judge_of(rows: Rows) -> str:
    """Return the held-out recogniser of a run: the only model that is evaluated and authorised nowhere. Raises
    ValueError if there is none, or more than one."""
    authorised = {model for c in rows.cells for model in c.authorised_models}
    found = sorted({c.evaluated for c in rows.cells if c.evaluated} - authorised)
    if len(found) != 1:
        names = ", ".join(found) or "none"
        raise ValueError(f"{rows.results.folder}: expected one evaluated model that nobody authorises, found {names}")
    return found[0]


def _lowest_leak(settings: Sequence[Setting]) -> Setting:
    """Return the setting of PMT with the lowest leakage among those about as accurate as the best; then the fewest
    steps. Only settings with the paper's start and without pooling take part."""
    own = [s for s in settings if (s.params["init_std"], s.params["pool"]) == (1.0, 0)]
    best = max(s.value(_ACCURACY) for s in own)
    useful = [s for s in own if s.value(_ACCURACY) >= best - TOLERANCE - 1e-9]
    return min(useful, key=lambda s: (s.value(_MATCHED), s.params["steps"]))


def _strongest(settings: Sequence[Setting], most: int, **fixed: Any) -> Setting:
    """Return the setting of an attack with the most leakage of PMT within ``most`` steps; then the highest cosine, and
    the fewest steps. Only settings with the ``fixed`` parameters take part."""
    own = [s for s in settings if s.params["steps"] <= most and fixed.items() <= s.params.items()]
    return max(own, key=lambda s: (s.value("PMT: matched"), s.value("PMT: cosine"), -s.params["steps"]))


def _against(label: str, defense: str) -> list[Column]:
    """Return the columns of the reconstructions of one defense's uploads."""
    return [
        Column(heading=f"{label}: matched", metric="fmr-match", role="unauthorised", defense=defense),
        Column(heading=f"{label}: rank 1", metric="rank-1", role="unauthorised", defense=defense),
        Column(heading=f"{label}: cosine", metric="cosine", role="unauthorised", defense=defense),
        Column(heading=f"{label}: SSIM", metric="ssim", role="unauthorised", defense=defense),
    ]


_OF_PMT = [
    *_against("PMT", "PMT"),
    Column(heading="PMT: COS, authorised", metric="cosine", role="authorised", defense="PMT"),
]
PAGES = (
    Page(
        name="pmt",
        file="pmt-defaults.md",
        experiments=["pmt"],
        shown={"steps": "K", "step_size": "alpha", "init_std": "start", "pool": "pool"},
        chosen=["steps", "step_size"],
        params=lambda cell: cell.params,
        columns=[
            Column(heading=_ACCURACY, metric="accuracy", role="authorised"),
            Column(heading=_MATCHED, metric="fmr-match", role="unauthorised"),
            Column(heading="held-out: another picture matched", metric="enrolled-match", role="unauthorised"),
            Column(heading="held-out: accuracy", metric="accuracy", role="unauthorised"),
            Column(heading="SSIM", metric="ssim", role="unauthorised"),
            Column(heading="authorised: cosine to the original", metric="cosine", role="authorised"),
        ],
        choose=_lowest_leak,
    ),
    Page(
        name="recface",
        file="recface.md",
        experiments=["recface", "recface-adaptive"],
        shown={"stages": "stages", "pairs": "trained on", "steps": "steps"},
        chosen=["steps"],
        params=lambda cell: cell.attack_params,
        columns=[*_OF_PMT, *_against("unprotected", "Unprotected")],
        choose=lambda s: _strongest(s, RECFACE_STEPS, stages="all", pairs="defense"),
    ),
    Page(
        name="inversion",
        file="inversion.md",
        experiments=["inversion"],
        shown={
            "steps": "steps", "tv_weight": "lambda", "update": "update", "step_size": "alpha", "start": "start",
            "stages": "stages",
        },
        chosen=["steps", "tv_weight", "update", "step_size"],
        params=lambda cell: cell.attack_params,
        columns=_OF_PMT,
        choose=lambda s: _strongest(s, INVERSION_STEPS, stages="all", start="grey"),
    ),
)  # fmt: skip


def settings_of(page: Page, rows: Rows) -> list[Setting]:
    """Return the settings that a run measured for a page, in the suite's order. Raises ValueError if there are none."""
    groups: dict[tuple[Any, ...], tuple[Params, list[CellRow]]] = {}
    for cell in select(rows, experiment=page.experiments):
        params = page.params(cell)
        own = {name: params[name] for name in page.shown}
        groups.setdefault(tuple(own.values()), (own, []))[1].append(cell)
    if not groups:
        raise ValueError(f"{rows.results.folder}: expected cells of {', '.join(page.experiments)}, found none")
    return [
        Setting(params=p, measured={c.heading: c.of(rows, cells) for c in page.columns}) for p, cells in groups.values()
    ]


def table_of(page: Page, settings: Sequence[Setting], chosen: Setting) -> str:
    """Return the Markdown table of a page, with the chosen setting in bold."""
    metrics = [metric_named(c.metric) for c in page.columns]
    headings = [*page.shown.values()]
    for column, metric in zip(page.columns, metrics, strict=True):
        measured = [s.measured[column.heading] for s in settings]
        counts = sorted({found.support for found in measured if found.value is not None})
        unit = f", {metric.unit}" if metric.unit else ""
        headings.append(f"{column.heading}{unit}; N {' or '.join(counts)}")
    lines = [headings, ["---"] * len(headings)]
    for setting in settings:
        cells = [f"{value:g}" if isinstance(value, float) else str(value) for value in setting.params.values()]
        for found, metric in zip(setting.measured.values(), metrics, strict=True):
            span = metric.span(found.low, found.high)
            cells.append("" if found.value is None else metric.shown(found.value) + (f" ({span})" if span else ""))
        lines.append([f"**{cell}**" if cell and setting is chosen else cell for cell in cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def block_of(page: Page, rows: Rows) -> str:
    """Return what stands between the markers of a page: its table, the chosen setting, and where both are from."""
    settings = settings_of(page, rows)
    chosen = page.choose(settings)
    run = rows.results.run
    commit, _, dirty = (run.commit or "unknown").partition("+")
    words = f"{CHOSEN} {', '.join(f'`{name} = {_toml(chosen.params[name])}`' for name in page.chosen)}."
    source = (
        f"Values with 95 % intervals, measured by `make tuning`: run {rows.results.folder.name}, plan "
        f"{(run.digest or 'unknown')[:16]}, commit {commit[:12]}{' with changes' if dirty else ''}, suite file "
        f"sha256 {(run.suite.sha256 or 'unknown')[:16]}, on {run.device_name or run.device or 'an unknown machine'}."
    )
    return "\n\n".join([table_of(page, settings, chosen), words, textwrap.fill(source, 120)])


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def replaced(text: str, name: str, block: str) -> str:
    """Return the text of a page with another block between its markers. Raises ValueError if it lacks the markers."""
    begin, end = f"<!-- tuning:{name} -->", f"<!-- /tuning:{name} -->"
    found, count = re.subn(f"{begin}.*?{end}", lambda _: f"{begin}\n\n{block}\n\n{end}", text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"expected {begin} and {end} once, found them {count} times")
    return found


def main(names: Sequence[str] = (), pages: Path = HERE, results: Path = Path("results")) -> None:
    """Write the tables of some pages, by default of all, from the latest runs in a folder of results.

    Raises ValueError for an unknown page, and if a setting that a rule needs was not measured.
    """
    known = {page.name: page for page in PAGES}
    if unknown := sorted(set(names) - known.keys()):
        raise ValueError(f"expected pages among {', '.join(known)}, got {', '.join(unknown)}")
    for page in [known[name] for name in names] or PAGES:
        block = block_of(page, Rows(RunResults(find_run(f"tuning-{page.name}", results))))
        path = pages / page.file
        path.write_text(replaced(path.read_text(encoding="utf-8"), page.name, block), encoding="utf-8")
        print(f"{path}: {next(line for line in block.splitlines() if line.startswith(CHOSEN))}")


if __name__ == "__main__":
    main(sys.argv[1:])

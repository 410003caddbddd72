"""The tables of a report by name. A new table needs a function that builds it and one entry in `TABLES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from bench.analysis.rows import Matrix, Rows
from bench.analysis.table_model import FlagLook, Measurement, Row, Table, TableMetric
from bench.analysis.tables.ablation import TITLES, ablation_tables
from bench.analysis.tables.attributes import attribute_tables
from bench.analysis.tables.controls import controls_tables
from bench.analysis.tables.exposed import exposed_tables
from bench.analysis.tables.goals import AUTHORISED, SSIM, UNAUTHORISED
from bench.analysis.tables.kept import kept_tables
from bench.analysis.tables.leakage_ladder import ladder_tables
from bench.analysis.tables.linkage import linkage_tables
from bench.analysis.tables.recognition import LAYOUTS, named_by_attack, recognition_tables
from bench.analysis.tables.recommendation import tested_for_leaks
from bench.analysis.tables.reconstruction import attack_tables, boxes_tables
from bench.analysis.tables.self_checks import marked
from bench.analysis.tables.summary import CLEAN_ACCURACY, WORST, image_table, summaries, summary_table
from bench.analysis.tables.verdict_table import verdict_tables
from bench.core.errors import StorageError, SuiteError, did_you_mean


@dataclass(frozen=True, kw_only=True)
class TableKind:
    """A kind of table: its description, and the function that builds its tables for one experiment.

    The function returns an empty list if the experiment has no such rows.
    """

    about: str
    build: Callable[[Rows, str], Sequence[Table]]


def _of_matrices(build: Callable[[Rows, Matrix], Table], rows: Rows, experiment: str) -> list[Table]:
    return named_by_attack([(m.attack, build(rows, m)) for m in rows.matrices if m.experiment == experiment])


def _recognition(name: str) -> TableKind:
    layout = next(m for m in LAYOUTS if m.name == name)
    return TableKind(about=layout.caption, build=partial(recognition_tables, layout=layout))


def _ablation(number: str) -> Mapping[str, TableKind]:
    """Return the table of a number, and the same at the fixed threshold."""
    calibrated, fixed = (partial(ablation_tables, number=number, fixed=fixed) for fixed in (False, True))
    return {
        number: TableKind(about=TITLES[number], build=calibrated),
        f"{number}-fixed": TableKind(about=f"{TITLES[number]}, at the paper's fixed threshold", build=fixed),
    }


TABLES: Mapping[str, TableKind] = {
    **_ablation("III"),
    **_ablation("IV"),
    **_ablation("V"),
    "VI": TableKind(about="white-box and black-box reconstruction", build=boxes_tables),
    "VII": _recognition("VII"),
    "VII-fixed": _recognition("VII-fixed"),
    "VIII": TableKind(about="attribute estimation", build=partial(attribute_tables, number="VIII")),
    "IX": _recognition("IX"),
    "IX-fixed": _recognition("IX-fixed"),
    **_ablation("X"),
    "ten-fold": _recognition("ten-fold"),
    "chance": _recognition("chance"),
    "cosine": _recognition("cosine"),
    "summary": TableKind(
        about="per defense and authorised model, data sets pooled", build=partial(_of_matrices, summary_table)
    ),
    "images": TableKind(about="SSIM and PSNR beside their baselines", build=partial(_of_matrices, image_table)),
    "reconstruction": TableKind(about="every reconstruction attack by itself", build=attack_tables),
    "linkage": TableKind(about="can two uploads of one person be linked?", build=linkage_tables),
    "kept": TableKind(about="what anonymised pictures keep: a face, its look, attributes", build=kept_tables),
    "attributes": TableKind(
        about="attribute estimation beyond Table VIII", build=partial(attribute_tables, number=None)
    ),
}
# Tables of the whole run, over all its experiments.
WHOLE: Mapping[str, Callable[[Rows], Sequence[Table]]] = {
    "ladder": ladder_tables,
    "verdict": verdict_tables,
    "exposed": exposed_tables,
    "controls": controls_tables,
}
NAMES = (*TABLES, *WHOLE)


def tables_of(rows: Rows, experiment: str) -> list[Table]:
    """Build all tables of an experiment, in the order of `TABLES`."""
    made = [_with_leaks(rows, table) for kind in TABLES.values() for table in kind.build(rows, experiment)]
    return marked(rows, made)


def build(rows: Rows, name: str) -> list[Table]:
    """Build the tables with this name: one per experiment that has such rows.

    Raises `SuiteError` for an unknown name and `StorageError` if the run has no such table; both messages list the
    available tables.
    """
    if name not in NAMES:
        available = ", ".join(NAMES)
        hint = did_you_mean(name, NAMES)
        hint = f"; {hint}" if hint.startswith("did") else ""
        raise SuiteError(f"--table {name}: expected one of {available}; found no table of that name{hint}")
    if not rows.cells:
        raise StorageError(f"{rows.results.folder}: this run has no cells, so there is no table {name} to show")
    found = _built(rows, name)
    if not found:
        there = ", ".join(n for n in NAMES if _built(rows, n))
        raise StorageError(f"{rows.results.folder}: no experiment of this run makes table {name}; it has {there}")
    return found


def _built(rows: Rows, name: str) -> list[Table]:
    if name in WHOLE:
        return list(WHOLE[name](rows))
    made = [table for experiment in rows.experiments for table in TABLES[name].build(rows, experiment)]
    return marked(rows, [_with_leaks(rows, table) for table in made])


def _with_leaks(rows: Rows, table: Table) -> Table:
    """Return a summary with the channels in which each of its defenses leaks; any other table as it is."""
    if table.name != "summary":
        return table
    tested = tested_for_leaks(rows)

    def with_leaks(row: Row) -> Row:
        found = tested.get(row.defense)
        if found is None:
            return row
        look: FlagLook = "leaks" if found.leaks else "safe"
        return replace(row, flags=[*row.flags, found.leak_words], looks={**row.looks, found.leak_words: look})

    groups = [replace(g, rows=[with_leaks(r) for r in g.rows]) for g in table.groups]
    return replace(table, groups=groups)


def summary_rows(rows: Rows) -> tuple[list[str], list[list[str]]]:
    """Return the summary as text for a terminal: the columns, and the rows; the first two columns are names.

    N, with people and repeats, is that of the accuracy of the authorised model, or else of all models. The experiment
    and the attack are named at the end if the rows have several.
    """
    made = [(matrix, s) for matrix in rows.matrices for s in summaries(rows, matrix)]
    goals = {s.goal for _, s in made} != {"recognition"}  # A similarity is good for one goal and bad for another.
    experiments, attacks = ({getattr(matrix, name) for matrix, _ in made} for name in ("experiment", "attack"))
    ssim = "SSIM" if goals else "SSIM ↓"
    columns = ["defense", "authorised", "accuracy ↑", "clean ↑", "others ↓", "worst ↓", ssim, "bars met", "N"]
    columns += ["goal"] if goals else []
    columns += ["experiment"] if len(experiments) > 1 else []
    columns += ["attack"] if len(attacks) > 1 else []
    found = []
    for matrix, s in made:
        shown = [
            brief(metric, measurement)
            for metric, measurement in (
                (AUTHORISED, s.kept),
                (CLEAN_ACCURACY, s.clean),
                (UNAUTHORISED, s.leaked),
                (WORST, s.worst),
                (SSIM, s.ssim),
            )
        ]
        met = sum(bool(m) for _, _, m in s.verdicts)
        bars = f"{met}/{len(s.verdicts)}" if s.verdicts else ""
        n = next((m.support for m in (s.kept, s.leaked) if m.value is not None), "")
        found.append([s.defense, s.authorised or "any model", *shown, bars, n, *([s.goal] if goals else [])])
        found[-1] += [matrix.experiment] if len(experiments) > 1 else []
        found[-1] += [matrix.attack] if len(attacks) > 1 else []
    return columns, found


def brief(metric: TableMetric, measurement: Measurement) -> str:
    """Return a measurement as short text: its value with the unit, its status, or nothing if it does not apply."""
    if measurement.value is None:
        return "" if measurement.status == "not applicable" else measurement.status
    return f"{metric.shown(measurement.value)} %" if metric.unit == "%" else metric.shown(measurement.value)

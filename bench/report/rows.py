"""The rows of a run, indexed: which cells there are, the scores of each, the paper's figures, and sound averages.

Everything that the report says is computed here and in the table modules from per-sample rows; nothing is read from
stored aggregates.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench import metrics
from bench.claims import Claims, parse_claims
from bench.report.figures import Figure, Role, absent, plural
from bench.store import Results

Floats = NDArray[np.float64]

DRAWS = 400  # of the bootstrap: the 2.5 % ends rest on ten draws each
SEED = 0  # of the bootstrap, so that a report is the same whenever it is made
CLEAN = "identity"  # the defense plugin that sends the face as it is


@dataclass(frozen=True, kw_only=True)
class CellRow:
    """One row of ``cells.parquet``, with nulls as none."""

    cell: str
    experiment: str
    table: str | None
    dataset: str
    dataset_stands_in_for: str | None
    synthetic: bool
    defense: str
    plugin: str
    authorised: str
    authorised_stands_in_for: str
    attack: str
    evaluated: str
    evaluated_stands_in_for: str
    role: Role
    repeat: int
    pairs: int
    kappa: float
    threat: str
    status: str
    reason: str | None

    @property
    def clean(self) -> bool:
        """Whether nothing is protected in this cell."""
        return not self.authorised and self.plugin == CLEAN


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The verification rows of one cell, ``(n,)`` each. ``person`` is whose face was protected."""

    cell: str
    pair: NDArray[np.int64]
    person: NDArray[Any]
    left_id: NDArray[Any]
    same: NDArray[np.bool_]
    fold: NDArray[np.int64]
    cos_self: Floats
    cos_cross: Floats
    cos_clean: Floats
    flip_cross: Floats
    flip_clean: Floats
    kappa_calibrated: Floats
    fmr: Floats
    calibration_impostors: NDArray[np.int64]

    def hits(self, kappa: float | None = None) -> Floats:
        """Equation 10 per pair; at the calibrated kappa unless one is given."""
        threshold = self.kappa_calibrated if kappa is None else kappa
        return metrics.verification_hits(self.cos_self, self.cos_cross, self.same, threshold).astype(np.float64)

    def clean_hits(self, kappa: float | None = None) -> Floats:
        """The same decisions on unprotected faces, whose similarity to themselves is 1."""
        threshold = self.kappa_calibrated if kappa is None else kappa
        itself = np.ones_like(self.cos_clean)
        return metrics.verification_hits(itself, self.cos_clean, self.same, threshold).astype(np.float64)


@dataclass(frozen=True)
class Matrix:
    """One experiment under one attack that recognises: what a recognition table is made of."""

    experiment: str
    attack: str


PointKey = tuple[str, str, str, str]  # dataset, defense, authorised, evaluated


class Rows:
    """The rows of a run, read once and indexed. Order follows the suite."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.cells = [_cell_row(r) for r in results.cells.to_dict("records")]

    @cached_property
    def scores(self) -> Mapping[str, Scores]:
        """Verification scores by cell id."""
        table = self.results.samples("verification")
        if table.empty:
            return {}
        return {str(cell): _scores(str(cell), part) for cell, part in table.groupby("cell", sort=False)}

    @cached_property
    def matrices(self) -> list[Matrix]:
        """The recognition experiments: those with verification rows, or, where all failed, everything asked for."""
        found: dict[str, dict[str, bool]] = {}
        for cell in self.cells:
            attacks = found.setdefault(cell.experiment, {})
            attacks[cell.attack] = attacks.get(cell.attack, False) or cell.cell in self.scores
        made = []
        for experiment, attacks in found.items():
            scored = [a for a, has_rows in attacks.items() if has_rows]
            made += [Matrix(experiment, a) for a in scored or attacks]
        return made

    @cached_property
    def _by_matrix(self) -> Mapping[Matrix, list[CellRow]]:
        found: dict[Matrix, list[CellRow]] = defaultdict(list)
        for cell in self.cells:
            found[Matrix(cell.experiment, cell.attack)].append(cell)
        return found

    @cached_property
    def _by_point(self) -> Mapping[tuple[Matrix, PointKey], list[CellRow]]:
        found: dict[tuple[Matrix, PointKey], list[CellRow]] = defaultdict(list)
        for c in self.cells:
            found[Matrix(c.experiment, c.attack), (c.dataset, c.defense, c.authorised, c.evaluated)].append(c)
        return found

    def of(self, matrix: Matrix) -> list[CellRow]:
        """The cells of a matrix, in the suite's order."""
        return self._by_matrix.get(matrix, [])

    def at(self, matrix: Matrix, dataset: str, defense: str, authorised: str, evaluated: str) -> list[CellRow]:
        """The cells of one point: one per repeat, none when it was not asked for."""
        return self._by_point.get((matrix, (dataset, defense, authorised, evaluated)), [])

    def scores_of(self, cells: Iterable[CellRow]) -> list[Scores]:
        """The scores of those of the cells that have them."""
        return [self.scores[c.cell] for c in cells if c.cell in self.scores]

    @cached_property
    def samples(self) -> Mapping[str, pd.DataFrame]:
        """The other per-sample tables by name; each may be empty."""
        return {name: self.results.samples(name) for name in ("images", "floors", "examples")}

    @cached_property
    def claims(self) -> Mapping[str, Claims]:
        """The paper's figures by experiment."""
        experiments = self.results.run.get("suite", {}).get("experiments") or []
        return {e["name"]: parse_claims(e["claims"]) for e in experiments if e.get("claims")}

    def paper(self, cell: CellRow) -> float | None:
        """The paper's figure for a cell, matched by what data set and models stand in for; none where it has none."""
        claims = self.claims.get(cell.experiment)
        if not claims or not (cell.clean or cell.authorised):
            return None
        authorised = "Clean" if cell.clean else cell.authorised_stands_in_for
        dataset = cell.dataset_stands_in_for or cell.dataset
        return claims.get((dataset, cell.plugin, authorised, cell.evaluated_stands_in_for))

    @property
    def synthetic(self) -> list[str]:
        """The data sets that are synthetic stand-ins."""
        return list(dict.fromkeys(c.dataset for c in self.cells if c.synthetic))


def _cell_row(row: Mapping[Any, Any]) -> CellRow:
    def text(name: str) -> str | None:
        value = row.get(name)
        return None if value is None or value is pd.NA or value != value else str(value)

    plugin = next((c["name"] for c in json.loads(text("components") or "[]") if c["kind"] == "defense"), "")
    return CellRow(
        cell=str(row["cell"]),
        experiment=str(row["experiment"]),
        table=text("table"),
        dataset=str(row["dataset"]),
        dataset_stands_in_for=text("dataset_stands_in_for"),
        synthetic=bool(row["synthetic"]),
        defense=str(row["defense"]),
        plugin=str(plugin),
        authorised=text("authorised") or "",
        authorised_stands_in_for=text("authorised_stand_in_for") or "",
        attack=str(row["attack"]),
        evaluated=str(row["evaluated"]),
        evaluated_stands_in_for=text("evaluated_stands_in_for") or str(row["evaluated"]),
        role=cast(Role, str(row["role"])),
        repeat=int(row["repeat"]),
        pairs=int(row["pairs"]),
        kappa=float(row["kappa"]),
        threat=text("threat") or "",
        status=str(row["status"]),
        reason=text("reason"),
    )


def _scores(cell: str, part: pd.DataFrame) -> Scores:
    def floats(name: str) -> Floats:
        return part[name].to_numpy(np.float64)

    return Scores(
        cell=cell,
        pair=part["pair"].to_numpy(np.int64),
        person=part["left_subject"].to_numpy(),
        left_id=part["left_id"].to_numpy(),
        same=part["same"].to_numpy(bool),
        fold=part["fold"].to_numpy(np.int64),
        cos_self=floats("cos_self"),
        cos_cross=floats("cos_cross"),
        cos_clean=floats("cos_clean"),
        flip_cross=floats("flip_cross"),
        flip_clean=floats("flip_clean"),
        kappa_calibrated=floats("kappa_calibrated"),
        fmr=floats("fmr"),
        calibration_impostors=part["calibration_impostors"].to_numpy(np.int64),
    )


# ---- averages --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """Values ``(n,)`` with the person that each belongs to."""

    values: Floats
    people: NDArray[Any]


def mean(
    parts: Sequence[Part],
    *,
    method: Literal["Wilson", "bootstrap", "none"] = "bootstrap",
    share: bool = True,
    **about: Any,
) -> Figure:
    """The mean of all values with its 95 % interval; undefined values do not count.

    ``Wilson`` for independent decisions, ``bootstrap`` over people when one person has several. A bootstrap of
    decisions that all agree has no width: then it is Wilson's interval with as many trials as people. Equal values
    that are no decisions (``share`` false) get no interval.
    """
    values = np.concatenate([p.values for p in parts]) if parts else np.empty(0)
    people = np.concatenate([p.people for p in parts]) if parts else np.empty(0)
    defined = np.isfinite(values)
    if not defined.any():
        return absent("undefined", "no measurement is defined", role=about.get("role", "any"))
    values, people = values[defined], people[defined]
    low: float | None = None
    high: float | None = None
    if share and values.min() == values.max() and values[0] in (0.0, 1.0):
        trials = len(values) if method == "Wilson" else len(np.unique(people))
        low, high = metrics.wilson_interval(int(values[0]) * trials, trials)
        method = "Wilson"
    elif method == "Wilson":
        low, high = metrics.wilson_interval(round(values.sum()), len(values))
    elif method == "bootstrap" and values.min() < values.max():
        found = metrics.bootstrap_interval(values, people, lambda v: float(v.sum() / len(v)), SEED, draws=DRAWS)
        low, high = found or (None, None)
    interval = method if low is not None and method != "none" else ""
    return Figure(value=float(values.mean()), n=len(values), low=low, high=high, interval=interval, **about)


def why_absent(cells: Sequence[CellRow]) -> tuple[str, str | None]:
    """Status and reason of a point without a number, from its cells."""
    if not cells:
        return "missing", "the suite does not ask for this combination"
    first = next((c for c in cells if c.status != "ok"), cells[0])
    if first.status == "ok":
        return "missing", "the cell ended well, but its rows are not in samples/verification.parquet"
    return first.status, first.reason


def incomplete(cells: Sequence[CellRow], scored: int) -> str | None:
    """A note when only some repeats of a point have scores."""
    if not scored or scored == len(cells):
        return None
    status, reason = why_absent([c for c in cells if c.status != "ok"] or cells)
    return f"{scored} of {plural(len(cells), 'repeat')}; the others: {status}, {reason or 'no reason given'}"


def finite(value: object) -> float | None:
    """A number from a file, or none for null, NaN and infinity."""
    return float(value) if isinstance(value, int | float | np.number) and math.isfinite(value) else None

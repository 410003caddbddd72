"""The rows of a run, indexed: which cells there are, the scores of each, the paper's figures, and sound averages.

Everything that the report says is computed here and in the table modules from per-sample rows; nothing is read from
stored aggregates.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench import metrics
from bench.claims import Claims, parse_claims
from bench.report.figures import Figure, Role, absent
from bench.store import Results

Floats = NDArray[np.float64]

DRAWS = 400  # of the bootstrap: the 2.5 % ends rest on ten draws each
SEED = 0  # of the bootstrap, so that a report is the same whenever it is made
CLEAN = "identity"  # the defense plugin that sends the face as it is


@dataclass(frozen=True, kw_only=True)
class CellRow:
    """One row of ``cells.parquet``. ``plugin`` and ``params`` are those of the defense, with its effective parameters;
    ``via`` is the label of the attack that ran first, empty without; ``evaluated`` is empty where no model is asked.
    """

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
    via: str = ""
    upload: str = "images"
    outputs: str = "recognition"
    leaky: bool = False
    params: Mapping[str, Any] = field(default_factory=dict)
    attack_plugin: str = ""
    attack_params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether nothing is protected in this cell."""
        return self.plugin == CLEAN

    @property
    def picture(self) -> str:
        """Whose image the adversary ends with: the label of the attack that made it, empty for the uploaded one."""
        return self.attack if self.outputs == "images" else self.via

    @property
    def upload_key(self) -> tuple[str, str, str, str, int, str]:
        """What the rows of ``samples/images.parquet`` of this cell are found by."""
        return self.experiment, self.dataset, self.defense, self.authorised, self.repeat, self.picture


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The verification rows of one cell, ``(n,)`` each. ``person`` is whose face was protected; undefined ranks are
    NaN."""

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
    rank: Floats
    rank_enrolled: Floats

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
        """The experiments in which models recognise what was uploaded, once per attack."""
        return list(dict.fromkeys(Matrix(c.experiment, c.attack) for c in self.cells if c.outputs == "recognition"))

    @property
    def experiments(self) -> list[str]:
        """The names of all experiments, in the suite's order."""
        return list(dict.fromkeys(c.experiment for c in self.cells))

    @cached_property
    def _by_matrix(self) -> Mapping[Matrix, list[CellRow]]:
        found: dict[Matrix, list[CellRow]] = defaultdict(list)
        for cell in self.cells:
            found[Matrix(cell.experiment, cell.attack)].append(cell)
        return found

    def of(self, matrix: Matrix) -> list[CellRow]:
        """The cells of a matrix, in the suite's order."""
        return self._by_matrix.get(matrix, [])

    def scores_of(self, cells: Iterable[CellRow]) -> list[Scores]:
        """The scores of those of the cells that have them."""
        return [self.scores[c.cell] for c in cells if c.cell in self.scores]

    @cached_property
    def samples(self) -> Mapping[str, pd.DataFrame]:
        """The other per-sample tables by name; each may be empty."""
        return {n: self.results.samples(n) for n in ("images", "floors", "examples", "attributes", "up")}

    @cached_property
    def _images_by_upload(self) -> Mapping[tuple[Any, ...], pd.DataFrame]:
        table = self.samples["images"]
        if table.empty:
            return {}
        keys = ["experiment", "dataset", "defense", "authorised", "repeat", "attack"]
        return {tuple(k): part for k, part in table.groupby(keys, sort=False)}

    def images_of(self, cell: CellRow) -> pd.DataFrame:
        """The image rows of what the adversary of a cell ends with: the upload, or the reconstruction."""
        return self._images_by_upload.get(cell.upload_key, pd.DataFrame())

    @cached_property
    def _attributes_by_cell(self) -> Mapping[tuple[Any, ...], pd.DataFrame]:
        table = self.samples["attributes"]
        return {} if table.empty else {tuple(k): p for k, p in table.groupby(["cell", "attribute"], sort=False)}

    def attributes_of(self, cell: CellRow, attribute: str) -> pd.DataFrame:
        """The rows of one attribute of a cell."""
        return self._attributes_by_cell.get((cell.cell, attribute), pd.DataFrame())

    @cached_property
    def _up_by_cell(self) -> Mapping[str, Mapping[float, pd.DataFrame]]:
        found: dict[str, dict[float, pd.DataFrame]] = defaultdict(dict)
        table = self.samples["up"]
        for key, part in [] if table.empty else table.groupby(["cell", "sigma"], sort=False):
            cell, sigma = cast(tuple[str, float], key)
            found[cell][float(sigma)] = part
        return found

    def noise_levels(self, cell: CellRow) -> list[float]:
        """The noise levels at which Equation 9 was measured in a cell, rising."""
        return sorted(self._up_by_cell.get(cell.cell, {}))

    def up_of(self, cell: CellRow, sigma: float | None = None) -> pd.DataFrame:
        """The rows of Equation 9 of a cell at a noise level; at its lowest unless one is given."""
        levels = self._up_by_cell.get(cell.cell, {})
        wanted = min(levels, default=0.0) if sigma is None else sigma
        return next((part for level, part in levels.items() if math.isclose(level, wanted)), pd.DataFrame())

    @cached_property
    def _calibrated(self) -> Mapping[tuple[str, str], float]:
        scored = {(c.dataset, c.evaluated): self.scores[c.cell] for c in self.cells if c.cell in self.scores}
        return {key: float(s.kappa_calibrated[0]) for key, s in scored.items() if len(s.same)}

    def calibrated(self, cell: CellRow) -> float:
        """The calibrated threshold of the evaluated model on the data set of a cell; the experiment's fixed one where
        no pair was scored by that model."""
        return self._calibrated.get((cell.dataset, cell.evaluated), cell.kappa)

    @cached_property
    def claims(self) -> Mapping[str, Claims]:
        """The paper's figures by experiment."""
        experiments = self.results.run.get("suite", {}).get("experiments") or []
        return {e["name"]: parse_claims(e["claims"]) for e in experiments if e.get("claims")}

    @property
    def synthetic(self) -> list[str]:
        """The data sets that are synthetic stand-ins."""
        return list(dict.fromkeys(c.dataset for c in self.cells if c.synthetic))


def _cell_row(row: Mapping[Any, Any]) -> CellRow:
    def text(name: str) -> str | None:
        value = row.get(name)
        return None if value is None or value is pd.NA or value != value else str(value)

    parts = json.loads(text("components") or "[]")
    defense: dict[str, Any] = next((c for c in parts if c["kind"] == "defense"), {})
    attack: dict[str, Any] = next((c for c in parts if c["kind"] == "attack"), {})
    return CellRow(
        cell=str(row["cell"]),
        experiment=str(row["experiment"]),
        table=text("table"),
        dataset=str(row["dataset"]),
        dataset_stands_in_for=text("dataset_stands_in_for"),
        synthetic=bool(row["synthetic"]),
        defense=str(row["defense"]),
        plugin=str(defense.get("name", "")),
        authorised=text("authorised") or "",
        authorised_stands_in_for=text("authorised_stand_in_for") or "",
        attack=str(row["attack"]),
        evaluated=text("evaluated") or "",
        evaluated_stands_in_for=text("evaluated_stands_in_for") or text("evaluated") or "",
        role=cast(Role, str(row["role"])),
        repeat=int(row["repeat"]),
        pairs=int(row["pairs"]),
        kappa=float(row["kappa"]),
        threat=text("threat") or "",
        status=str(row["status"]),
        reason=text("reason"),
        via=text("via") or "",
        upload=text("upload") or "images",
        outputs=text("outputs") or "recognition",
        leaky=text("leaky") == "True",
        params=defense.get("params") or {},
        attack_plugin=str(attack.get("name", "")),
        attack_params=attack.get("params") or {},
    )


def _scores(cell: str, part: pd.DataFrame) -> Scores:
    def floats(name: str) -> Floats:
        return part[name].to_numpy(np.float64, na_value=np.nan)

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
        rank=floats("rank"),
        rank_enrolled=floats("rank_enrolled"),
    )


# ---- averages --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """Values ``(n,)`` with the person that each belongs to, and the pair or sample that it is of."""

    values: Floats
    people: NDArray[Any]
    ids: NDArray[Any] | None = None


def mean(
    parts: Sequence[Part],
    *,
    method: Literal["Wilson", "bootstrap", "none"] = "bootstrap",
    share: bool = True,
    **about: Any,
) -> Figure:
    """The mean of all values with its 95 % interval; undefined values do not count.

    ``Wilson`` for independent decisions, ``bootstrap`` over people when one person has several. A bootstrap in which
    all people have the same share has no width: then it is Wilson's interval with as many trials as people. Equal
    values that are no decisions (``share`` false) get no interval.
    """
    values = np.concatenate([p.values for p in parts]) if parts else np.empty(0)
    people = np.concatenate([p.people for p in parts]) if parts else np.empty(0)
    defined = np.isfinite(values)
    if not defined.any():
        return absent("undefined", "no measurement is defined", role=about.get("role", "any"))
    values, people = values[defined], people[defined]
    low: float | None = None
    high: float | None = None
    if method == "Wilson":
        low, high = metrics.wilson_interval(round(values.sum()), len(values))
    elif method == "bootstrap" and values.min() < values.max():
        low, high = _bootstrap(values, people) or (None, None)
    if share and method == "bootstrap" and low == high:
        trials = len(np.unique(people))
        low, high = metrics.wilson_interval(round(values.mean() * trials), trials)
        method = "Wilson"
    interval = method if low is not None and method != "none" else ""
    return Figure(value=float(values.mean()), n=len(values), low=low, high=high, interval=interval, **about)


def _bootstrap(values: Floats, people: NDArray[Any], level: float = 0.95) -> tuple[float, float] | None:
    """`bench.metrics.bootstrap_interval` of a mean, all draws at once: from the sum and the number of each person."""
    names, inverse = np.unique(people.astype(str), return_inverse=True)
    if len(names) < 2:
        return None
    sums, counts = np.bincount(inverse, weights=values), np.bincount(inverse)
    taken = np.random.default_rng(SEED).integers(len(names), size=(DRAWS, len(names)))
    low, high = np.quantile(sums[taken].sum(1) / counts[taken].sum(1), [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def why_absent(cells: Sequence[CellRow]) -> tuple[str, str | None]:
    """Status and reason of a point without a number, from its cells."""
    if not cells:
        return "missing", "the suite does not ask for this combination"
    first = next((c for c in cells if c.status != "ok"), cells[0])
    if first.status == "ok":
        return "missing", "the cell ended well, but its rows are not there"
    return first.status, first.reason

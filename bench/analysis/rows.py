"""The rows of a run, indexed by cell: the cells, the scores of each cell, and the numbers that the paper published.

The report computes everything from per-sample rows, here and in the table modules; no aggregate is stored. Rows are
read from disk cell by cell when they are needed, and only the most recently used ones stay in memory.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bench.analysis.attribute_scores import AttributeEstimate, AttributeScores, by_attribute, by_sample
from bench.analysis.cells import UPLOAD, CellRow, cell_row_of
from bench.analysis.pooling import Floats, SummedScores
from bench.analysis.set_values import SetValue, set_values
from bench.analysis.table_model import Measurement
from bench.analysis.verification_scores import HELD, OF_LINKS, OF_THRESHOLD, CellScores, VerificationScores, size_of
from bench.core.errors import StorageError
from bench.store.reading import RunResults
from bench.store.row_index import Recent, RowIndex
from bench.store.table_files import as_frame
from bench.suite.paper_tables import Claims, parse_claims

_CELLS_AT_ONCE = 2_000
_OF_OBJECT = 500  # bytes of a small object in a cache
# What identifies the scores of a cell, a picture or an estimate of attributes, apart from the repeat.
_POINTS: Mapping[str, Callable[[CellRow], Hashable]] = {
    "cell": lambda c: (*c.picture_point, c.attack, c.evaluated),
    "picture": lambda c: c.picture_point,
    "estimate": lambda c: (*c.picture_point, c.attack),
}
_BELONGS = ("cell", *UPLOAD, "synthetic", "evaluated", "via")


ImageScores = tuple[Floats, NDArray[Any]]


class _Frames:
    """The rows of a table by key, as pandas frames without the key columns; read from disk when they are looked up.

    An unknown key gives an empty frame.
    """

    def __init__(self, index: RowIndex) -> None:
        self.index = index
        self._held: Recent[pd.DataFrame] = Recent(HELD, lambda f: int(f.memory_usage(index=False, deep=True).sum()))

    def of(self, *key: Hashable) -> pd.DataFrame:
        return self._held.get(key, lambda: self._read(key))

    def _read(self, key: tuple[Hashable, ...]) -> pd.DataFrame:
        table = self.index.rows(key)
        if table is None:
            return pd.DataFrame()
        return as_frame(Path("samples"), table.drop_columns([c for c in _BELONGS if c in table.column_names]))

    def levels(self, *key: Hashable) -> list[Any]:
        entry = self.index.get(key)
        return [] if entry is None else list(entry.levels)


@dataclass(frozen=True)
class Matrix:
    """One experiment under one attack with recognition as output: the cells of one recognition table."""

    experiment: str
    attack: str


class Rows:
    """The rows of a run, indexed by cell, in the order of the suite.

    These caches hold what was computed from them:

    - ``measurements``
    - ``sums``: the sums of the scores of a metric in a cell, those that were used last
    - ``image_scores``: a column of the images of an upload, those that were used last
    - ``baselines``: the image baselines of an experiment and a data set (None for all), by baseline and metric
    - ``conclusions``: what several tables need and is computed once, by name
    """

    def __init__(self, results: RunResults) -> None:
        self.results = results
        cells = results.cells
        parts = (cells.iloc[i : i + _CELLS_AT_ONCE] for i in range(0, len(cells), _CELLS_AT_ONCE))
        self.cells = [cell_row_of(row) for part in parts for row in part.to_dict("records")]
        self.measurements: dict[Hashable, Measurement] = {}
        self.sums: Recent[SummedScores | None] = Recent(HELD, _size_of_sums)
        self.image_scores: Recent[ImageScores | None] = Recent(HELD, _size_of_image_scores)
        self.baselines: dict[tuple[str, str | None], dict[str, dict[str, Measurement]]] = {}
        self.conclusions: dict[str, Any] = {}

    @cached_property
    def defense_names(self) -> Mapping[str, str]:
        """The names of the defenses for readers, by the labels of the suite."""
        return {cell.recorded: cell.defense for cell in self.cells}

    @cached_property
    def scores(self) -> CellScores:
        """The verification scores by cell id. Raises `StorageError` if a cell lacks some of its pairs."""
        self.results.require("verification")
        found = CellScores(self.results.index("verification", ["cell"], first=OF_THRESHOLD))
        for cell in self.cells:
            if cell.cell in found and (rows := found.count(cell.cell)) < cell.pairs:
                raise StorageError(
                    f"{self.results.folder}: samples/verification: expected {cell.pairs:,} rows of the cell "
                    f"{cell.cell}, one per pair, found {rows:,}; the files are not those that the run wrote: get them "
                    "again, or run the suite again"
                )
        return found

    @cached_property
    def matrices(self) -> list[Matrix]:
        """The experiments in which models recognise uploads, one entry per attack."""
        return list(dict.fromkeys(Matrix(c.experiment, c.attack) for c in self.cells if c.outputs == "recognition"))

    def repeats_of(self, cell: CellRow, of: Literal["cell", "picture", "estimate"] = "cell") -> tuple[int, ...]:
        """Return the repeats, in rising order, of a cell, of the picture that it ends with, or of its estimates of
        attributes; those without a result do not count."""
        return self._repeats[of].get(_POINTS[of](cell), (cell.repeat,)) if self._repeats else (cell.repeat,)

    @cached_property
    def _repeats(self) -> Mapping[str, Mapping[Hashable, tuple[int, ...]]]:
        """The repeats of each point by kind; empty if nothing was repeated."""
        if len({c.repeat for c in self.cells}) < 2:
            return {}
        found: dict[str, dict[Hashable, set[int]]] = {of: defaultdict(set) for of in _POINTS}
        for cell in self.cells:
            if cell.status == "ok":
                for of, point in _POINTS.items():
                    found[of][point(cell)].add(cell.repeat)
        return {of: {point: tuple(sorted(known)) for point, known in own.items()} for of, own in found.items()}

    @property
    def experiments(self) -> list[str]:
        """The names of all experiments, in the suite's order."""
        return list(dict.fromkeys(c.experiment for c in self.cells))

    def of_experiment(self, experiment: str) -> Sequence[CellRow]:
        """Return the cells of an experiment, in the suite's order."""
        return self._by_experiment.get(experiment, ())

    @cached_property
    def _by_experiment(self) -> Mapping[str, Sequence[CellRow]]:
        found: dict[str, list[CellRow]] = defaultdict(list)
        for cell in self.cells:
            found[cell.experiment].append(cell)
        return found

    @cached_property
    def _by_matrix(self) -> Mapping[Matrix, list[CellRow]]:
        found: dict[Matrix, list[CellRow]] = defaultdict(list)
        for cell in self.cells:
            found[Matrix(cell.experiment, cell.attack)].append(cell)
        return found

    def of(self, matrix: Matrix) -> list[CellRow]:
        """Return the cells of a matrix, in the suite's order."""
        return self._by_matrix.get(matrix, [])

    def scores_of(self, cells: Iterable[CellRow]) -> Iterator[VerificationScores]:
        """Yield the scores of each cell that has scores; only one cell is read at a time."""
        return (self.scores[c.cell] for c in cells if c.cell in self.scores)

    def tables_of(self, cell: CellRow) -> set[str]:
        """Return which tables have rows of a cell: ``verification``, ``attributes``, ``links``, and ``images`` if they
        have the picture that its adversary ends with."""
        found = {"verification"} if cell.cell in self.scores else set()
        found |= {"attributes"} if (cell.cell,) in self._attributes.index else set()
        found |= {"links"} if (cell.cell,) in self._links.index else set()
        return found | ({"images"} if cell.upload_key in self._images.index else set())

    # ---- other tables ------------------------------------------------------------------------------------------------

    @cached_property
    def _images(self) -> _Frames:
        self.results.require("images")
        return _Frames(self.results.index("images", UPLOAD))

    def images_of(self, cell: CellRow) -> pd.DataFrame:
        """Return the image rows of the image that the adversary of a cell ends with: the upload or its
        reconstruction."""
        return self._images.of(*cell.upload_key)

    def set_value(self, cell: CellRow, metric: str) -> SetValue | None:
        """Return the value of a metric of a plugin for all images of the picture that the adversary of a cell ends
        with; None if there is no such row."""
        return self._sets.get((*cell.upload_key, metric))

    @cached_property
    def _sets(self) -> Mapping[tuple[Hashable, ...], SetValue]:
        return set_values(self.results, (*UPLOAD, "metric"))

    def extras(self, experiment: str) -> list[str]:
        """Return the numeric columns that the defenses of an experiment added to the rows of images."""
        return self._extras.get(experiment, [])

    @cached_property
    def _extras(self) -> Mapping[str, list[str]]:
        schema = self.results.columns("images")
        added = [f.name for f in schema if f.name.startswith("extra_") and _is_number(f.type)]
        found: dict[str, dict[str, None]] = defaultdict(dict)
        for rows in self.results.batches("images", {"attack": ""}, ["experiment", *added]) if added else ():
            for experiment, own in rows.groupby("experiment", sort=False):
                found[str(experiment)].update(dict.fromkeys(c for c in added if own[c].notna().any()))
        return {experiment: [c for c in added if c in known] for experiment, known in found.items()}

    def baselines_of(self, experiment: str) -> pd.DataFrame:
        """Return the rows of the image baselines of an experiment."""
        self.results.require("baselines")
        return self._baselines.get(experiment, lambda: self.results.samples("baselines", {"experiment": experiment}))

    @cached_property
    def _baselines(self) -> Recent[pd.DataFrame]:
        return Recent(HELD, lambda f: int(f.memory_usage(index=False, deep=True).sum()))

    @cached_property
    def people(self) -> pd.DataFrame:
        """What is known of the people of each data set: a row per person and attribute; of several experiments on one
        data set, the first one counts."""
        self.results.require("people")
        found = self.results.samples("people")
        columns = ["dataset", "subject", "attribute", "label", "value", "pictures"]
        if found.empty:
            return pd.DataFrame(columns=columns)
        return found.reindex(columns=columns).drop_duplicates(["dataset", "subject", "attribute"])

    @cached_property
    def _examples(self) -> RowIndex:
        self.results.require("examples")
        return self.results.index("examples", UPLOAD)

    def example_of(self, sample: str, *upload: Hashable) -> Mapping[str, Any] | None:
        """Return the row of one example face of an upload or a reconstruction, with its pictures, by the id of the
        sample and the values of `UPLOAD`; None if it is not stored."""
        table = self._examples.rows(upload)
        at = -1 if table is None else pc.index(table["sample_id"].cast(pa.string()), sample).as_py()
        return None if table is None or at < 0 else cast(dict[str, Any], table.slice(at, 1).to_pylist()[0])

    @cached_property
    def _attributes(self) -> _Frames:
        self.results.require("attributes")
        return _Frames(self.results.index("attributes", ["cell"], level="attribute"))

    def attributes_of(self, cell: CellRow, attribute: str | None = None) -> pd.DataFrame:
        """Return the rows of one attribute of a cell; of all attributes if ``attribute`` is None."""
        found = self._attributes.of(cell.cell)
        return found if attribute is None or found.empty else found[found["attribute"] == attribute]

    def estimates_of(self, cell: CellRow) -> Mapping[str, Sequence[AttributeEstimate]]:
        """Return what the attack of a cell estimated for each sample, by the id of the sample."""
        return self._estimates.get(cell.cell, lambda: by_sample(self._attributes.index.rows((cell.cell,))))

    @cached_property
    def _estimates(self) -> Recent[Mapping[str, Sequence[AttributeEstimate]]]:
        return Recent(HELD, lambda known: _OF_OBJECT * sum(map(len, known.values())))

    def attribute_scores(self, cell: CellRow) -> Mapping[str, AttributeScores]:
        """Return the scores of each attribute of a cell, by the name of the attribute."""
        return self._attribute_scores.get(cell.cell, lambda: by_attribute(self._attributes.index.rows((cell.cell,))))

    @cached_property
    def _attribute_scores(self) -> Recent[Mapping[str, AttributeScores]]:
        return Recent(HELD, lambda known: sum(size_of(found) for found in known.values()))

    def attributes(self, experiment: str) -> list[str]:
        """Return the attributes that attacks estimated in an experiment."""
        cells = self.of_experiment(experiment)
        return list(dict.fromkeys(str(a) for c in cells for a in self._attributes.levels(c.cell)))

    @cached_property
    def _links(self) -> _Frames:
        self.results.require("links")
        return _Frames(self.results.index("links", ["cell"], first=OF_LINKS))

    def threshold_of_links(self, cell: CellRow) -> Mapping[str, Any] | None:
        """Return the columns `OF_LINKS` of the first pair of uploads that the attack of a cell links; None if it links
        none."""
        entry = self._links.index.get((cell.cell,))
        return None if entry is None else entry.first

    def links_of(self, cell: CellRow) -> pd.DataFrame:
        """Return the rows of the pairs of uploads that the attack of a cell links; empty if it links none."""
        return self._links.of(cell.cell)

    @cached_property
    def _up(self) -> _Frames:
        self.results.require("up")
        return _Frames(self.results.index("up", ["cell"], level="sigma"))

    def noise_levels(self, cell: CellRow) -> list[float]:
        """Return the noise levels at which Equation 9 was measured in a cell, in rising order."""
        return sorted(map(float, self._up.levels(cell.cell)))

    def up_of(self, cell: CellRow, sigma: float | None = None) -> pd.DataFrame:
        """Return the rows of Equation 9 of a cell at a noise level, by default at its lowest."""
        levels = self.noise_levels(cell)
        wanted = min(levels, default=0.0) if sigma is None else sigma
        level = next((level for level in levels if math.isclose(level, wanted)), None)
        found = self._up.of(cell.cell)
        return pd.DataFrame() if level is None else found[found["sigma"] == level]

    @cached_property
    def _calibrated(self) -> Mapping[tuple[str, ...], str]:
        """The first cell with scores of a model on a data set: of a run and experiment, of a run, and of any run."""
        found: dict[tuple[str, ...], str] = {}
        for c in self.cells:
            if c.cell in self.scores:
                model = c.dataset, c.evaluated
                for key in ((c.run, c.experiment, *model), (c.run, *model), model):
                    found.setdefault(key, c.cell)
        return found

    def calibrated(self, cell: CellRow, pictures: NDArray[Any]) -> Floats:
        """Return the calibrated threshold of the evaluated model of a cell for each of its ``pictures (n,)``, which are
        ids of samples, on the data set of the cell: ``(n,)``.

        Where a threshold belongs to a fold, it is that of the fold of the first pair whose protected face is the
        picture. Thresholds are those of the cell's own experiment and run, if the model scored pairs there; otherwise
        those of another experiment, or of another run that shares the cells. If the model scored no pair, all are the
        fixed threshold of the experiment.
        """
        model = cell.dataset, cell.evaluated
        keys = (cell.run, cell.experiment, *model), (cell.run, *model), model
        of = next((self._calibrated[key] for key in keys if key in self._calibrated), None)
        if of is None:
            return np.full(len(pictures), cell.kappa)
        scores = self.scores[of]
        names, first = np.unique(scores.left_id.astype(str), return_index=True)
        at = np.minimum(np.searchsorted(names, pictures.astype(str)), len(names) - 1)
        known = names[at] == pictures.astype(str)
        return np.where(known, scores.kappa_calibrated[first[at]], scores.kappa_calibrated[0])

    @cached_property
    def claims(self) -> Mapping[str, Claims]:
        """The numbers that the paper published, by experiment."""
        return {e.name: parse_claims(e.claims) for e in self.results.run.suite.experiments if e.claims}

    @property
    def synthetic(self) -> list[str]:
        """The labels of the data sets that are synthetic stand-ins."""
        return list(dict.fromkeys(c.dataset for c in self.cells if c.synthetic))


def _size_of_image_scores(found: ImageScores | None) -> int:
    return _OF_OBJECT if found is None else _OF_OBJECT + 10 * found[0].nbytes  # Names take more than numbers.


def _size_of_sums(found: SummedScores | None) -> int:
    return _OF_OBJECT if found is None else _OF_OBJECT + found.sums.nbytes + found.counts.nbytes


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def why_absent(cells: Sequence[CellRow]) -> tuple[str, str | None]:
    """Return the status and the reason why these cells give no measurement."""
    if not cells:
        return "missing", "the suite does not contain this combination"
    first = next((c for c in cells if c.status != "ok"), cells[0])
    if first.status == "ok":
        return "missing", "the cell ended well, but its rows are not there"
    return first.status, first.reason

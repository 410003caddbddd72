"""The only reader and writer of result files.

A run folder ``results/<suite>/<run>/`` holds

- ``run.json``: what was asked, on what, by which code, data and weights; how every stage ended
- ``cells.parquet``: one row per cell, with status and reason
- ``samples/verification.parquet``: one row per (cell, pair)
- ``samples/images.parquet``: one row per (data set, defense, authorised models, repeat, image), where ``attack`` is
  empty for what the client made and the attack's label for what an adversary made of it
- ``samples/floors.parquet``: one row per (data set, image): what an image metric gives without any leak
- ``samples/examples.parquet``: a few of these images beside their originals, as PNG
- ``samples/attributes.parquet``: one row per (cell, image, attribute)
- ``samples/up.parquet``: one row per (cell, image, noise level): the terms of Equation 9

Aggregates are never stored: tables are recomputed from these rows.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.cache import Artifact, Cache, DamagedError, write_atomically
from bench.errors import DataError, StorageError, did_you_mean
from bench.hookspecs import Dataset, Model
from bench.plugins import Registry
from bench.provenance import file_sha256
from bench.types import Cell, Component, Outcome

if TYPE_CHECKING:
    from bench.plan import Plan

SCHEMA_VERSION = 2
SAMPLES = ("verification", "images", "floors", "examples", "attributes", "up")
_TEXT, _NUMBER, _COUNT, _FLAG = pa.string(), pa.float64(), pa.int64(), pa.bool_()
CELLS = pa.schema(
    [
        *((name, _TEXT) for name in ("cell", "experiment", "table", "dataset", "dataset_stands_in_for")),
        ("synthetic", _FLAG),
        *((name, _TEXT) for name in ("defense", "defense_params", "authorised", "authorised_stand_in_for", "attack")),
        *((name, _TEXT) for name in ("via", "upload", "outputs")),
        ("leaky", _FLAG),
        *((name, _TEXT) for name in ("evaluated", "evaluated_stands_in_for", "role")),
        ("repeat", _COUNT),
        ("pairs", _COUNT),
        ("kappa", _NUMBER),
        *((name, _TEXT) for name in ("threat", "status", "reason")),
        ("seconds", _NUMBER),
        ("peak_mb", _NUMBER),
        ("cached", _FLAG),
        *((name, _TEXT) for name in ("device", "stages", "components")),
    ]
)


@dataclass(frozen=True)
class Results:
    """A run folder, read. Tables are pandas; a sample table without rows is empty and has no columns."""

    folder: Path

    @cached_property
    def run(self) -> dict[str, Any]:
        """``run.json``."""
        try:
            run: dict[str, Any] = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StorageError(f"{self.folder / 'run.json'}: expected the record of a run: {error}") from None
        if not isinstance(run, dict):
            raise StorageError(f"{self.folder / 'run.json'}: expected the record of a run, found something else")
        if run.get("schema") != SCHEMA_VERSION:
            found = run.get("schema")
            raise StorageError(
                f"{self.folder}: its results have schema {found}, this bench reads {SCHEMA_VERSION}; "
                "run the suite again, or install the version of bench that wrote them"
            )
        return run

    @cached_property
    def cells(self) -> pd.DataFrame:
        """One row per cell."""
        return self._read(self.folder / "cells.parquet")

    def samples(self, name: str) -> pd.DataFrame:
        """Per-sample rows: ``verification``, ``images``, ``floors`` or ``examples``."""
        path = self.folder / "samples" / f"{name}.parquet"
        return self._read(path) if path.exists() else pd.DataFrame()

    def _read(self, path: Path) -> pd.DataFrame:
        try:
            frame: pd.DataFrame = pq.read_table(path).to_pandas()
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{path}: cannot be read ({error}); run the suite again to write it anew") from None
        return frame


def find_run(run: str, results: Path) -> Path:
    """The run folder that ``RUN`` means: a folder, or the latest run of a suite of that name."""
    given = Path(run)
    if (given / "run.json").is_file():
        return given
    suite = results / run
    runs = sorted((p for p in suite.glob("*/run.json")), key=lambda p: p.stat().st_mtime)
    if runs:
        return runs[-1].parent
    known = [p.name for p in results.iterdir() if p.is_dir() and not p.name.startswith(".")] if results.is_dir() else []
    hint = did_you_mean(run, known) if known else "no suite has been run here yet: bench run suites/paper.toml"
    raise StorageError(f"{run}: expected a run folder or the name of a suite with a run in {results}; {hint}")


def label_of(components: Sequence[Component]) -> str:
    """The label of a set of authorised models: joined by ``+``; empty for a defense that knows no model."""
    return "+".join(c.label for c in components)


def cell_row(outcome: Outcome, registry: Registry) -> dict[str, Any]:
    """The row of ``cells.parquet`` for an outcome."""
    cell = outcome.cell
    dataset: Dataset = _declaration(cell.dataset, registry)
    return {
        "cell": cell.id,
        "experiment": cell.experiment,
        "table": cell.table,
        "dataset": cell.dataset.label,
        "dataset_stands_in_for": dataset.stands_in_for,
        "synthetic": dataset.synthetic,
        "defense": cell.defense.label,
        "defense_params": json.dumps(dict(cell.defense.params), sort_keys=True, default=str),
        "authorised": label_of(cell.authorised),
        "authorised_stand_in_for": "+".join(_stands_in_for(c, registry) for c in cell.authorised),
        "attack": cell.attack.label,
        "via": cell.attack.via.label if cell.attack.via else None,
        "upload": cell.upload,
        "outputs": cell.outputs,
        "leaky": cell.leaky,
        "evaluated": cell.evaluated.label if cell.evaluated else "",
        "evaluated_stands_in_for": _stands_in_for(cell.evaluated, registry) if cell.evaluated else "",
        "role": _role(cell),
        "repeat": cell.repeat,
        "pairs": cell.pairs,
        "kappa": cell.kappa,
        "threat": cell.threat,
        "status": outcome.status,
        "reason": outcome.reason,
        "seconds": outcome.seconds,
        "peak_mb": outcome.peak_mb,
        "cached": outcome.cached,
        "device": outcome.device,
        "stages": json.dumps(cell.stages),
        "components": json.dumps([asdict(c) for c in cell.components], default=str),
    }


def _declaration(component: Component, registry: Registry) -> Any:
    return registry.find(component.kind, component.name, component.label).cls(**component.params)


def _stands_in_for(component: Component, registry: Registry) -> str:
    """The paper's name of a model, or its label where it has none."""
    model: Model = _declaration(component, registry)
    return model.stands_in_for or component.label


def _role(cell: Cell) -> str:
    """What the evaluated model is to the client: ``authorised``, ``unauthorised``, or ``any`` without authorisation."""
    evaluated = cell.evaluated
    if not cell.authorised or evaluated is None:
        return "any"
    authorised = any((c.name, c.params) == (evaluated.name, evaluated.params) for c in cell.authorised)
    return "authorised" if authorised else "unauthorised"


def _points(cell: Cell, synthetic: bool) -> dict[str, Any]:
    return {
        "experiment": cell.experiment,
        "dataset": cell.dataset.label,
        "synthetic": synthetic,
        "defense": cell.defense.label,
        "authorised": label_of(cell.authorised),
        "repeat": cell.repeat,
    }


def _belongs(name: str, table: pa.Table, cell: Cell, synthetic: bool) -> dict[str, Any]:
    """The columns that say where the rows of a score belong. Labels are put in here, never into artifacts."""
    columns = _points(cell, synthetic)
    if name == "floors":
        return {k: columns[k] for k in ("experiment", "dataset", "synthetic")}
    if name in ("images", "examples"):
        reconstructed = bool(table.num_rows and table["reconstructed"][0].as_py())
        return {**columns, "attack": (cell.attack.via or cell.attack).label if reconstructed else ""}
    evaluated = cell.evaluated.label if cell.evaluated else ""
    via = cell.attack.via.label if cell.attack.via else ""
    return {"cell": cell.id, **columns, "evaluated": evaluated, "attack": cell.attack.label, "via": via}


def _with_columns(table: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    """A table with constant columns put in front."""
    for i, (name, value) in enumerate(columns.items()):
        kind = _FLAG if isinstance(value, bool) else _COUNT if isinstance(value, int) else _TEXT
        column = pa.array([value] * table.num_rows, kind)
        table = table.add_column(i, name, column)
    return table


def _read_score(cache: Cache, key: str) -> Artifact:
    try:
        return cache.read(key)
    except DamagedError as error:
        raise StorageError(f"{error}; run the same command again: it will be computed anew") from None


def _sample_tables(outcomes: Iterable[Outcome], cache: Cache, registry: Registry) -> dict[str, list[pa.Table]]:
    """The rows of all score artifacts, each with the columns that say where it belongs."""
    tables: dict[str, list[pa.Table]] = {name: [] for name in SAMPLES}
    artifacts: dict[str, Artifact] = {}  # several cells share the scores of images and floors
    written: set[tuple[Any, ...]] = set()
    for outcome in outcomes:
        if outcome.status != "ok":
            continue
        cell = outcome.cell
        for key in cell.stages:
            if key not in artifacts:
                artifacts[key] = _read_score(cache, key)
            for name, table in artifacts[key].tables.items():
                synthetic = bool(_declaration(cell.dataset, registry).synthetic)
                columns = _belongs(name, table, cell, synthetic)
                table = table.drop_columns(["reconstructed"]) if "reconstructed" in table.column_names else table
                mark = (name, key, *columns.values())
                if mark not in written:
                    written.add(mark)
                    tables[name].append(_with_columns(table, columns))
    return tables


def write_run(
    folder: Path, outcomes: Sequence[Outcome], cache: Cache, registry: Registry, run: Mapping[str, Any]
) -> None:
    """Write a run folder; every file appears whole, ``run.json`` last."""
    try:
        (folder / "samples").mkdir(parents=True, exist_ok=True)
        for name, tables in _sample_tables(outcomes, cache, registry).items():
            path = folder / "samples" / f"{name}.parquet"
            if tables:
                _write_parquet(path, pa.concat_tables(tables, promote_options="default"))
            else:
                path.unlink(missing_ok=True)
        rows = [cell_row(outcome, registry) for outcome in outcomes]
        _write_parquet(folder / "cells.parquet", pa.Table.from_pylist(rows, schema=CELLS))
    except OSError as error:
        raise StorageError(f"{folder}: cannot write the results: {error.strerror or error}") from None
    files = {str(p.relative_to(folder)): file_sha256(p) for p in sorted(folder.rglob("*.parquet"))}
    record = {"schema": SCHEMA_VERSION, **run, "files": files}
    write_atomically(folder / "run.json", json.dumps(record, indent=1, default=str))


def _write_parquet(path: Path, table: pa.Table) -> None:
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        pq.write_table(table, beside)
        os.replace(beside, path)
    finally:
        with contextlib.suppress(OSError):  # what went wrong before is what matters
            beside.unlink(missing_ok=True)


def is_complete(folder: Path) -> bool:
    """Whether a run folder holds all rows of a run that ended well, as they were written."""
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        files = run["files"] if run["status"] == "complete" and run["schema"] == SCHEMA_VERSION else {}
        return bool(files) and all(file_sha256(folder / name) == digest for name, digest in files.items())
    except (OSError, ValueError, LookupError, TypeError, AttributeError, DataError):
        return False


def run_folder(plan: Plan, results: Path, started: str) -> Path:
    """The folder of a plan's run: the one that has its digest already, or a new one named by time and digest."""
    suite = results / plan.suite.name
    digest = plan.digest[:8]
    found = sorted(suite.glob(f"*-{digest}"))
    return found[-1] if found else suite / f"{started}-{digest}"


def require_writable(*folders: Path) -> None:
    """`StorageError` unless files can be made in every folder (or in the nearest one above it that exists)."""
    for folder in folders:
        existing = folder
        try:
            while not existing.exists():
                existing = existing.parent
            if not existing.is_dir():
                raise StorageError(f"{existing}: expected a folder, found a file; choose another --out")
            probe = existing / f".bench-{uuid.uuid4().hex[:8]}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            message = f"{existing}: cannot be written ({error.strerror}); choose another folder with --out"
            raise StorageError(message) from None


def free_bytes(folder: Path) -> int:
    """Free disk space where a folder is or will be, in bytes."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free

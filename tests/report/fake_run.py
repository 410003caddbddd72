"""A small run folder, written as the host writes it: seeded rows, hostile names, one failed and one skipped cell."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from bench.store import Results

HOSTILE = "<script>alert('x')</script> & Söhne"
CLAIMS = """dataset,defense,authorised,evaluated,accuracy_percent
LFW,identity,Clean,MobileFace,99.4
LFW,identity,Clean,ArcFace,98.2
LFW,pmt,MobileFace,MobileFace,99.0
LFW,pmt,MobileFace,ArcFace,6.7
LFW,pmt,ArcFace,MobileFace,4.8
LFW,pmt,ArcFace,ArcFace,100.0
"""
MODELS = {"net-a": "MobileFace", "net-b": "ArcFace", f"net-{HOSTILE}": f"net-{HOSTILE}"}
DATASETS = {"synth-lfw": "LFW", "synth-calfw": "CALFW"}


@dataclass
class FakeRun:
    """What the fake run holds; the defaults make the run that most tests use."""

    models: Mapping[str, str] = field(default_factory=lambda: dict(MODELS))
    datasets: Mapping[str, str] = field(default_factory=lambda: dict(DATASETS))
    defenses: Sequence[tuple[str, str, bool]] = (
        ("Clean", "identity", False),
        ("Noise 0.3", "noise", False),
        ("PMT", "pmt", True),
    )
    authorised: Sequence[tuple[str, ...]] = (("net-a",), ("net-b",))
    pairs: int = 20
    repeats: int = 1
    failed: Callable[[dict[str, Any]], str | None] = lambda c: None
    skipped: Callable[[dict[str, Any]], str | None] = lambda c: None
    synthetic: bool = True
    claims: str | None = CLAIMS
    picture: Callable[[np.random.Generator], bytes] | None = None
    table: str | None = "VII"


def png(rng: np.random.Generator, size: int = 12) -> bytes:
    """A small noisy picture."""
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _component(kind: str, label: str, name: str, digest: str = "d" * 64) -> dict[str, Any]:
    return {
        "kind": kind,
        "name": name,
        "label": label,
        "params": {},
        "passed": {},
        "origin": {"distribution": "face-privacy-bench", "version": "0.1.0", "package": name, "digest": digest},
        "weights": "a" * 64 if kind in ("model", "dataset") else None,
    }


def cells_of(spec: FakeRun) -> Iterator[dict[str, Any]]:
    """The rows of ``cells.parquet``, in the host's order."""
    for dataset, paper_dataset in spec.datasets.items():
        for defense, plugin, knows in spec.defenses:
            for members in spec.authorised if knows else ((),):
                for model, paper_model in spec.models.items():
                    for repeat in range(spec.repeats):
                        label = "+".join(members)
                        role = "authorised" if model in members else "unauthorised"
                        parts = [_component("dataset", dataset, dataset)]
                        parts += [_component("model", m, m) for m in members]
                        parts += [_component("defense", defense, plugin), _component("attack", "abuse", "abuse")]
                        cell: dict[str, Any] = {
                            "cell": f"c-{dataset}-{defense}-{label}-{model}-{repeat}",
                            "experiment": "data-abuse",
                            "table": spec.table,
                            "dataset": dataset,
                            "dataset_stands_in_for": paper_dataset,
                            "synthetic": spec.synthetic,
                            "defense": defense,
                            "defense_params": "{}",
                            "authorised": label,
                            "authorised_stand_in_for": "+".join(spec.models[m] for m in members),
                            "attack": "abuse",
                            "evaluated": model,
                            "evaluated_stands_in_for": paper_model,
                            "role": role if knows else "any",
                            "repeat": repeat,
                            "pairs": spec.pairs,
                            "kappa": 0.2,
                            "threat": "sees the uploaded images",
                            "status": "ok",
                            "reason": None,
                            "seconds": 1.5,
                            "peak_mb": 200.0,
                            "cached": False,
                            "device": "cpu",
                            "stages": "[]",
                            "components": json.dumps([*parts, _component("model", model, model)]),
                        }
                        for status, rule in (("failed", spec.failed), ("skipped", spec.skipped)):
                            if reason := rule(cell):
                                cell |= {"status": status, "reason": reason}
                        yield cell


def verification_of(cell: dict[str, Any], clean: bool, rng: np.random.Generator) -> dict[str, Any]:
    """Seeded scores that look like those of a defense that works."""
    n = cell["pairs"]
    same = np.arange(n) % 2 == 0
    genuine = np.where(same, 0.75, 0.1) + rng.normal(0, 0.1, n)
    kept = {"authorised": 0.7, "unauthorised": 0.12, "any": 0.45}[cell["role"]]
    itself = np.ones(n) if clean else np.clip(kept + rng.normal(0, 0.12, n), -1, 1)
    cross = genuine if clean else np.clip(genuine * kept + rng.normal(0, 0.05, n), -1, 1)
    return {
        "cell": [cell["cell"]] * n,
        **{k: [cell[k]] * n for k in ("experiment", "dataset", "defense", "authorised", "repeat", "evaluated")},
        "pair": np.arange(n),
        "left_id": [f"{cell['dataset']}-{i:03d}-l" for i in range(n)],
        "right_id": [f"{cell['dataset']}-{i:03d}-r" for i in range(n)],
        "left_subject": np.arange(n),
        "right_subject": np.where(same, np.arange(n), np.arange(n) + 1000),
        "same": same,
        "fold": np.arange(n) * 10 // n,
        "cos_self": itself,
        "cos_cross": cross,
        "cos_clean": genuine,
        "flip_cross": cross,
        "flip_clean": genuine,
        "kappa_calibrated": np.full(n, 0.35),
        "fmr": np.full(n, 0.01),
        "calibration_impostors": np.full(n, 12345),
    }


def _image_tables(
    points: dict[tuple[Any, ...], dict[str, Any]], spec: FakeRun, rng: np.random.Generator
) -> Iterator[tuple[str, dict[str, Any]]]:
    draw = spec.picture or png
    plugin = {d: p for d, p, _ in spec.defenses}
    originals: dict[str, bytes] = {}
    for (dataset, defense, authorised, repeat), cell in points.items():
        n, clean = cell["pairs"], plugin[defense] == "identity"
        ids = [f"{dataset}-{i:03d}-l" for i in range(n)]
        ssim = np.ones(n) if clean else rng.normal(0.3 if not authorised else 0.017, 0.004, n)
        where = {"experiment": "data-abuse", "dataset": dataset, "defense": defense, "authorised": authorised}
        where |= {"repeat": repeat}
        yield (
            "images",
            {
                **{k: [v] * n for k, v in where.items()},
                "sample_id": ids,
                "subject": np.arange(n),
                "ssim": ssim,
                "psnr": pa.array(rng.normal(10, 0.5, n), mask=np.full(n, clean)),
                "psnr_infinite": np.full(n, clean),
                "extra_final_loss": pa.array(rng.random(n), mask=np.full(n, not authorised)),
            },
        )
        shown = ids[:6]
        for i in shown:
            originals.setdefault(i, draw(rng))
        yield (
            "examples",
            {
                **{k: [v] * len(shown) for k, v in where.items()},
                "sample_id": shown,
                "original": pa.array([originals[i] for i in shown], pa.binary()),
                "protected": pa.array([originals[i] if clean else draw(rng) for i in shown], pa.binary()),
                "ssim": ssim[: len(shown)],
            },
        )


def write_fake_run(folder: Path, spec: FakeRun | None = None, seed: int = 0) -> Results:
    """Write a run folder and open it."""
    spec = spec or FakeRun()
    rng = np.random.default_rng(seed)
    cells = list(cells_of(spec))
    plugin = {d: p for d, p, _ in spec.defenses}
    tables: dict[str, list[pa.Table]] = {name: [] for name in ("verification", "images", "floors", "examples")}
    points: dict[tuple[Any, ...], dict[str, Any]] = {}
    for cell in cells:
        if cell["status"] == "ok":
            rows = verification_of(cell, plugin[cell["defense"]] == "identity", rng)
            tables["verification"].append(pa.table(rows))
            points.setdefault((cell["dataset"], cell["defense"], cell["authorised"], cell["repeat"]), cell)
    for name, rows in _image_tables(points, spec, rng):
        tables[name].append(pa.table(rows))
    for dataset in spec.datasets:
        n = spec.pairs
        floors = {"experiment": ["data-abuse"] * n, "dataset": [dataset] * n}
        floors |= {"sample_id": [f"{dataset}-{i:03d}-l" for i in range(n)]}
        for floor, (ssim, psnr) in {"another_face": (0.26, 11), "grey": (0.38, 12), "noise": (0.01, 9)}.items():
            floors |= {f"ssim_{floor}": rng.normal(ssim, 0.01, n), f"psnr_{floor}": rng.normal(psnr, 0.3, n)}
        tables["floors"].append(pa.table(floors))
    (folder / "samples").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(cells), folder / "cells.parquet")
    for name, parts in tables.items():
        if parts:
            pq.write_table(pa.concat_tables(parts, promote_options="default"), folder / "samples" / f"{name}.parquet")
    (folder / "run.json").write_text(json.dumps(_run(spec, cells)))
    return Results(folder)


def _run(spec: FakeRun, cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    count = {s: sum(c["status"] == s for c in cells) for s in ("ok", "skipped", "failed", "timeout")}
    components: dict[str, Any] = {}
    for cell in cells:
        for component in json.loads(cell["components"]):
            components[f"{component['kind']} {component['label']}"] = component
    stage = {"status": "ok", "cached": True, "seconds": 2.5, "peak_mb": 310.0, "device": "cpu", "reason": None}
    return {
        "schema": 1,
        "suite": {
            "name": "fake",
            "title": f"A made-up run {HOSTILE}",
            "description": "Rows drawn at random, to look at the report.",
            "path": "suites/fake.toml",
            "sha256": "c" * 64,
            "raw": {"suite": {"name": "fake", "seed": 7}},
            "experiments": [
                {
                    "name": "data-abuse",
                    "table": spec.table,
                    "pairs": spec.pairs,
                    "kappa": 0.2,
                    "fmr": 0.01,
                    "claims": spec.claims,
                }
            ],
        },
        "command": ["bench", "run", "suites/fake.toml", "--pairs", str(spec.pairs)],
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:16:45+00:00",
        "seconds": 760.4,
        "status": "complete" if not count["failed"] else "incomplete",
        "digest": "e" * 64,
        "device": "cpu",
        "machine": {"platform": "Linux-6", "processor": "A & B <CPU>", "cores": 2, "python": "3.11.9"},
        "versions": {"face-privacy-bench": "0.1.0", "torch": "2.11.0", "numpy": "2.4.6"},
        "commit": "f" * 40,
        "plugins": [
            {"name": "pmt", "distribution": "face-privacy-bench", "version": "0.1.0", "reason": None},
            {"name": "broken", "distribution": HOSTILE, "version": "1", "reason": f"ImportError: {HOSTILE}"},
        ],
        "components": list(components.values()),
        "stages": [
            {"key": f"{i:064x}", "kind": kind, "name": f"{kind} of {HOSTILE}", "seed": i, **stage}
            for i, kind in enumerate(("faces", "embed", "protect", "score"))
        ],
        "counts": {"cells": len(cells), **count, "stages": 4, "computed": 0, "cached": 4},
    }


def one_of_each(cell: dict[str, Any]) -> str | None:
    """The failed cell of the usual run."""
    point = (cell["dataset"], cell["authorised"], cell["evaluated"])
    return f"out of memory {HOSTILE}" if point == ("synth-calfw", "net-b", "net-a") else None


def one_skipped(cell: dict[str, Any]) -> str | None:
    """The skipped cell of the usual run."""
    point = (cell["dataset"], cell["defense"], cell["evaluated"])
    return "takes 160x160 images & not 112x112" if point == ("synth-calfw", "Noise 0.3", "net-b") else None

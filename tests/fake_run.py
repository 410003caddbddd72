"""Small run folders, written as the host writes them: seeded rows, hostile names, failed and skipped cells.

`FakeRun` describes one experiment; the default is the run that most tests use. `paper_run` describes the experiments
of all tables of the paper, with tiny N.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from bench.store.reading import RunResults
from bench.store.schema import SAMPLES, SCHEMA_VERSION, STAGES
from bench.store.writing import SampleWriter
from bench.suite.paper_tables import published

HOSTILE = "<script>alert('x')</script> & Söhne"
CLAIMS = """dataset,defense,row,column,value,unit
LFW,identity,Clean,MobileFace,99.4,%
LFW,identity,Clean,ArcFace,98.2,%
LFW,pmt,MobileFace,MobileFace,99.0,%
LFW,pmt,MobileFace,ArcFace,6.7,%
LFW,pmt,ArcFace,MobileFace,4.8,%
LFW,pmt,ArcFace,ArcFace,100.0,%
"""
MODELS = {"net-a": "MobileFace", "net-b": "ArcFace", f"net-{HOSTILE}": f"net-{HOSTILE}"}
DATASETS = {"synth-lfw": "LFW", "synth-calfw": "CALFW"}
ATTRIBUTES = {"emotion": 7, "group": 6, "gender": 2, "age": 0}  # attribute to its number of classes; 0: a number
SSIM = {"": 0.3, "identity": 0.8, "noise": 0.3, "pmt-noise": 0.5, "pmt": 0.02, "mr-pmt": 0.03}
Cell = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class FakeAttack:
    """An attack. ``features``: it sees features, so that its cells have an authorised model even without protection.

    ``knowledge`` and ``budget`` are the columns of these names; None as in runs of older versions.
    """

    label: str = "abuse"
    plugin: str = "abuse"
    outputs: str = "recognition"
    via: str = ""
    features: bool = False
    leaky: bool = False
    params: Mapping[str, Any] = field(default_factory=dict)
    knowledge: int | None = None
    budget: Mapping[str, int] | None = None


ABUSE = FakeAttack()
RECFACE = FakeAttack(label="recface", plugin="recface", outputs="images", features=True)
LEAKY = replace(RECFACE, label="recface, leaky", leaky=True)
INVERSIONS = [
    FakeAttack(label=f"inversion {s}", plugin="inversion", outputs="images", features=True, params={"start": s})
    for s in ("grey", "random", "obfuscated")
]
ESTIMATE = FakeAttack(label="attributes", plugin="attributes", outputs="attributes")
CHAIN = FakeAttack(
    label="attributes via recface", plugin="attributes", outputs="attributes", via="recface", features=True
)
LINKAGE = FakeAttack(label="linkage", plugin="linkage", outputs="links")


@dataclass(kw_only=True)
class FakeRun:
    """An experiment of a fake run. ``defenses``: label, plugin, and whether it knows the authorised models.

    ``ended`` returns further columns about the end of a cell.
    """

    name: str = "data-abuse"
    table: str | None = "VII"
    figures: Sequence[str] = ()
    models: Mapping[str, str] = field(default_factory=lambda: dict(MODELS))
    datasets: Mapping[str, str] = field(default_factory=lambda: dict(DATASETS))
    defenses: Sequence[tuple[str, str, bool]] = (
        ("Clean", "identity", False),
        ("Noise 0.3", "noise", False),
        ("PMT", "pmt", True),
    )
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    authorised: Sequence[tuple[str, ...]] = (("net-a",), ("net-b",))
    attacks: Sequence[FakeAttack] = (ABUSE,)
    pairs: int = 20
    repeats: int = 1
    kappa: float = 0.2
    upload: str = "images"
    noise_levels: Sequence[float] = ()
    lpips: bool = False
    failed: Callable[[Cell], str | None] = lambda c: None
    skipped: Callable[[Cell], str | None] = lambda c: None
    ended: Callable[[Cell], Mapping[str, Any]] = lambda c: {}
    synthetic: bool = True
    people_of: str = ""
    claims: str | None = CLAIMS
    picture: Callable[[np.random.Generator], bytes] | None = None
    # By attribute, the label of a person, or a number, from the number of the person.
    people: Mapping[str, Callable[[int], str | float | None]] = field(default_factory=dict)
    staged: bool = False  # whether every cell has a separate score stage, with the upload of its client as input


# One experiment with one authorised and one other model, on four pairs.
ONE: dict[str, Any] = {
    "models": {"net-a": "MobileFace", "net-b": "ArcFace"},
    "datasets": {"synth-lfw": "LFW"},
    "authorised": (("net-a",),),
    "pairs": 4,
}


def paper_run(*, pairs: int = 8, **changes: Any) -> list[FakeRun]:
    """Return one experiment per table of the paper, and one for its figures; ``changes`` apply to all."""
    nets = {"net-a": "MobileFace", "net-b": "ResNet50", "net-c": "IR50-Softmax"}
    pair = {"net-c": "IR50-Softmax", "net-a": "MobileFace"}
    sets = {"synth-lfw": "LFW", "synth-agedb30": "AgeDB-30"}
    clean, own = ("Unprotected", "identity", False), ("PMT", "pmt", True)
    plain: dict[str, Any] = {"models": nets, "datasets": sets, "authorised": (("net-a",),)}
    ablation: dict[str, Any] = {"models": pair, "datasets": {"synth-agedb30": "AgeDB-30"}, "authorised": (("net-c",),)}

    def sweep(**labels: Mapping[str, Any]) -> dict[str, Any]:
        base = {"init": "noise", "augment": "noise", "kernel": "gaussian", "layers": "all"}
        params = {label.replace("_", " "): base | dict(p) for label, p in labels.items()}
        return {"params": params, "defenses": [(label, "pmt", True) for label in params]}

    switches = {
        f"{a}{k}{y}": {"augment": ("none", "noise")[a], "kernel": ("none", "gaussian")[k], "layers": ("last", "all")[y]}
        for a, k, y in product((0, 1), repeat=3)
    }
    augment = {f"augment_{a}": {"augment": a} for a in ("mix", "none", "noise", "affine")}
    specs = [
        FakeRun(name="data-abuse", table="VII", **plain),
        FakeRun(
            name="reconstruction",
            table="VI",
            defenses=[("Unprotected", "identity", False), ("Feature noise", "pmt-noise", True), own],
            attacks=(*INVERSIONS, RECFACE, LEAKY),
            **plain,
        ),
        FakeRun(
            name="attributes",
            table="VIII",
            defenses=[own, ("x + noise", "noise", False)],
            attacks=(ESTIMATE, CHAIN),
            **plain,
        ),
        FakeRun(
            name="several-models",
            table="IX",
            defenses=[("MR-PMT", "mr-pmt", True)],
            **plain | {"authorised": (("net-a", "net-b"), ("net-c", "net-b", "net-a"))},
        ),
        FakeRun(
            name="switches",
            table="X",
            attacks=(ABUSE, ESTIMATE),
            noise_levels=(0.0, 0.1),
            kappa=0.3,
            **ablation | sweep(**switches) | {"datasets": {"synth-lfw": "LFW"}},
        ),
        FakeRun(name="starts", table="III", **ablation | sweep(**{i: {"init": i} for i in ("sort", "blur", "noise")})),
        FakeRun(name="augmentation", table="IV", **ablation | sweep(**augment, last={"layers": "last"})),
        FakeRun(
            name="kernels", table="V", **ablation | sweep(**{k: {"kernel": k} for k in ("none", "linear", "gaussian")})
        ),
        FakeRun(
            name="tradeoff",
            table=None,
            figures=("8", "10"),
            defenses=[clean, own],
            attacks=(ESTIMATE,),
            noise_levels=(0.0, 0.1, 0.2, 0.3),
            kappa=0.5,
            **plain | {"datasets": {"synth-lfw": "LFW"}},
        ),
    ]
    return [replace(s, pairs=pairs, claims=published(s.table) if s.table else None, **changes) for s in specs]


def large_run(*, settings: int = 20, pairs: int = 10) -> list[FakeRun]:
    """Return the experiments of a large study: 10,000 cells for the default of 20 settings of a defense."""
    models = {f"net-{i}": f"Net{i}" for i in range(8)}
    datasets = {f"faces-{i}": f"Faces{i}" for i in range(5)}
    about: dict[str, Any] = {
        "models": models,
        "datasets": datasets,
        "authorised": [(m,) for m in models],
        "pairs": pairs,
        "claims": None,
        "staged": True,
    }
    swept = [(f"PMT {i}", "pmt", True) for i in range(settings)]
    more = [(f"PMT {i}", "pmt", True) for i in range(2 * settings)]
    clean, noise = ("Clean", "identity", False), ("Noise 0.3", "noise", False)
    params = {label: {"steps": i, "kernel": "gaussian", "layers": "all"} for i, (label, *_) in enumerate(more)}
    attacks = (RECFACE, INVERSIONS[0])
    rebuilt = {**about, "name": "reconstruction", "table": "VI", "defenses": [clean, *swept[: settings // 10]]}
    return [
        FakeRun(**about, name="recognition", table="VII", defenses=[clean, noise, *swept], params=params),
        FakeRun(**rebuilt, attacks=attacks, params=params),
        FakeRun(**about, name="attributes", table="VIII", defenses=[clean, *more], attacks=(ESTIMATE,), params=params),
    ]


def png(rng: np.random.Generator, size: int = 12) -> bytes:
    """Return a small noisy picture as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


# ---- cells -----------------------------------------------------------------------------------------------------------


def _component(
    kind: str, label: str, name: str, params: Mapping[str, Any] | None = None, digest: str = "d" * 64
) -> dict[str, Any]:
    return {
        "kind": kind,
        "name": name,
        "label": label,
        "params": dict(params or {}),
        "passed": {},
        "origin": {"distribution": "face-privacy-bench", "version": "0.1.0", "package": name, "digest": digest},
        "weights": "a" * 64 if kind in ("model", "dataset") else None,
    }


def cells_of(spec: FakeRun) -> Iterator[Cell]:
    """Return the rows of ``cells.parquet`` of an experiment, in the host's order."""
    for dataset, (defense, plugin, knows) in product(spec.datasets, spec.defenses):
        for attack in spec.attacks:
            asked = attack.outputs != "attributes" or bool(spec.noise_levels)
            for members in spec.authorised if knows or attack.features else ((),):
                for model, repeat in product(spec.models if asked else ("",), range(spec.repeats)):
                    cell = _cell(spec, dataset, defense, plugin, attack, members, model) | {"repeat": repeat}
                    usual = (spec.name, attack.label) == ("data-abuse", "abuse")
                    point = f"{dataset}-{defense}-{cell['authorised']}-{model}-{repeat}"
                    cell["cell"] = f"c-{point}" if usual else f"c-{spec.name}-{attack.label}-{point}"
                    for status, rule in (("failed", spec.failed), ("skipped", spec.skipped)):
                        if reason := rule(cell):
                            cell |= {"status": status, "reason": reason}
                    if spec.staged:
                        cell["stages"] = json.dumps([key_of("score", cell["cell"])])
                    yield cell | dict(spec.ended(cell))


def _cell(
    spec: FakeRun, dataset: str, defense: str, plugin: str, attack: FakeAttack, members: Sequence[str], model: str
) -> Cell:
    parts = [{"role": "dataset", **_component("dataset", dataset, dataset)}]
    parts += [{"role": "authorised", **_component("model", m, m)} for m in members]
    parts.append({"role": "defense", **_component("defense", defense, plugin, spec.params.get(defense))})
    parts.append({"role": "attack", **_component("attack", attack.label, attack.plugin, attack.params)})
    parts += [{"role": "evaluated", **_component("model", model, model)}] if model else []
    parts += [{"role": "via", **_component("attack", attack.via, "recface")}] if attack.via else []
    role = "any" if not members or not model else "authorised" if model in members else "unauthorised"
    return {
        "cell": "",
        "experiment": spec.name,
        "table": spec.table,
        "dataset": dataset,
        "dataset_stands_in_for": spec.datasets[dataset],
        "synthetic": spec.synthetic,
        "people_of": spec.people_of or None,
        "defense": defense,
        "defense_params": json.dumps(dict(spec.params.get(defense, {}))),
        "authorised": "+".join(members),
        "authorised_stand_in_for": [spec.models[m] for m in members],
        "attack": attack.label,
        "via": attack.via or None,
        "upload": spec.upload,
        "outputs": attack.outputs,
        "knowledge": attack.knowledge,
        "budget": None if attack.budget is None else json.dumps(dict(attack.budget)),
        "leaky": attack.leaky,
        "learner_overlap": None,
        "training_overlap": None,
        "evaluated": model,
        "evaluated_stands_in_for": spec.models.get(model, ""),
        "role": role,
        "repeat": 0,
        "pairs": spec.pairs,
        "kappa": spec.kappa,
        "threat": f"sees the uploaded {spec.upload}",
        "status": "ok",
        "reason": None,
        "traceback": None,
        "log": None,
        "batch": None,
        "seconds": 1.5,
        "peak_mb": 200.0,
        "cached": False,
        "device": "cpu",
        "stages": "[]",
        "components": json.dumps(parts),
    }


def _plugin(cell: Cell) -> str:
    return str(next(c["name"] for c in json.loads(cell["components"]) if c["kind"] == "defense"))


# ---- samples ---------------------------------------------------------------------------------------------------------


def _where(cell: Cell, *names: str) -> dict[str, list[Any]]:
    keys = ("experiment", "dataset", "synthetic", "defense", "authorised", "repeat", *names)
    return {k: [cell[k]] * cell["pairs"] for k in keys}


def _left(cell: Cell) -> dict[str, Any]:
    n = cell["pairs"]
    return {"sample_id": [f"{cell['dataset']}-{i:03d}-l" for i in range(n)], "subject": np.arange(n)}


def verification_of(cell: Cell, rng: np.random.Generator) -> dict[str, Any]:
    """Return seeded scores that look like those of a defense that works."""
    n = cell["pairs"]
    same = np.arange(n) % 2 == 0
    genuine = np.clip(np.where(same, 0.75, 0.1) + rng.normal(0, 0.1, n), -1, 1)
    kept = {"authorised": 0.7, "unauthorised": 0.12, "any": 0.45}[cell["role"]]
    clean = _plugin(cell) == "identity" and cell["outputs"] == "recognition"
    itself = np.ones(n) if clean else np.clip(kept + rng.normal(0, 0.12, n), -1, 1)
    cross = genuine if clean else np.clip(genuine * kept + rng.normal(0, 0.05, n), -1, 1)
    return {
        **_where(cell, "cell", "evaluated", "attack"),
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
        "rank": np.where(itself > 0.4, 1, rng.integers(1, n + 1, n)),
        "rank_enrolled": pa.array(np.where(cross > 0.3, 1, rng.integers(1, n + 1, n)), mask=~same),
        "gallery": np.full(n, n),
        "kappa_calibrated": np.full(n, 0.35),
        "fmr": np.full(n, 0.01),
        "calibration_impostors": np.full(n, 12345),
        **chance_of(same),
    }


def chance_of(same: np.ndarray) -> dict[str, Any]:
    """Return the columns of the adversary's threshold and of the chance levels, for people with one original each."""
    n = len(same)
    return {
        "calibration_people": np.full(n, 150),
        "threshold_rule": ["fmr"] * n,
        "fmr_realised": np.full(n, 0.0099),
        "kappa_adversary": np.full(n, 0.35),
        "kappa_enrolled": np.full(n, 0.35),
        "adversary_impostors": np.full(n, 9 * n * n // 10),
        "adversary_people": np.full(n, 9 * n // 10),
        "impostor_match_adversary": np.where(np.arange(n) % 5 == 0, 0.05, 0.0),
        "impostor_match_enrolled": np.where(np.arange(n) % 5 == 0, 0.05, 0.0),
        "impostor_match": np.where(np.arange(n) % 10 == 0, 0.05, 0.0),
        "rank_chance": np.full(n, 1 / n),
        "rank_enrolled_chance": pa.array(np.full(n, 1 / n), mask=~same),
    }


def _pictures(
    cell: Cell, picture: str, spec: FakeRun, rng: np.random.Generator
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return image and example rows of an upload (``picture`` empty) or of its reconstruction by an attack."""
    n, plugin = cell["pairs"], _plugin(cell)
    same = plugin == "identity" and not picture
    shift = 0.01 * [a.label for a in spec.attacks].index(picture) if picture else 0.0
    level = SSIM.get(plugin, 0.3) + shift
    ssim = np.ones(n) if same else rng.normal(level, 0.004, n)
    where = {**_where(cell), "attack": [picture] * n, **_left(cell)}
    known = {
        "ssim": ssim,
        "psnr": pa.array(rng.normal(10, 0.5, n), mask=np.full(n, same)),
        "psnr_infinite": np.full(n, same),
        "lpips": pa.array(rng.uniform(0, 1, n), mask=np.full(n, not spec.lpips)),
        "upload_bytes": np.full(n, 37632),
    }
    if not picture:
        known["extra_final_loss"] = pa.array(rng.random(n), mask=np.full(n, not cell["authorised"]))
    yield "images", where | known
    shown = slice(0, min(6, n))
    draw = spec.picture or png
    faces = [draw(np.random.default_rng(i)) for i in range(shown.stop)]
    made = faces if same else [draw(rng) for _ in faces]
    columns = {k: v[shown] for k, v in where.items() if k != "subject"}
    columns |= {"original": pa.array(faces, pa.binary()), "protected": pa.array(made, pa.binary()), "ssim": ssim[shown]}
    yield "examples", columns


def _attribute_rows(cell: Cell, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    n = cell["pairs"]
    level = 1.0 if _plugin(cell) == "identity" else 0.85 if _plugin(cell) == "noise" else 0.5
    for name, classes in ATTRIBUTES.items():
        value = np.clip(rng.normal(level, 0.05, n), 0, 1) if classes else rng.normal(20 * (1.3 - level), 1, n)
        yield {
            **_where(cell, "cell", "attack", "via"),
            **_left(cell),
            "attribute": [name] * n,
            "measure": ["cosine" if classes else "years"] * n,
            "value": value,
            "permuted": np.full(n, 0.4 if classes else 14.0),
            "baseline": np.full(n, 0.45 if classes else 12.0),
            "original": [f"{name} 1"] * n,
            "predicted": [f"{name} {i % 2}" for i in range(n)],
            "truth": pa.nulls(n, pa.string()),
        }


def _link_rows(cell: Cell, rng: np.random.Generator) -> dict[str, Any]:
    """Return pairs of two uploads: even ones show one person and score higher, but for a quarter of them."""
    n = cell["pairs"]
    pair = np.arange(n)
    same, missed = pair % 2 == 0, pair % 8 == 0
    level = 1.0 if _plugin(cell) == "identity" else 0.4
    score = np.where(same & ~missed, level, 0.0) + rng.normal(0, 0.01, n)
    lower = np.array([np.mean(score[~same] < one) for one in score])
    return {
        **_where(cell, "cell", "evaluated", "attack", "via"),
        "pair": pair,
        **{f"{side}_id": [f"{cell['dataset']}-{i:03d}-{side[0]}" for i in pair] for side in ("left", "right")},
        "left_subject": pair,
        "right_subject": np.where(same, pair, pair + n),
        "same": same,
        "fold": pair % 10,
        "score": score,
        "permuted": rng.normal(0, 0.01, n),
        "kappa": np.full(n, 0.2),
        "kappa_impostors": np.full(n, n),
        "fmr": np.full(n, 0.01),
        "auc": pa.array(lower, mask=~same),
    }


def _up_rows(cell: Cell, spec: FakeRun, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    n = cell["pairs"]
    protected = _plugin(cell) != "identity"
    kept = 0.15 if cell["role"] == "unauthorised" else 0.65 if protected else 0.95
    for sigma in spec.noise_levels:
        cosine = np.clip(kept * (1 - sigma**2 * (3 if protected else 9)) + rng.normal(0, 0.05, n), -1, 1)
        distances = {name: rng.uniform(0.2, 0.6, n) * (1 if protected else sigma) for name in ATTRIBUTES}
        yield {
            **_where(cell, "cell", "evaluated", "attack", "via"),
            **_left(cell),
            "sigma": np.full(n, sigma),
            "cosine": cosine,
            "dist": np.mean(list(distances.values()), axis=0),
            **{f"dist_{name}": values for name, values in distances.items()},
            "lpips": pa.array(rng.uniform(0.6, 0.9, n) * (1 if protected else sigma), mask=np.full(n, not spec.lpips)),
        }


def _baselines(spec: FakeRun, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    for dataset in spec.datasets:
        n = spec.pairs
        found: dict[str, Any] = {"experiment": [spec.name] * n, "dataset": [dataset] * n}
        found |= {"sample_id": [f"{dataset}-{i:03d}-l" for i in range(n)], "subject": np.arange(n)}
        for baseline, (ssim, psnr) in {
            "another_face": (0.26, 11),
            "grey": (0.38, 12),
            "noise": (0.01, 9),
            "wide_noise": (0.005, 6),
        }.items():
            found |= {f"ssim_{baseline}": rng.normal(ssim, 0.01, n), f"psnr_{baseline}": rng.normal(psnr, 0.3, n)}
            found[f"lpips_{baseline}"] = pa.array(rng.uniform(0.6, 0.8, n), mask=np.full(n, not spec.lpips))
        yield found


def _people(spec: FakeRun) -> Iterator[dict[str, Any]]:
    """Return what is known of the people who are protected; those on the other side of impostor pairs are not."""
    n = spec.pairs
    for dataset, (name, of) in product(spec.datasets, spec.people.items()):
        known = [of(i) for i in range(n)]
        yield {
            "experiment": [spec.name] * n,
            "dataset": [dataset] * n,
            "subject": np.arange(n),
            "attribute": [name] * n,
            "label": pa.array([k if isinstance(k, str) else None for k in known], pa.string()),
            "value": pa.array([k if isinstance(k, float) else None for k in known], pa.float64()),
            "pictures": np.full(n, 2),
        }


def _samples(spec: FakeRun, cells: Sequence[Cell], rng: np.random.Generator) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return all rows of an experiment's cells that ended well; those of pictures once for all evaluated models."""
    drawn: set[tuple[Any, ...]] = set()
    for cell in cells:
        if cell["status"] != "ok":
            continue
        if cell["outputs"] == "links":
            yield "links", _link_rows(cell, rng)
        elif cell["outputs"] != "attributes":
            yield "verification", verification_of(cell, rng)
        elif spec.noise_levels:
            yield from (("up", rows) for rows in _up_rows(cell, spec, rng))
        if cell["outputs"] == "attributes":
            yield from (("attributes", rows) for rows in _attribute_rows(cell, rng))
        made = cell["attack"] if cell["outputs"] == "images" else cell["via"]
        for picture in dict.fromkeys(("", made or "")):
            point = (cell["dataset"], cell["defense"], cell["authorised"], cell["repeat"], picture)
            known = picture in {"", *(a.label for a in spec.attacks)}
            if known and point not in drawn:
                drawn.add(point)
                yield from _pictures(cell, picture, spec, rng)
    yield from (("baselines", rows) for rows in _baselines(spec, rng))
    yield from (("people", rows) for rows in _people(spec))


# ---- the folder ------------------------------------------------------------------------------------------------------


def write_fake_run(folder: Path, spec: FakeRun | Sequence[FakeRun] | None = None, seed: int = 0) -> RunResults:
    """Write a run folder with one or more experiments and open it."""
    specs = [spec or FakeRun()] if isinstance(spec, FakeRun | None) else list(spec)
    rng = np.random.default_rng(seed)
    cells: list[Cell] = []
    with SampleWriter(folder) as samples:
        for one in specs:
            own = list(cells_of(one))
            cells += own
            for name, rows in _samples(one, own, rng):
                samples.add(name, one.name, pa.table(rows))
    pq.write_table(pa.Table.from_pylist([_stored(cell) for cell in cells]), folder / "cells.parquet")
    pq.write_table(pa.Table.from_pylist(_stages(cells), schema=STAGES), folder / "stages.parquet")
    (folder / "run.json").write_text(json.dumps(_run(specs, cells)))
    return RunResults(folder)


def rewritten(results: RunResults, **tables: Callable[[pd.DataFrame], None]) -> RunResults:
    """Change some sample tables of a run in place and return its results."""
    found = {name: results.samples(name) for name in SAMPLES}
    for name, change in tables.items():
        change(found[name])
    with SampleWriter(results.folder) as samples:
        for experiment in dict.fromkeys(results.cells["experiment"]):
            for name, table in found.items():
                if not table.empty and len(own := table[table["experiment"] == experiment]):
                    samples.add(name, experiment, pa.Table.from_pandas(own, preserve_index=False))
    return RunResults(results.folder)


def with_today(results: RunResults) -> RunResults:
    """Add the columns that rows of today have beside those of earlier versions, and return the results."""

    def ranked(rows: pd.DataFrame) -> None:
        rows["rank_first"] = (rows["rank"] == 1).astype(float)
        rows["rank_enrolled_first"] = (rows["rank_enrolled"] == 1).where(rows["rank_enrolled"].notna()).astype(float)

    def linked(rows: pd.DataFrame) -> None:
        if not rows.empty:
            rows["alike"], rows["alike_subject"] = rows["permuted"], rows["left_subject"] + 1

    return rewritten(results, verification=ranked, links=linked)


def _run(specs: Sequence[FakeRun], cells: Sequence[Cell]) -> dict[str, Any]:
    count = {s: sum(c["status"] == s for c in cells) for s in ("ok", "skipped", "failed", "timeout")}
    components: dict[str, Any] = {}
    for cell in cells:
        for component in json.loads(cell["components"]):
            components[f"{component['kind']} {component['label']}"] = component
    return {
        "schema": SCHEMA_VERSION,
        "suite": {
            "name": "fake",
            "title": f"A made-up run {HOSTILE}",
            "description": "Rows drawn at random, to look at the report.",
            "path": "suites/fake.toml",
            "sha256": "c" * 64,
            "raw": {"suite": {"name": "fake", "seed": 7}},
            "experiments": [_experiment(s) for s in specs],
        },
        "command": ["bench", "run", "suites/fake.toml", "--pairs", str(specs[0].pairs)],
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:16:45+00:00",
        "seconds": 760.4,
        "status": "running"
        if "queued" in {c["status"] for c in cells}
        else "complete"
        if not count["failed"]
        else "incomplete",
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
        "counts": {"cells": len(cells), **count, "stages": 4, "computed": 0, "cached": 4},
    }


def _stored(cell: Cell) -> Cell:
    """Return the row of a cell as it is stored, with the authorised models as a list."""
    parts = json.loads(cell["components"])
    return {**cell, "authorised": [part["label"] for part in parts if part["role"] == "authorised"]}


def key_of(kind: str, name: str) -> str:
    """Return the key of a stage."""
    return hashlib.sha256(f"{kind} {name}".encode()).hexdigest()


def _stages(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    stage = {"status": "ok", "cached": True, "seconds": 2.5, "peak_mb": 310.0, "device": "cpu", "attempts": 1}
    found: dict[str, dict[str, Any]] = {}
    for i, cell in enumerate(c for c in cells if c["stages"] != "[]"):
        upload = f"{cell['defense']} for {cell['authorised']} on {cell['dataset']}"
        score = f"score of {upload} by {cell['evaluated']}"
        protect, key = key_of("protect", upload), key_of("score", cell["cell"])
        found.setdefault(protect, {"kind": "protect", "name": f"protect {upload}", "seed": 2**53 + 2 * i + 1})
        found[key] = {"kind": "score", "name": score, "seed": i, "inputs": json.dumps({"protected": protect})}
    if found:
        return [{"key": key, **about, **stage} for key, about in found.items()]
    kinds = enumerate(("faces", "embed", "protect", "score"))
    return [{"key": f"{i:064x}", "kind": kind, "name": f"{kind} of {HOSTILE}", "seed": i, **stage} for i, kind in kinds]


def _experiment(spec: FakeRun) -> dict[str, Any]:
    return {
        "name": spec.name,
        "table": spec.table,
        "figures": list(spec.figures),
        "pairs": spec.pairs,
        "kappa": spec.kappa,
        "fmr": 0.01,
        "claims": spec.claims,
        "upload": spec.upload,
        "noise_levels": list(spec.noise_levels),
    }

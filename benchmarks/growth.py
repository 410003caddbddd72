"""Measure how time and memory of a run grow with the number of faces.

    python benchmarks/growth.py [--faces 600 6000 60000] [--side 48]

A data set makes its faces when they are read, a defense darkens them, and a small network embeds them, so that what is
measured is what bench itself does: it stores faces, protects them in batches, embeds and scores them. Half of the faces
are protected, one for each pair. For every kind of stage, the script prints the processor time per face and the peak
memory for each number of faces. Every number of faces has a run of its own, with one worker. Without the last number,
this takes half a minute.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq
from overhead import write
from ratio_row import RatioRow, table

SIDE = 48  # pixels
FACES = (600, 6000, 60_000)
SUITE = """\
[suite]
name = "growth"
seed = 1

[[experiment]]
name = "growth"
datasets = [{{ plugin = "growth-faces", side = {side} }}]
authorised = ["growth-network"]
evaluated = ["growth-network"]
defenses = ["growth-darker"]
pairs = {pairs}
"""
RUN = """\
from pathlib import Path

from bench.engine.factory import make_engine
from bench.runs.run import plan_suite, run_plan
from bench.store.workspace import Folders

folders = Folders(out=Path())
run_plan(plan_suite(Path("growth.toml"), folders, "cpu", (), None), folders, engine=make_engine("local", "cpu", 1))
"""
PLUGIN = '''\
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import Dataset, Defense, Faces, Model, Pairs, Protected, hookimpl


class Made:
    """Faces that are made when they are read: a pattern of the person, and noise of the picture."""

    dtype = np.dtype(np.uint8)

    def __init__(self, n, side, first):
        self.shape, self.first = (n, 3, side, side), first

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        return np.stack([self.face(int(i)) for i in np.arange(len(self))[rows]])

    def face(self, i):
        person = np.random.default_rng(self.first + i // 2).integers(60, 196, (3, 6, 6))
        face = np.kron(person, np.ones((1, self.shape[2] // 6, self.shape[3] // 6), np.int64))
        return (face + np.random.default_rng(i).integers(-40, 40, self.shape[1:])).astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class MadeFaces(Dataset):
    """Two pictures of each person."""

    synthetic = True
    license = "generated"

    side: int = 48

    @property
    def image_size(self):
        return self.side, self.side

    def fingerprint(self):
        return "0"

    def faces(self, n, first):
        ids = np.array([f"{first}-{i}" for i in range(n)])
        return Faces(images=Made(n, self.side, first), subjects=first + np.arange(n) // 2, sample_ids=ids)

    def evaluation(self, pairs, ctx):
        left = 2 * np.arange(pairs) % (2 * pairs)
        same = np.arange(pairs) % 2 == 0
        right = np.where(same, left + 1, (left + 3) % (2 * pairs))
        return self.faces(2 * pairs, 10), Pairs(left=left, right=right, same=same, fold=np.arange(pairs) % 10)

    def calibration(self, ctx):
        return self.faces(200, 10_000_000)


@dataclass(frozen=True, kw_only=True)
class Network(Model):
    """Averages cells of six by six."""

    embedding_size = 108
    splits = {}
    mflops = 0.01
    license = "none needed"
    input_size = (48, 48)

    def weights(self):
        return Path(__file__)

    def load(self):
        import torch

        class Pooled(torch.nn.Module):
            def forward(_, images):
                return torch.nn.functional.adaptive_avg_pool2d(images, 6).flatten(1) - 0.5

        return Pooled()


@dataclass(frozen=True, kw_only=True)
class Darker(Defense):
    """Darkens the image a little."""

    def protect(self, images, ctx):
        return Protected(images=images * 0.9)


@hookimpl
def bench_datasets():
    return {"growth-faces": MadeFaces}


@hookimpl
def bench_models():
    return {"growth-network": Network}


@hookimpl
def bench_defenses():
    return {"growth-darker": Darker}
'''
Stages = Mapping[str, tuple[float, float]]
"""The seconds and the peak memory in MB of each stage, by its name."""


def run(folder: Path, faces: int, side: int) -> Stages:
    """Run the suite with a number of faces in a folder of its own."""
    metadata = "bench_growth-1.0.dist-info"
    write(
        folder,
        {
            "growth.toml": SUITE.format(side=side, pairs=faces // 2),
            f"site/{metadata}/METADATA": "Metadata-Version: 2.1\nName: bench-growth\nVersion: 1.0\n",
            f"site/{metadata}/entry_points.txt": "[bench]\ngrowth = bench_growth\n",
            "site/bench_growth.py": PLUGIN.replace("(48, 48)", f"({side}, {side})"),
        },
    )
    path = os.pathsep.join(filter(None, [str(folder / "site"), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", RUN], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    (found,) = folder.glob("results/growth/*/stages.parquet") or folder.rglob("stages.parquet")
    rows = pq.read_table(found).to_pylist()
    if failed := [row["reason"] for row in rows if row["status"] != "ok"]:
        sys.exit(f"{folder}: a stage failed: {failed[0]}")
    return {row["name"]: (row["seconds"], row["peak_mb"]) for row in rows}


def rows(faces: Sequence[int] = FACES, side: int = SIDE) -> Iterator[RatioRow]:
    """Yield, for every stage that depends on the number of faces, its time per face and its peak memory, with the most
    faces beside the fewest."""
    with tempfile.TemporaryDirectory(prefix="bench-growth-") as folder:
        found = {n: run(Path(folder) / str(n), n, side) for n in faces}
    few, many = min(faces), max(faces)
    for name, (seconds, peak) in found[many].items():
        if "calibration" in name:
            continue  # It has as many faces in every run.
        less, lower = found[few][name]
        note = f"{many:,} faces beside {few:,}; bar: at most 1.3"
        yield RatioRow(f"{name}: time per face", 1e6 * seconds / many, 1e6 * less / few, "µs", note)
        yield RatioRow(f"{name}: peak memory", peak, lower, "MB", note)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--faces", type=int, nargs="+", default=FACES, help="numbers of faces (default: %(default)s)")
    parser.add_argument("--side", type=int, default=SIDE, help="of a face in pixels, a multiple of 6")
    arguments = parser.parse_args()
    print(table(rows(arguments.faces, arguments.side)))


if __name__ == "__main__":
    main()

"""What `bench` costs per cell beside benchopt, on work that takes no time, in one run of this script.

    python benchmarks/overhead.py [--cells 1000] [--rounds 3] [--benchopt PATH/TO/benchopt]

benchopt runs as many pairs of a data set and a solver configuration as there are cells, each of them once, with and
without its cache. bench runs a suite of as many cells, each with an embedding and a score stage of its own, on an empty
and on a full cache. Both have the same two axes: of all shapes, benchopt is quickest with two even ones; several jobs
make it no quicker. Both write their rows; where it says so, they make a page of them too, which both do by default.

Milliseconds are those of the whole command divided by the number of cells; those without start-up are the difference to
the same command with few cells, divided by the difference in cells. Commands take turns, and the quickest of all rounds
counts. The exit code is 1 if bench costs more than benchopt on an empty cache. bench uses all cores: on a busy machine,
compare the CPU time. Benchopt is no dependency of bench: install it into a virtual environment of its own, and name its
command.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MODELS = 50  # evaluated models, or solver configurations; the other factor of the cells are defenses, or data sets
FEW = 50  # cells of the commands that show what starting costs
INSTALL = "python -m venv benchopt-env && benchopt-env/bin/pip install benchopt==1.10.0"

SUITE = """\
[suite]
name = "overhead"
seed = 1

[[experiment]]
name = "cells"
datasets = ["overhead-tiny"]
authorised = [{authorised}]
pairs = 4
evaluated = [
    {evaluated},
]
defenses = [
    {defenses},
]
"""
OBJECTIVE = """\
from benchopt import BaseObjective


class Objective(BaseObjective):
    name = "sum"
    sampling_strategy = "run_once"

    def set_data(self, x):
        self.x = x

    def evaluate_result(self, y):
        return {"value": float((self.x * y).sum())}

    def get_one_result(self):
        return {"y": self.x}

    def get_objective(self):
        return {"x": self.x}
"""
DATASET = """\
import numpy as np
from benchopt import BaseDataset


class Dataset(BaseDataset):
    name = "tiny"
    parameters = {"number": list(range(COUNT))}

    def get_data(self):
        return {"x": np.arange(12.0) + self.number}
"""
SOLVER = """\
from benchopt import BaseSolver


class Solver(BaseSolver):
    name = "trivial"
    sampling_strategy = "run_once"
    parameters = {"number": list(range(COUNT))}

    def set_objective(self, x):
        self.x = x

    def run(self, _):
        self.y = self.x * self.number

    def get_result(self):
        return {"y": self.y}
"""
RUN = """\
from pathlib import Path

from bench import session

folders = session.Folders(out=Path())
session.run_plan(session.plan_suite(Path("overhead.toml"), folders, "cpu", (), None), folders)
"""
PLUGIN = '''\
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import Dataset, Defense, Faces, Model, Pairs, Protected, hookimpl

SIZE = 16


def tiny_faces(first):
    """Two people with two images each."""
    images = np.random.default_rng(first).integers(0, 256, (4, 3, SIZE, SIZE), np.uint8)
    people = first + np.array([0, 0, 1, 1])
    return Faces(images=images, subjects=people, sample_ids=np.array([f"{first}-{i}" for i in range(4)]))


@dataclass(frozen=True, kw_only=True)
class Tiny(Dataset):
    """Four images."""

    synthetic = True
    image_size = (SIZE, SIZE)
    license = "generated"

    def fingerprint(self):
        return "0"

    def evaluation(self, pairs, ctx):
        same = np.arange(pairs) % 2 == 0
        left = np.arange(pairs) % 2 * 2
        right = np.where(same, left + 1, (left + 2) % 4)
        return tiny_faces(0), Pairs(left=left, right=right, same=same, fold=np.arange(pairs) % 10)

    def calibration(self, ctx):
        return tiny_faces(10)


@dataclass(frozen=True, kw_only=True)
class Slice(Model):
    """Eight pixels are the embedding."""

    input_size = (SIZE, SIZE)
    embedding_size = 8
    splits = {}
    mflops = 0.001
    license = "none needed"

    number: int = 0

    def weights(self):
        return Path(__file__)

    def load(self):
        import torch

        class Network(torch.nn.Module):
            def forward(_, images):
                return images.flatten(1)[:, self.number : self.number + 8] - 0.5

        return Network()


@dataclass(frozen=True, kw_only=True)
class Darker(Defense):
    """Takes a little light away."""

    number: int = 0

    def protect(self, images, ctx):
        return Protected(images=images * (1 - self.number / 1000))


@hookimpl
def bench_datasets():
    return {"overhead-tiny": Tiny}


@hookimpl
def bench_models():
    return {"overhead-slice": Slice}


@hookimpl
def bench_defenses():
    return {"overhead-darker": Darker}
'''


@dataclass(frozen=True)
class Spent:
    """Seconds on the clock and of all cores, of a command and every process that it started and waited for."""

    wall: float
    cpu: float

    def per_cell(self, cells: int) -> Spent:
        """Milliseconds per cell."""
        return Spent(1000 * self.wall / cells, 1000 * self.cpu / cells)

    def beyond(self, few: Spent) -> Spent:
        """What this took more than another."""
        return Spent(self.wall - few.wall, self.cpu - few.cpu)


@dataclass(frozen=True)
class Command:
    """A command line, the folder that it runs in, and variables of its environment."""

    line: Sequence[str]
    folder: Path
    environment: Mapping[str, str]

    def run(self) -> Spent:
        """Run it; what it printed is shown only where it fails."""
        with tempfile.TemporaryFile() as said:
            started = time.perf_counter()
            process = subprocess.Popen(
                list(self.line),
                cwd=self.folder,
                env={**os.environ, "OMP_NUM_THREADS": "1", **self.environment},
                stdout=said,
                stderr=said,
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            wall = time.perf_counter() - started
            if process.returncode:
                said.seek(0)
                printed = said.read().decode(errors="replace")[-4000:]
                sys.exit(f"{' '.join(self.line)}: exit code {process.returncode}\n{printed}")
        return Spent(wall, usage.ru_utime + usage.ru_stime)


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write text files below a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def benchopt_commands(folder: Path, cells: int, benchopt: str) -> dict[str, Command]:
    """A benchmark of benchopt in a folder, and what is run there, in order."""
    solvers = min(cells, MODELS)
    write(
        folder,
        {
            "objective.py": OBJECTIVE,
            "datasets/tiny.py": DATASET.replace("COUNT", str(cells // solvers)),
            "solvers/trivial.py": SOLVER.replace("COUNT", str(solvers)),
        },
    )
    line = [benchopt, "run", ".", "-l", "-n", "1", "-r", "1", "--no-plot"]
    return {
        "benchopt, no cache": Command([*line, "--no-cache"], folder, {}),
        "benchopt, empty cache": Command(line, folder, {}),
        "benchopt, full cache": Command(line, folder, {}),
        "benchopt, full cache, page": Command([*line[:-1], "--plot", "--no-display"], folder, {}),
    }


def bench_commands(folder: Path, cells: int) -> dict[str, Command]:
    """Two folders with a suite of bench and the plugin that it needs, and what is run there, in order."""
    models = min(cells, MODELS)
    evaluated = [f'{{ plugin = "overhead-slice", number = {i}, label = "model {i}" }}' for i in range(models)]
    defenses = [
        f'{{ plugin = "overhead-darker", number = {i}, label = "defense {i}" }}' for i in range(cells // models)
    ]
    suite = SUITE.format(
        authorised=evaluated[0], evaluated=",\n    ".join(evaluated), defenses=",\n    ".join(defenses)
    )
    plain, paged = folder / "plain", folder / "paged"
    write(plain, {"overhead.toml": suite})
    write(paged, {"overhead.toml": suite})
    write(
        folder / "site",
        {
            "bench_overhead-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: bench-overhead\nVersion: 1.0\n",
            "bench_overhead-1.0.dist-info/entry_points.txt": "[bench]\noverhead = bench_overhead\n",
            "bench_overhead.py": PLUGIN,
        },
    )
    path = os.pathsep.join(filter(None, [str(folder / "site"), os.environ.get("PYTHONPATH")]))
    seen = {"PYTHONPATH": path}
    line = [str(Path(sysconfig.get_path("scripts")) / "bench"), "run", "overhead.toml", "--device", "cpu"]
    return {
        "bench, empty cache": Command([sys.executable, "-c", RUN], plain, seen),
        "bench, full cache": Command([sys.executable, "-c", RUN], plain, seen),
        "bench, empty cache, page": Command(line, paged, seen),
        "bench, full cache, page": Command(line, paged, seen),
    }


def measured(place: Path, cells: int, rounds: int, benchopt: str) -> dict[str, Spent]:
    """Every command with so many cells: what the quickest of its rounds took. Each round has folders of its own, and
    none is removed between them: some file systems are slow where files were removed a moment ago."""
    spent: dict[str, list[Spent]] = {}
    for i in range(rounds):
        commands = benchopt_commands(place / f"benchopt-{cells}-{i}", cells, benchopt)
        commands |= bench_commands(place / f"bench-{cells}-{i}", cells)
        for name, command in commands.items():
            print(f"round {i + 1} of {rounds}: {cells} cells: {name}", file=sys.stderr)
            spent.setdefault(name, []).append(command.run())
    return {name: Spent(min(s.wall for s in all_), min(s.cpu for s in all_)) for name, all_ in spent.items()}


def table(many: Mapping[str, Spent], few: Mapping[str, Spent], cells: int) -> str:
    """Milliseconds per cell of every command, with and without start-up."""
    lines = [f"{'ms per cell':28}{'wall':>8}{'CPU':>8}   without start-up:{'wall':>8}{'CPU':>8}"]
    for name, spent in many.items():
        whole, rest = spent.per_cell(cells), spent.beyond(few[name]).per_cell(cells - FEW)
        lines.append(f"{name:28}{whole.wall:8.2f}{whole.cpu:8.2f}{rest.wall:28.2f}{rest.cpu:8.2f}")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table and the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cells", type=int, default=1000, help=f"a multiple of {MODELS} (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="the quickest counts (default: %(default)s)")
    parser.add_argument("--benchopt", default=shutil.which("benchopt"), metavar="PATH", help="its command")
    asked = parser.parse_args()
    if asked.cells <= FEW or asked.cells % MODELS or asked.rounds < 1:
        parser.error(f"--cells: expected a multiple of {MODELS} above {FEW}; --rounds: expected at least 1")
    benchopt = shutil.which(asked.benchopt or "")
    if benchopt is None:
        parser.error(f"--benchopt: expected the command of benchopt, found none; to install it: {INSTALL}")
    with tempfile.TemporaryDirectory(prefix="bench-overhead-") as folder:
        few = measured(Path(folder), FEW, asked.rounds, benchopt)
        many = measured(Path(folder), asked.cells, asked.rounds, benchopt)
    print(f"{asked.cells} cells, {os.cpu_count()} cores, quickest of {asked.rounds} rounds\n")
    print(table(many, few, asked.cells))
    print()
    ratios = [_ratio(many, name) for name in ("empty cache", "full cache", "full cache, page")]
    if ratios[0] > 1:
        sys.exit(1)


def _ratio(many: Mapping[str, Spent], name: str) -> float:
    """Print and return how long bench takes, relative to benchopt."""
    ratio = many[f"bench, {name}"].wall / many[f"benchopt, {name}"].wall
    print(f"{name}: bench takes {ratio:.2f} of the time of benchopt")
    return ratio


if __name__ == "__main__":
    main()

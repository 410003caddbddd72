"""Compare the overhead per cell of bench with that of benchopt, on work that takes no time itself.

    python benchmarks/overhead.py [--cells 1000] [--rounds 3] [--benchopt PATH/TO/benchopt]

benchopt runs ``--cells`` pairs of a data set and a solver configuration, each once, with and without its cache. bench
runs a suite of as many cells, each with an embedding stage and a score stage of its own, with an empty and with a full
cache. Both have the same two axes; of all shapes, benchopt is fastest with two axes of similar length, and running
several jobs does not make it faster. Both write their rows. The lines named "page" also make a page of them, which both
programs do by default.

Milliseconds per cell are the time of the whole command divided by the number of cells. For the columns without
start-up, the time of the same command with few cells is subtracted first, and the difference is divided by the
difference in cells. Commands take turns, and the fastest of all rounds counts. The exit code is 1 if bench takes longer
than benchopt on an empty cache. bench uses all cores: on a busy machine, compare the CPU time. benchopt is not a
dependency of bench: install it into a virtual environment of its own, and give the path of its command.
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

MODELS = 50  # evaluated models or solver configurations; the other axis of the cells are defenses or data sets
FEW = 50  # cells of the commands that measure the start-up
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

from bench.runs.run import plan_suite, run_plan
from bench.store.workspace import Folders

folders = Folders(out=Path())
run_plan(plan_suite(Path("overhead.toml"), folders, "cpu", (), None), folders)
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
    """Returns eight pixels as the embedding."""

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
    """Darkens the image a little."""

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
    """Seconds of wall time and of CPU time of a command and of all processes that it started and waited for."""

    wall: float
    cpu: float

    def per_cell(self, cells: int) -> Spent:
        """Return milliseconds per cell."""
        return Spent(1000 * self.wall / cells, 1000 * self.cpu / cells)

    def beyond(self, few: Spent) -> Spent:
        """Return the difference to a shorter time."""
        return Spent(self.wall - few.wall, self.cpu - few.cpu)


@dataclass(frozen=True)
class Command:
    """A command line, the folder in which it runs, and additional environment variables."""

    line: Sequence[str]
    folder: Path
    environment: Mapping[str, str]

    def run(self) -> Spent:
        """Run the command and return its time; its output is shown only if it fails."""
        with tempfile.TemporaryFile() as output:
            started = time.perf_counter()
            process = subprocess.Popen(
                list(self.line),
                cwd=self.folder,
                env={**os.environ, "OMP_NUM_THREADS": "1", **self.environment},
                stdout=output,
                stderr=output,
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            wall = time.perf_counter() - started
            if process.returncode:
                output.seek(0)
                printed = output.read().decode(errors="replace")[-4000:]
                sys.exit(f"{' '.join(self.line)}: exit code {process.returncode}\n{printed}")
        return Spent(wall, usage.ru_utime + usage.ru_stime)


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write text files, by relative path, into a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def benchopt_commands(folder: Path, cells: int, benchopt: str) -> dict[str, Command]:
    """Write a benchmark for benchopt into a folder, and return the commands to run there, in order."""
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
    """Write a suite for bench and its plugin into two folders, and return the commands to run there, in order."""
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
    environment = {"PYTHONPATH": path}
    line = [str(Path(sysconfig.get_path("scripts")) / "bench"), "run", "overhead.toml", "--device", "cpu"]
    return {
        "bench, empty cache": Command([sys.executable, "-c", RUN], plain, environment),
        "bench, full cache": Command([sys.executable, "-c", RUN], plain, environment),
        "bench, empty cache, page": Command(line, paged, environment),
        "bench, full cache, page": Command(line, paged, environment),
    }


def measured(folder: Path, cells: int, rounds: int, benchopt: str) -> dict[str, Spent]:
    """Run every command with this number of cells, and return the time of its fastest round.

    Each round has folders of its own, and none is removed between rounds, because some file systems are slow after
    files were removed.
    """
    spent: dict[str, list[Spent]] = {}
    for i in range(rounds):
        commands = benchopt_commands(folder / f"benchopt-{cells}-{i}", cells, benchopt)
        commands |= bench_commands(folder / f"bench-{cells}-{i}", cells)
        for name, command in commands.items():
            print(f"round {i + 1} of {rounds}: {cells} cells: {name}", file=sys.stderr)
            spent.setdefault(name, []).append(command.run())
    return {name: Spent(min(s.wall for s in all_), min(s.cpu for s in all_)) for name, all_ in spent.items()}


def table(many: Mapping[str, Spent], few: Mapping[str, Spent], cells: int) -> str:
    """Return a table with the milliseconds per cell of every command, with and without start-up."""
    lines = [f"{'ms per cell':28}{'wall':>8}{'CPU':>8}   without start-up:{'wall':>8}{'CPU':>8}"]
    for name, spent in many.items():
        whole, rest = spent.per_cell(cells), spent.beyond(few[name]).per_cell(cells - FEW)
        lines.append(f"{name:28}{whole.wall:8.2f}{whole.cpu:8.2f}{rest.wall:28.2f}{rest.cpu:8.2f}")
    return "\n".join(lines)


def main() -> None:
    """Measure all commands, and print the table and the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cells", type=int, default=1000, help=f"a multiple of {MODELS} (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="the fastest counts (default: %(default)s)")
    parser.add_argument("--benchopt", default=shutil.which("benchopt"), metavar="PATH", help="the command of benchopt")
    arguments = parser.parse_args()
    if arguments.cells <= FEW or arguments.cells % MODELS or arguments.rounds < 1:
        parser.error(f"--cells: expected a multiple of {MODELS} above {FEW}; --rounds: expected at least 1")
    benchopt = shutil.which(arguments.benchopt or "")
    if benchopt is None:
        parser.error(f"--benchopt: expected the command of benchopt, found none; to install it: {INSTALL}")
    with tempfile.TemporaryDirectory(prefix="bench-overhead-") as folder:
        few = measured(Path(folder), FEW, arguments.rounds, benchopt)
        many = measured(Path(folder), arguments.cells, arguments.rounds, benchopt)
    print(f"{arguments.cells} cells, {os.cpu_count()} cores, fastest of {arguments.rounds} rounds\n")
    print(table(many, few, arguments.cells))
    print()
    ratios = [_ratio(many, name) for name in ("empty cache", "full cache", "full cache, page")]
    if ratios[0] > 1:
        sys.exit(1)


def _ratio(many: Mapping[str, Spent], name: str) -> float:
    """Print and return the time of bench divided by that of benchopt."""
    ratio = many[f"bench, {name}"].wall / many[f"benchopt, {name}"].wall
    print(f"{name}: bench takes {ratio:.2f} of the time of benchopt")
    return ratio


if __name__ == "__main__":
    main()

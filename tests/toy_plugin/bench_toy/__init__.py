"""A small and fast plugin with components of every kind, for the host's tests. Importing it does not import torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from bench import Attack, Dataset, Defense, Metric, Model, TrainingSet, hookimpl
from bench_toy.attacks import ATTACKS
from bench_toy.defenses import DEFENSES
from bench_toy.faces import ToyFaces, ToyPhotos, ToyTraining
from bench_toy.metrics import ToyDifference
from bench_toy.misbehaving import BAD_ATTACKS, MISBEHAVING
from bench_toy.models import MODELS

if TYPE_CHECKING:
    from bench import Outcome, Results


@hookimpl
def bench_datasets() -> Mapping[str, type[Dataset]]:
    return {"toy-faces": ToyFaces, "toy-photos": ToyPhotos}


@hookimpl
def bench_training_sets() -> Mapping[str, type[TrainingSet]]:
    return {"toy-training": ToyTraining}


@hookimpl
def bench_models() -> Mapping[str, type[Model]]:
    return MODELS


@hookimpl
def bench_defenses() -> Mapping[str, type[Defense]]:
    return {**DEFENSES, **MISBEHAVING}


@hookimpl
def bench_attacks() -> Mapping[str, type[Attack]]:
    return {**ATTACKS, **BAD_ATTACKS}


@hookimpl
def bench_metrics() -> Mapping[str, type[Metric]]:
    return {"toy-difference": ToyDifference}


@click.command()
@click.argument("number", type=int)
def double(number: int) -> None:
    """Print twice the number."""
    click.echo(2 * number)


@hookimpl
def bench_commands() -> Mapping[str, click.Command]:
    return {"data double": double}


@hookimpl
def bench_cell_done(outcome: Outcome) -> None:
    """Append a line for a finished cell to the file that ``TOY_CELLS`` names."""
    if path := os.environ.get("TOY_CELLS"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{outcome.cell.id} {outcome.status}\n")


@dataclass(frozen=True)
class ToySection:
    """A section of the report, an implementation of `bench.Section`."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@hookimpl
def bench_report_sections(results: Results) -> Sequence[ToySection]:
    rows = [["cells", len(results.cells)], ["<b>not bold</b>", None]]
    return [ToySection(title="What the toy plugin counted", columns=["what", "number"], rows=rows)]

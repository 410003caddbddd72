"""A note about an attack names the defense that it met, and is shown where this defense is."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from bench.registry.discovery import Registry
from bench.runs.explain import explain, find_cell
from bench.runs.run import plan_suite, run_plan
from bench.store.artifacts import Cache
from bench.store.reading import RunResults
from bench.store.workspace import Folders

SUITE = """\
[suite]
name = "small"
[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a"]
defenses = ["identity", "toy-mean", { plugin = "toy-mean", label = "toy-mean: again" }]
attacks = ["toy-recognise"]
pairs = 6
"""
NOTE = "all are equal"


def notes_of(results: RunResults, folder: Path, defense: str) -> list[str]:
    """What the explanation of a cell says of its attack."""
    cell = find_cell(results, [f"defense={defense}"])
    parts = explain(results, cell, folder, Cache(folder.parent.parent / ".cache")).parts
    return [note for part in parts if part.role == "attack" for note in part.notes]


@pytest.mark.filterwarnings(f"always:{NOTE}")
def test_a_note_about_an_attack_is_shown_beside_the_defense_that_it_met(
    tmp_path: Path, inline: None, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = registry.components["attack", "toy-recognise"].cls
    embed = cls.embed

    def warns(self: Any, received: Any, ctx: Any) -> Any:
        warnings.warn(NOTE, stacklevel=1)
        return embed(self, received, ctx)

    monkeypatch.setattr(cls, "embed", warns)
    folders, path = Folders(out=tmp_path), tmp_path / "small.toml"
    path.write_text(SUITE, encoding="utf-8")
    run_plan(plan_suite(path, folders, "cpu", [], None), folders, lambda event: None)
    (folder,) = (folders.results / "small").iterdir()
    results = RunResults(folder)
    assert notes_of(results, folder, "identity") == [f"identity: {NOTE}"]
    # One defense under two labels is computed once: what was noticed is about both.
    assert notes_of(results, folder, "toy-mean") == [f"toy-mean: {NOTE}"]
    assert notes_of(results, folder, "toy-mean: again") == [f"toy-mean: {NOTE}"]

    record = folder / "run.json"
    text = record.read_text(encoding="utf-8")
    record.write_text(text.replace(f"identity: {NOTE}", NOTE).replace(f"toy-mean: {NOTE}", NOTE), encoding="utf-8")
    assert json.loads(text) != json.loads(record.read_text(encoding="utf-8"))
    assert notes_of(RunResults(folder), folder, "identity") == [NOTE], "older runs name no defense"

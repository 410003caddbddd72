"""What a cell is and how it ended, from results of every schema, with and without the cache of the run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from support import TESTS, Command, ToyRun

from bench.cli import main
from bench.core.errors import StorageError
from bench.runs.explain import Explanation, explain, find_cell
from bench.store.artifacts import Cache
from bench.store.reading import RunResults
from bench.store.reference import find_reference

GOLDEN = TESTS / "golden"
SCHEMAS = pytest.mark.parametrize("schema", ["schema-2", "schema-3"])


def explained(folder: Path, *asked: str) -> Explanation:
    """A cell of a run whose cache is where `bench` puts it."""
    results = RunResults(folder)
    return explain(results, find_cell(results, asked), folder, Cache(folder.parent.parent / ".cache"))


def ran(*args: object) -> Result:
    """The command, in this process."""
    return CliRunner().invoke(main, ["explain", *map(str, args)], prog_name="bench")


# ---- which cell ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@SCHEMAS
def test_a_cell_is_found_by_its_id_or_the_beginning_of_it_or_labels(schema: str) -> None:
    results = RunResults(GOLDEN / schema)
    for cell in results.cells["cell"]:
        assert find_cell(results, [cell])["cell"] == find_cell(results, [cell[:10]])["cell"] == cell
    found = find_cell(results, ["experiment=recognition", "defense=TOY-STEP", "evaluated=toy-a"])
    assert (found["defense"], found["evaluated"], found["role"]) == ("toy-step", "toy-a", "authorised")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["zz"], "no cell of this run has an id that begins with zz; the report shows their ids"),
        ([""], "expected the id of a cell or AXIS=LABEL, found an empty text"),
        (["defence=identity"], "defence=identity: expected the id of a cell or AXIS=LABEL; did you mean 'defense'?"),
        (["defense=toy-stop"], "no cell of this run has defense=toy-stop; did you mean 'toy-step'?"),
        (
            ["defense=raises", "authorised=toy-a"],
            "no cell with defense=raises has authorised=toy-a; none of them has any authorised",
        ),
        (["via=x"], "no cell of this run has via=x; none of them has any via"),
        (["defense="], "no cell of this run has defense=''; expected identity, raises"),
        (["defense=raises", "zz"], r"no cell with defense=raises has an id .* zz; those that fit have \w{16}, \w{16}$"),
        (["defense=raises"], r"defense=raises: 2 cells fit, .*\(\w{16}, \w{16}\) or by\n  evaluated= toy-a, toy-b$"),
    ],
)
def test_what_names_no_cell_or_several_is_said(asked: list[str], said: str) -> None:
    with pytest.raises(StorageError, match=f"golden/schema-3: {said}"):
        find_cell(RunResults(GOLDEN / "schema-3"), asked)


def test_a_reference_run_is_named_by_its_version_and_replayed_elsewhere() -> None:
    reference = find_reference("standard-1")
    assert reference is not None
    with pytest.raises(StorageError, match=r"^standard-1: no cell of this run has an id"):
        find_cell(reference, ["zz"])
    cell = str(reference.cells.loc[reference.cells["status"] == "ok", "cell"].iloc[0])
    command = explained(reference.folder, cell).commands["makes the run again from its record and compares"]
    assert command == f"bench run --replay {reference.folder}"


# ---- from results alone ----------------------------------------------------------------------------------------------


@SCHEMAS
def test_a_cell_in_words(schema: str) -> None:
    cell = explained(GOLDEN / schema, "experiment=recognition", "defense=toy-step", "evaluated=toy-b")
    assert cell.words["question"] == "Does toy-b recognise people from the uploaded images?"
    assert cell.words["client"] == "protects faces of toy-faces (computer-generated) with toy-step for toy-a"
    assert cell.words["adversary"].startswith("abuse: sees the uploaded images")
    assert cell.words["recogniser"] == "toy-b; the client did not authorise it"
    roles = [(part.role, part.label) for part in cell.parts]
    assert roles == [
        ("data set", "toy-faces"),
        ("authorised model", "toy-a"),
        ("defense", "toy-step"),
        ("attack", "abuse"),
        ("evaluated model", "toy-b"),
    ]
    assert cell.facts["status"] == "ok"
    assert {stage.kind for stage in cell.stages} == {"score"}
    assert cell.incomplete
    assert all(stage.status == "ok" and stage.artifact is None for stage in cell.stages)


def test_who_learns_from_whose_faces_is_said(tmp_path: Path) -> None:
    asked = "experiment=recognition", "defense=toy-mean", "evaluated=toy-b"
    assert explained(GOLDEN / "schema-4", *asked).words["learns"] == "toy-mean from auxiliary faces of toy-faces"
    other = explained(GOLDEN / "schema-4", "experiment=recognition", "defense=toy-step", "evaluated=toy-b")
    assert "learns" not in other.words
    folder = Path(shutil.copytree(GOLDEN / "schema-4", tmp_path / "run"))
    record = json.loads((folder / "run.json").read_text())
    for component in record["components"]:
        if component["name"] == "toy-upsample":
            component["attack"] |= {"trains_on": "defense", "trained_as": {"plugin": "toy-learner", "faces": 40}}
    for experiment in record["suite"]["experiments"]:
        experiment["auxiliary"] = {"label": "others", "params": {}}
    (folder / "run.json").write_text(json.dumps(record))
    learnt = explained(folder, "attack=toy-upsample", "defense=identity", "evaluated=toy-b").words["learns"]
    assert learnt == (
        "toy-upsample from uploads, made by the defense, of auxiliary faces of others, in the training of toy-learner "
        "faces 40"
    )


def test_parameters_of_a_data_set_without_a_label_of_its_own_are_shown(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN / "schema-4", tmp_path / "run"))
    table = pq.read_table(folder / "cells.parquet")
    parts = [json.loads(text) for text in table["components"].to_pylist()]
    for one in parts:
        one[0]["passed"] = {"purpose": "tuning"}
    column = table.column_names.index("components")
    pq.write_table(table.set_column(column, "components", pa.array(map(json.dumps, parts))), folder / "cells.parquet")
    cell = explained(folder, "experiment=recognition", "defense=toy-step", "evaluated=toy-b")
    assert cell.words["client"].startswith('protects faces of toy-faces (purpose = "tuning", computer-generated) with')


@SCHEMAS
def test_questions_are_those_of_the_attack(schema: str) -> None:
    rebuilt = explained(GOLDEN / schema, "attack=toy-upsample", "defense=identity", "evaluated=toy-b")
    assert rebuilt.words["question"].startswith(
        "What does toy-upsample rebuild from the uploaded images, and does toy-b"
    )
    read = explained(GOLDEN / schema, "experiment=attacks", "attack=toy-attributes", "defense=identity")
    assert read.words["question"] == "What does toy-attributes read from the uploaded images about a person?"
    assert "recogniser" not in read.words


@SCHEMAS
def test_a_failed_cell_tells_which_stage_failed_and_how(schema: str) -> None:
    cell = explained(GOLDEN / schema, "status=failed", "evaluated=toy-a")
    assert cell.facts["status"] == "failed"
    assert cell.facts["reason"].startswith("toy-faces protected by raises: RuntimeError: the toy broke")
    first = cell.stages[0]
    assert (first.kind, first.status, first.reason) == ("protect", "failed", cell.facts["reason"])
    (defense,) = [part for part in cell.parts if part.role == "defense"]
    assert defense.passed == {"how": "raises"}
    done = ran(GOLDEN / schema, cell.cell)
    assert done.exit_code == 0
    assert "[/red] {in} a <strange> way" in done.output
    assert 'how = "raises" (from the suite)' in done.output


@SCHEMAS
def test_a_skipped_cell_tells_why_and_has_no_command(schema: str) -> None:
    cell = explained(GOLDEN / schema, "status=skipped", "evaluated=toy-a")
    assert cell.facts["reason"] == "toy-targets needs targets, which this version of bench cannot supply"
    assert not cell.stages
    assert not cell.incomplete
    assert not cell.commands
    assert "would be measured on" in cell.words


def test_only_what_says_enough_is_made_again_from_its_record() -> None:
    asked = ["experiment=recognition", "defense=identity", "evaluated=toy-a"]
    old, new = (explained(GOLDEN / schema, *asked).commands for schema in ("schema-2", "schema-3"))
    again = "computes what is missing of the run"
    assert old == {again: new[again]}
    assert next(iter(new)) == "computes this cell alone"
    assert [c for c in new.values() if c.startswith("bench run --replay ")]


@pytest.mark.slow
def test_it_needs_neither_plugins_nor_torch() -> None:
    args = ["explain", str(GOLDEN / "schema-2"), "defense=identity", "experiment=recognition", "evaluated=toy-a"]
    code = f"""
import sys
from bench.cli import main
main({args!r}, standalone_mode=False)
print([name for name in sys.modules if name == "torch" or name.startswith("bench_")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_what_is_not_computed_yet() -> None:
    results, key = RunResults(GOLDEN / "schema-3"), "0" * 64
    row = find_cell(results, ["experiment=recognition", "defense=identity", "evaluated=toy-a"])
    queued = {**row, "status": "queued", "seconds": None, "peak_mb": None, "stages": json.dumps([key])}
    cell = explain(results, queued, GOLDEN / "schema-3", Cache(GOLDEN / "none"))
    (stage,) = cell.stages
    assert (stage.key, stage.status, stage.name, stage.artifact) == (key, "queued", "not computed yet", None)
    assert cell.incomplete


# ---- with the cache of the run ---------------------------------------------------------------------------------------


def test_everything_that_was_computed_for_a_cell_inputs_first(toy_run: ToyRun) -> None:
    asked = ["experiment=one", "defense=toy-step", "authorised=toy-a", "evaluated=toy-b"]
    cell = explained(toy_run.folder, *asked)
    assert not cell.incomplete
    kinds = [stage.kind for stage in cell.stages]
    assert kinds[0] == "faces"
    assert {"faces", "protect", "embed", "score"} <= set(kinds)
    met: set[str] = set()
    for stage in cell.stages:
        assert stage.artifact is not None
        manifest = json.loads((Path(stage.artifact) / "manifest.json").read_text())
        assert (manifest["key"], manifest["name"]) == (stage.key, stage.name)
        assert set(manifest["inputs"].values()) <= met
        met.add(stage.key)
    recorded = {row["key"]: row for row in RunResults(toy_run.folder).stages}
    assert {stage.seconds for stage in cell.stages} == {recorded[stage.key]["seconds"] for stage in cell.stages}
    again = cell.commands["makes the run again from its record and compares"]
    assert again == f"bench run --replay {toy_run.folder} --out {toy_run.out}"


def test_without_its_cache_it_says_what_is_not_known(toy_run: ToyRun, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "toy" / toy_run.folder.name
    shutil.copytree(toy_run.folder, folder)
    cell = explained(folder, "experiment=one", "defense=toy-step", "authorised=toy-a", "evaluated=toy-b")
    assert cell.incomplete
    assert {stage.kind for stage in cell.stages} == {"score"}
    done = ran("toy", cell.cell, "--out", tmp_path)
    assert "some stages are not in the cache" in done.output


def test_the_command(bench: Command, toy_run: ToyRun) -> None:
    asked = ["experiment=one", "defense=toy-step", "authorised=toy-a", "evaluated=toy-b"]
    done = bench("explain", "toy", *asked, "--out", toy_run.out)
    assert (done.code, done.err) == (0, "")
    for words in (
        "question: Does toy-b",
        "client: protects",
        "adversary: abuse",
        "status: ok",
        "artifacts",
        "--replay",
    ):
        assert words in done.out
    printed: dict[str, Any] = json.loads(bench("explain", "toy", *asked, "--out", toy_run.out, "--json").out)
    assert printed["cell"] in done.out
    assert printed["facts"]["status"] == "ok"
    assert [stage["key"][:16] in done.out for stage in printed["stages"]] == [True] * len(printed["stages"])
    wrong = bench("explain", "toy", "defense=nothing", "--out", toy_run.out)
    assert wrong.code == 2
    assert wrong.out == ""
    assert wrong.err.startswith("Error: ")

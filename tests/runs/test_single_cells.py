"""Cells by themselves: ``--cell`` of ``bench run`` and ``bench plan``, and the command that computes one number."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support import ATTACKS, SUITE, ToyRun
from support import in_process as bench

from bench.core.errors import SuiteError
from bench.core.text import set_label
from bench.planning.plan import Plan, find_ids, select
from bench.runs.explain import cell_command
from bench.store.reading import RunResults
from bench.store.run_record import RunRecord, SuiteRecord
from bench.store.schema import SAMPLES

PlanOf = Callable[..., Plan]


# ---- ids -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fewer",
    [
        ['experiment[0].defenses=["toy-step"]', 'experiment[1].datasets=["toy-faces"]'],
        ['experiment[0].evaluated=["toy-b"]', "experiment[1].repeats=1"],
        ['experiment[0].authorised=["toy-b", ["toy-a", "toy-b"]]'],
    ],
)
def test_an_id_and_its_stages_do_not_depend_on_what_else_is_planned(plan_text: PlanOf, fewer: list[str]) -> None:
    everything = {cell.id: cell.stages for cell in plan_text(SUITE).cells}
    some = {cell.id: cell.stages for cell in plan_text(SUITE, *fewer).cells}
    assert 0 < len(some) < len(everything)
    assert some.items() <= everything.items()


def test_an_id_is_another_one_for_another_question(plan_text: PlanOf) -> None:
    before = {cell.id for cell in plan_text(SUITE).cells if cell.experiment == "one"}
    for change in ("fmr=0.1", "kappa=0.3", "pairs=42", 'threshold="accuracy"', 'table="VI"'):
        after = {cell.id for cell in plan_text(SUITE, f"experiment[0].{change}").cells if cell.experiment == "one"}
        assert not before & after, change


def test_selected_are_the_cells_and_what_they_need(plan_text: PlanOf) -> None:
    plan = plan_text(ATTACKS)
    for cell in plan.cells:
        alone = select(plan, [cell.id])
        assert alone.cells == [cell]
        assert alone.stages.keys() == set(plan.path_of(cell))
        assert list(alone.stages) == [key for key in plan.stages if key in alone.stages]
        assert alone.whole == select(alone, [cell.id]).whole == len(plan.cells)
    assert select(plan, [cell.id for cell in plan.cells]).digest == plan.digest


def test_beginnings_of_ids_and_mistakes(plan_text: PlanOf) -> None:
    plan = plan_text(SUITE)
    ids = [cell.id for cell in plan.cells]
    shortest = next(n for n in range(1, 17) if sum(name.startswith(ids[0][:n]) for name in ids) == 1)
    assert find_ids(plan, [ids[0][:shortest], ids[3]]) == [ids[0], ids[3]]
    listed = f"bench plan {plan.suite.path} --json, with the options of this command, lists them"
    wrong = f"{ids[0][:-1]}x"
    with pytest.raises(SuiteError) as error:
        find_ids(plan, [wrong])
    assert str(error.value).startswith(f"--cell {wrong}: expected the id of a cell or its beginning")
    assert f"the {len(ids)} cells of toy; did you mean {ids[0]!r}? {listed}" in str(error.value)
    with pytest.raises(SuiteError, match=f"found no such one among the {len(ids)} cells of toy; bench plan "):
        find_ids(plan, ["zzzz"])
    first = max("0123456789abcdef", key=lambda letter: sum(name.startswith(letter) for name in ids))
    several = [name for name in ids if name.startswith(first)]
    with pytest.raises(
        SuiteError, match=f"--cell {first}: expected one cell, {len(several)} have an id that .*{several[0]}"
    ):
        find_ids(plan, [first])
    with pytest.raises(SuiteError, match="found no such one"):
        find_ids(plan, [""])


# ---- runs of them ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of the whole run, once it is made."""
    return {"home": tmp_path_factory.mktemp("whole")}


@pytest.fixture
def whole(kept: dict[str, Path], inline: None) -> RunResults:
    """The run of a suite with attacks of every kind."""
    if "run" not in kept:
        suite = kept["home"] / "attacks.toml"
        suite.write_text(ATTACKS)
        done = bench("run", suite, "--device", "cpu", "--pairs", 8, "--out", kept["home"])
        assert done.exit_code == 0, done.output
        (kept["run"],) = (kept["home"] / "results" / "attacks").iterdir()
    return RunResults(kept["run"])


def of_cell(folder: Path, cell: dict[str, Any]) -> dict[str, bytes]:
    """Return the rows of a run that belong to a cell, table by table, as bytes, without columns that do not concern it.
    They are sorted by attack, because a run stores rows that several cells share where the first of these cells is."""
    found = {}
    for name in SAMPLES:
        files = sorted((folder / "samples" / name).glob(f"experiment={cell['experiment']}/part-*.parquet"))
        if not files:
            continue
        table = pa.concat_tables([pq.read_table(f, partitioning=None) for f in files], promote_options="permissive")
        held = {"cell": [cell["cell"]], "attack": ["", cell["via"] if isinstance(cell["via"], str) else cell["attack"]]}
        held |= {axis: [cell[axis]] for axis in ("dataset", "defense", "repeat")}
        held["authorised"] = [set_label(cell["authorised"])]
        axes = ["cell"] if "cell" in table.column_names else [a for a in held if a in table.column_names]
        for axis in axes:
            table = table.filter(pc.field(axis).isin(held[axis]))
        known = [c for c in table.column_names if table[c].null_count < len(table) or not c.startswith("extra_")]
        if len(table):
            rows = sorted(
                table.to_pylist(), key=lambda row: row.get("attack", "")
            )  # of uploads, then of what was rebuilt
            schema = table.select(sorted(known)).schema.remove_metadata()
            written = pa.BufferOutputStream()
            pq.write_table(pa.Table.from_pylist(rows, schema), written)
            found[name] = written.getvalue().to_pybytes()
    return found


def test_rows_of_single_cells_are_those_of_the_whole_run_byte_for_byte(whole: RunResults, tmp_path: Path) -> None:
    """One cell of each kind, each in a new cache, so that nothing is reused from the whole run."""
    cells = whole.cells[whole.cells["status"] == "ok"]
    kinds = cells.drop_duplicates(["experiment", "attack", "outputs"], keep="last")
    assert {"recognition", "images", "attributes"} == set(kinds["outputs"])
    suite = whole.folder.parent.parent.parent / "attacks.toml"
    tables: set[str] = set()
    for cell in kinds.to_dict("records"):
        out = tmp_path / cell["cell"]
        done = bench("run", "--no-report", suite, "--device", "cpu", "--pairs", 8, "--cell", cell["cell"], "--out", out)
        assert done.exit_code == 0, done.output
        (folder,) = (out / "results" / "attacks").iterdir()
        (row,) = RunResults(folder).cells.to_dict("records")
        assert (row["cell"], row["stages"], row["components"]) == (cell["cell"], cell["stages"], cell["components"])
        expected = of_cell(whole.folder, cell)
        assert of_cell(folder, cell) == expected
        tables |= expected.keys()
        assert folder.name.rpartition("-")[2] != whole.folder.name.rpartition("-")[2]
    assert tables == {*SAMPLES} - {"links", "sets"}  # No attack of this suite links, and no metric is one of sets.


def test_several_cells_make_one_run_that_can_be_replayed(whole: RunResults, monkeypatch: pytest.MonkeyPatch) -> None:
    home = whole.folder.parent.parent.parent
    monkeypatch.chdir(home)
    page = (home / "reports" / "attacks" / "index.html").read_bytes()
    first, second = whole.cells["cell"].iloc[[0, 5]]
    options = ["attacks.toml", "--device", "cpu", "--pairs", "8", "--cell", first[:12], "--cell", second]
    done = bench("run", *options)
    assert done.exit_code == 0, done.output
    assert "cells: 2 ok, 0 skipped, 0 failed" in done.stdout
    (folder,) = [p for p in whole.folder.parent.iterdir() if p != whole.folder]
    assert RunResults(folder).run.only == (first, second)
    assert whole.run.only is None
    assert RunResults(folder).run.counts.computed == 0, "the stages are those of the whole run"
    own = home / "reports" / "attacks" / folder.name / "index.html"
    assert f"report: {own.relative_to(home)}" in done.stdout
    assert own.is_file()
    assert (home / "reports" / "attacks" / "index.html").read_bytes() == page, "the report of the suite stays"
    assert bench("run", *options).exit_code == 0
    assert len(list(whole.folder.parent.iterdir())) == 2, "the same command has the same folder"
    replayed = bench("run", "--replay", folder)
    assert replayed.exit_code == 0, replayed.output
    assert "the rows are the same bytes" in replayed.stdout


def test_bench_plan_lists_cells_with_their_ids(whole: RunResults) -> None:
    suite = whole.folder.parent.parent.parent / "attacks.toml"
    options = [suite, "--device", "cpu", "--pairs", 8, "--out", suite.parent]
    found = json.loads(bench("plan", *options, "--json").stdout)
    assert [cell["cell"] for cell in found["cells"]] == whole.cells["cell"].tolist()
    assert [cell["evaluated"] or "" for cell in found["cells"]] == whole.cells["evaluated"].tolist()
    keys = {stage["key"] for stage in found["stages"]}
    assert all(set(cell["stages"]) <= keys for cell in found["cells"])
    assert not any(stage["to_compute"] for stage in found["stages"])
    cell = found["cells"][4]
    alone = bench("plan", *options, "--cell", cell["cell"][:14])
    assert f"cells: 1 of the {len(whole.cells)} of the suite, by --cell" in alone.stdout
    (one,) = json.loads(bench("plan", *options, "--cell", cell["cell"], "--json").stdout)["cells"]
    assert one == cell
    wrong = bench("plan", *options, "--cell", "nothing")
    assert wrong.exit_code == 2
    assert "--cell nothing: expected the id of a cell or its beginning" in wrong.stderr


def test_what_computes_a_cell_alone_is_told(toy_run: ToyRun, tmp_path: Path) -> None:
    results = RunResults(toy_run.folder)
    cell = results.cells["cell"].iloc[3]
    printed = json.loads(bench("explain", toy_run.folder, cell, "--json").stdout)["commands"]
    what, command = next(iter(printed.items()))
    assert what == "computes this cell alone"
    assert shlex.split(command) == [*results.run.command, "--cell", cell]
    assert f"{what}:\n  {command}\n" in bench("explain", toy_run.folder, cell).stdout


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            "bench run a.toml --pairs 6 --fresh --set suite.seed=1",
            "bench run a.toml --pairs 6 --set suite.seed=1 --cell x",
        ),
        ("bench run a.toml --cell 12 --cell=34 --no-retry", "bench run a.toml --cell x"),
        ("bench run 'my suite.toml'", "bench run 'my suite.toml' --cell x"),
        ("bench rescore paper", None),
        ("", None),
    ],
)
def test_the_command_of_a_cell_is_that_of_its_run(command: str, expected: str | None) -> None:
    run = RunRecord(suite=SuiteRecord(name="a"), command=shlex.split(command), host={"core/domain.py": "0"})
    assert cell_command(run, "x") == expected
    assert cell_command(replace(run, replay_of="another"), "x") is None
    assert cell_command(replace(run, host=None), "x") is None, "an earlier bench had other ids"


def test_a_replay_takes_no_cell(whole: RunResults) -> None:
    done = bench("run", "--replay", whole.folder, "--cell", "12")
    assert done.exit_code == 2
    assert "--replay makes a run again as it was; remove --cell" in " ".join(done.stderr.split())
    done = bench("run", "--replay", whole.folder, "--no-report", "--include-faces")
    assert "remove --include-faces and --no-report" in " ".join(done.stderr.split())

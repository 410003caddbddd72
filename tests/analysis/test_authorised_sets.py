"""A set of authorised models is a list; a label that contains a ``+`` is one model, wherever a set is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_run import FakeRun, write_fake_run

from bench.analysis.claim_results import claims_of
from bench.analysis.rows import Rows
from bench.analysis.tables.row_layout import authorised_in, sides_of
from bench.core.errors import StorageError
from bench.report.page import render, threat_models
from bench.runs.combine import join
from bench.runs.explain import explain, find_cell
from bench.store import old_schemas
from bench.store.artifacts import Cache
from bench.store.reading import RunResults
from bench.suite.claims import SideTable

MODELS = {"a": "Model A", "b": "Model B", "a+b": "A + B"}


def run(folder: Path, **changes: Any) -> RunResults:
    """Write a run in which the model ``a+b`` is authorised, and neither ``a`` nor ``b``."""
    plain: dict[str, Any] = {"models": MODELS, "datasets": {"synth-lfw": "LFW"}, "authorised": (("a+b",),), "pairs": 4}
    return write_fake_run(folder, FakeRun(**{**plain, **changes}))


@pytest.mark.slow
def test_a_label_with_a_plus_is_one_model(tmp_path: Path) -> None:
    results = run(tmp_path / "run")
    rows = Rows(results)
    assert {c.authorised_models for c in rows.cells} == {(), ("a+b",)}
    assert {c.authorised for c in rows.cells} == {"", "a+b"}
    assert authorised_in(rows.cells) == {"a+b"}
    assert sides_of(rows.cells).sets == {"data-abuse": frozenset({frozenset({"a+b"})})}
    assert {m.facts["the client needs"] for m in threat_models.promises(rows)} == {threat_models.UNRECORDED}
    assert "set of authorised models" not in render(results)
    for asked in ("a+b", ["a+b"], ("a+b",), [("a+b",)]):
        assert len(results.samples("verification", {"authorised": asked})) == 4 * len(MODELS)
    assert not len(results.samples("verification", {"authorised": ["a", "b"]}))
    cell = find_cell(results, ["authorised=a+b", "evaluated=a"])
    assert cell["role"] == "unauthorised"
    found = explain(results, cell, results.folder, Cache(tmp_path))
    assert found.axes["authorised"] == "a+b"
    assert [part.label for part in found.parts if part.role == "authorised model"] == ["a+b"]


def test_a_set_of_several_models_is_explained_model_by_model(tmp_path: Path) -> None:
    results = run(tmp_path / "run", authorised=(("a", "b"),))
    cell = find_cell(results, ["authorised=a+b", "evaluated=a+b"])
    assert (cell["authorised"], cell["role"]) == (("a", "b"), "unauthorised")
    found = explain(results, cell, results.folder, Cache(tmp_path))
    assert found.words["client"].endswith(" for a and b")
    assert [part.label for part in found.parts if part.role == "authorised model"] == ["a", "b"]


def other_model(results: RunResults, label: str) -> RunResults:
    """Give the model of that label other weights."""
    path = results.folder / "cells.parquet"
    table = pq.read_table(path).to_pandas()
    table["components"] = [
        json.dumps([{**c, "weights": "9" * 64} if c["label"] == label else c for c in json.loads(text)])
        for text in table["components"]
    ]
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), path)
    return RunResults(results.folder)


def test_a_model_of_another_run_is_not_renamed_within_a_label(tmp_path: Path) -> None:
    both = join([run(tmp_path / "first"), other_model(run(tmp_path / "second"), "a")])
    assert set(both.cells["authorised"]) == {(), ("a+b",)}
    assert "a (run B)" in set(both.cells["evaluated"])
    assert set(both.samples("verification")["authorised"]) == {"", "a+b"}


def test_the_models_of_a_set_are_renamed_in_rows_too(tmp_path: Path) -> None:
    first, second = (run(tmp_path / name, authorised=(("a", "b"),)) for name in ("first", "second"))
    both = join([first, other_model(second, "a")])
    assert set(both.cells["authorised"]) == {(), ("a", "b"), ("a (run B)", "b")}
    assert set(both.samples("verification")["authorised"]) == {"", "a+b", "a (run B)+b"}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a+b", ["a+b"]),
        (["a", "b"], ["a", "b"]),
        ([["a", "b"]], ["a+b"]),
        (["c", ["a", "b"], "a+b"], ["c", "a+b", "a+b"]),
    ],
)
def test_a_claim_names_sets_by_labels_or_by_lists(written: Any, read: list[str]) -> None:
    assert SideTable.model_validate({"authorised": written}).authorised == read


def test_a_claim_about_a_set_is_about_the_stand_ins(tmp_path: Path) -> None:
    results = run(tmp_path / "run", authorised=(("a", "b"),))
    path = results.folder / "run.json"
    record = json.loads(path.read_text())
    for component in record["components"]:
        component["instead_of"] = {"a": "Big"}.get(component["label"])
    claim = {"id": "x", "section": "1", "text": "x", "experiment": "data-abuse", "metric": "accuracy",
             "left": {"authorised": ["Big+b", "a+b"]}, "relation": ">", "right": 0.0}  # fmt: skip
    record["suite"]["raw"]["claims"] = [claim]
    path.write_text(json.dumps(record))
    (found,) = claims_of(RunResults(results.folder))
    assert found.left.authorised == ["a+b", "a+b"]


def test_a_column_of_lists_that_holds_texts_is_one_message(tmp_path: Path) -> None:
    results = run(tmp_path / "run")
    path = results.folder / "cells.parquet"
    table = pq.read_table(path)
    at = table.column_names.index("authorised")
    pq.write_table(table.set_column(at, "authorised", pa.array(["a+b"] * len(table))), path)
    with pytest.raises(StorageError, match=r"cells\.parquet: authorised: expected lists of texts, found string"):
        _ = RunResults(results.folder).cells


def test_an_older_schema_is_read_by_its_components() -> None:
    kinds = (("dataset", "d"), ("model", "a+b"), ("defense", "p"), ("attack", "x"), ("model", "a"))
    components = json.dumps([{"kind": kind, "label": label} for kind, label in kinds])
    row = {"authorised": "a+b", "authorised_stand_in_for": "A + B", "upload": "features at stem+block", "reason": None}
    found = old_schemas.cells(pd.DataFrame([{**row, "components": components}]), ()).iloc[0]
    assert (found["authorised"], found["authorised_stand_in_for"]) == (("a+b",), ("A + B",))
    assert found["splits"] == ("stem", "block")
    assert [c["role"] for c in json.loads(found["components"])] == [
        *("dataset", "authorised", "defense", "attack", "evaluated")
    ]

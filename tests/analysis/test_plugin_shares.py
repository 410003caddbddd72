"""Metrics of plugins that declare that they are a share have the interval of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_run import FakeRun, rewritten, write_fake_run

from bench.analysis.measures import measure, metric_in
from bench.analysis.rows import Rows
from bench.analysis.table_model import Measurement
from bench.core.errors import StorageError
from bench.store.reading import RunResults

IMAGES = 20
SPEC = FakeRun(
    pairs=IMAGES,
    datasets={"synth-lfw": "LFW"},
    models={"net-a": "A"},
    authorised=(("net-a",),),
    defenses=[("PMT", "pmt", True)],
)


def rows_with(folder: Path, values: Any, people: Any = None, **declared: Any) -> Rows:
    """Write a run with a metric ``kept`` of the images of one defense, and open its rows."""

    def change(table: pd.DataFrame) -> None:
        table["metric_kept"] = np.asarray(values, np.float64)
        table["subject"] = table["subject"] if people is None else people

    results = rewritten(write_fake_run(folder, SPEC), images=change)
    path = results.folder / "run.json"
    record = json.loads(path.read_text())
    about = {"formula": "1 if the face is kept", "unit": "%", "low": 0.0, "high": 1.0, "digits": 1, **declared}
    record["components"].append(
        {"kind": "metric", "name": "kept", "label": "kept", "role": "", "params": {}, "digest": "", "metric": about}
    )
    for experiment in record["suite"]["experiments"]:
        experiment["metrics"] = ["kept"]
    path.write_text(json.dumps(record))
    return Rows(RunResults(results.folder))


def kept(rows: Rows) -> Measurement:
    return measure(rows, rows.cells, metric_in(rows, "kept"))


def test_a_share_has_the_interval_of_wilson(tmp_path: Path) -> None:
    """19 of 20: (19 + 1.92) / 23.84 ± 1.96 √(.95 · .05 / 20 + .0024) · 20 / 23.84 is .764 to .991."""
    found = kept(rows_with(tmp_path, np.arange(IMAGES) > 0, share=True))
    assert (found.value, found.n, found.interval) == (0.95, IMAGES, "Wilson")
    assert (found.low, found.high) == (pytest.approx(0.7639, abs=1e-4), pytest.approx(0.9911, abs=1e-4))


def test_a_share_of_which_all_agree_has_an_interval_too(tmp_path: Path) -> None:
    """20 of 20 (Wilson): 20 / (20 + 1.96²) to 1. Other equal numbers have none."""
    found = kept(rows_with(tmp_path / "share", np.ones(IMAGES), share=True))
    assert (found.low, found.high) == (pytest.approx(20 / (20 + 1.959964**2)), pytest.approx(1.0))
    other = kept(rows_with(tmp_path / "other", np.ones(IMAGES)))
    assert (other.value, other.low) == (1.0, None)


def test_the_images_of_a_person_are_one_cluster(tmp_path: Path) -> None:
    """Five people with four images each, of which one person keeps none: .8 with five trials reaches further down."""
    values, people = np.arange(IMAGES) >= 4, np.arange(IMAGES) // 4
    found = kept(rows_with(tmp_path, values, people, share=True))
    assert (found.value, found.people, found.interval) == (0.8, 5, "clustered")
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low < 0.5  # Wilson's interval of 16 of 20 independent images begins at .58.
    assert 0.8 < found.high <= 1


def test_a_mean_that_is_no_share_ends_at_the_bounds_of_its_metric(tmp_path: Path) -> None:
    found = kept(rows_with(tmp_path, np.arange(IMAGES) > 0))
    assert (found.value, found.interval, found.high) == (0.95, "clustered", 1.0)


@pytest.mark.parametrize("value", [0.3, 2.0])
def test_a_share_with_another_value_than_0_and_1_is_an_error(tmp_path: Path, value: float) -> None:
    rows = rows_with(tmp_path, np.full(IMAGES, value), share=True)
    words = f"metric_kept: expected 0 or 1, because the metric kept declares that it is a share; found {value:g}"
    with pytest.raises(StorageError, match=words):
        kept(rows)


@pytest.mark.parametrize(
    ("declared", "shown", "unit"),
    [
        ({"share": True, "unit": "", "digits": None}, "95.0", "%"),
        ({"share": True, "unit": "%", "digits": None}, "95.0", "%"),
        ({"share": True, "unit": "faces", "digits": 2}, "0.95", "faces"),
        ({"unit": "", "digits": None}, "0.950", ""),
    ],
)
def test_a_share_is_shown_in_per_cent(declared: dict[str, Any], shown: str, unit: str, tmp_path: Path) -> None:
    rows = rows_with(tmp_path, np.arange(IMAGES) > 0, **declared)
    metric = metric_in(rows, "kept")
    assert metric.unit == unit
    assert metric.shown(measure(rows, rows.cells, metric).value or 0.0) == shown

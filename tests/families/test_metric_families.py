"""Metrics of plugins, from the suite to rows, tables, claims and exports; each value is computed again here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from attacked import network
from numpy.lib.stride_tricks import sliding_window_view
from support import Computed, compute, names

from bench.analysis.claim_results import claims_of, judge
from bench.analysis.measures import measure, metric_in, select
from bench.analysis.rows import Rows
from bench.analysis.tables import build
from bench.core.errors import PluginError, SuiteError
from bench.planning.plan import Plan
from bench.registry.discovery import Registry
from bench.runs import record
from bench.runs.rescore_plan import Planner
from bench.runs.run import outcome
from bench.store.artifacts import Cache
from bench.store.reading import RunResults
from bench.store.writing import write_run

MS_SSIM = '{ plugin = "ms-ssim", scales = 2 }'
FID = '{ plugin = "face-fid", model = "toy-b" }'
SUITE = """\
[suite]
name = "metrics"
seed = 5

[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a"]
defenses = ["identity", { plugin = "noise", sigma = 0.2, label = "noise" }]
attacks = ["abuse", "toy-denoise"]
metrics = [METRICS]
pairs = 24

[[claims]]
id = "similar"
section = "6.2"
text = "Noise changes the picture."
metric = "ms-ssim"
experiment = "one"
left = { defense = "identity", attack = "abuse" }
relation = ">"
right = { defense = "noise", attack = "abuse" }

[[claims]]
id = "far"
section = "6.2"
text = "Noise changes the set of pictures."
metric = "face-fid"
experiment = "one"
left = { defense = "noise", attack = "abuse" }
relation = ">"
right = { defense = "identity", attack = "abuse" }
"""
PlanOf = Callable[..., Plan]


def suite(*metrics: str) -> str:
    text = SUITE.replace("METRICS", ", ".join(metrics))
    return text if len(metrics) > 1 else text.partition("[[claims]]")[0]


@pytest.fixture
def finished(tmp_path: Path, plan_of: PlanOf, families: Registry) -> Callable[..., tuple[Computed, Rows]]:
    """Return a function that computes a suite in this process and writes its run folder."""

    def make(text: str, *overrides: str) -> tuple[Computed, Rows]:
        plan = plan_of(text, *overrides)
        done = Computed(plan, Cache(tmp_path / "cache"))
        assert not done.failures(), done.failures()
        about = record.of_plan(plan, families, "local", datetime.now(UTC))
        outcomes = [outcome(cell, plan, done.results) for cell in plan.cells]
        stages = record.of_stages(plan, done.results, done.cache)
        write_run(tmp_path / "run", outcomes, done.cache, families, about, stages)
        return done, Rows(RunResults(tmp_path / "run"))

    return make


# ---- independent computations ----------------------------------------------------------------------------------------


def ms_ssim(a: Any, b: Any, scales: int) -> float:
    """MS-SSIM of two images ``(c, h, w)`` in [0, 1], window by window."""
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    weights = weights / weights.sum()
    line = np.exp(-(np.arange(-5, 6) ** 2) / 4.5)
    window = np.outer(line, line) / line.sum() ** 2
    values = []
    for x, y in zip(a, b, strict=True):
        value = 1.0
        for j in range(scales):
            u, v = (sliding_window_view(z, (11, 11)) for z in (x, y))
            mu, mv = ((w * window).sum((-1, -2)) for w in (u, v))
            su, sv = (((w - m[..., None, None]) ** 2 * window).sum((-1, -2)) for w, m in ((u, mu), (v, mv)))
            both = ((u - mu[..., None, None]) * (v - mv[..., None, None]) * window).sum((-1, -2))
            structure = (2 * both + 9e-4) / (su + sv + 9e-4)
            if j == scales - 1:
                structure = structure * (2 * mu * mv + 1e-4) / (mu**2 + mv**2 + 1e-4)
            value *= max(0.0, structure.mean()) ** weights[j]
            x, y = (z.reshape(z.shape[0] // 2, 2, z.shape[1] // 2, 2).mean((1, 3)) for z in (x, y))
        values.append(value)
    return float(np.mean(values))


def frechet(a: Any, b: Any) -> float:
    """The Fréchet distance of features ``(n, d)``, by the root of a matrix."""
    root = scipy.linalg.sqrtm(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False))
    spread = np.trace(np.cov(a, rowvar=False) + np.cov(b, rowvar=False) - 2 * np.real(root))
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + spread)


def embeddings(images: Any) -> Any:
    with torch.no_grad():
        return network("toy-b")(torch.from_numpy(images.copy()).float() / 255).double().numpy()


# ---- values ----------------------------------------------------------------------------------------------------------


def test_a_metric_is_a_column_of_the_rows_of_images(finished: Callable[..., tuple[Computed, Rows]]) -> None:
    done, rows = finished(suite(MS_SSIM, FID))
    originals = done.artifact("evaluation faces of toy-faces").tensors["images"] / 255.0
    protected = done.artifact("toy-faces protected by noise")
    faces, images = protected.tables["samples"]["face"].to_numpy(), protected.tensors["images"] / 255.0
    expected = [ms_ssim(originals[f], image, 2) for f, image in zip(faces, images, strict=True)]
    stored = rows.results.samples("images", {"defense": "noise", "attack": ""})
    np.testing.assert_allclose(stored["metric_ms-ssim"].to_numpy(), expected, rtol=1e-6)  # Pixels are float32.
    rebuilt = rows.results.samples("images", {"defense": "noise", "attack": "toy-denoise"})
    assert len(rebuilt) == len(stored)
    assert abs(rebuilt["metric_ms-ssim"].mean() - stored["metric_ms-ssim"].mean()) > 1e-3

    found = measure(rows, select(rows, defense="noise", attack="abuse"), "ms-ssim")
    assert found.value == pytest.approx(np.mean(expected))
    assert found.n == len(expected)
    assert found.interval == "clustered"
    assert found.low is not None
    assert found.low < found.value < (found.high or 0) <= 1
    clean = measure(rows, select(rows, defense="identity", attack="abuse"), "ms-ssim")
    assert clean.value == pytest.approx(1.0)


def test_a_value_of_a_set_has_an_interval_over_people(finished: Callable[..., tuple[Computed, Rows]]) -> None:
    done, rows = finished(suite(MS_SSIM, FID))
    protected = done.artifact("toy-faces protected by noise")
    originals = done.artifact("evaluation faces of toy-faces").tensors["images"]
    faces = protected.tables["samples"]["face"].to_numpy()
    expected = frechet(embeddings(originals[faces]), embeddings(protected.tensors["images"]))
    found = measure(rows, select(rows, defense="noise", attack="abuse"), "face-fid")
    assert found.value == pytest.approx(expected, rel=1e-4)
    assert (found.n, found.interval, found.note) == (len(faces), "clustered", "interval by a bootstrap over people")
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < found.value < found.high
    clean = measure(rows, select(rows, defense="identity", attack="abuse"), "face-fid")
    assert clean.value == pytest.approx(0.0, abs=1e-6)
    several = measure(rows, select(rows, attack="abuse"), "face-fid")
    assert several.value == pytest.approx((expected + clean.value) / 2, rel=1e-4)
    assert several.low is None
    assert "mean of 2 sets of images" in (several.note or "")


def test_metrics_are_in_tables_claims_and_the_record(finished: Callable[..., tuple[Computed, Rows]]) -> None:
    _, rows = finished(suite(MS_SSIM, FID))
    (table,) = build(rows, "images")
    assert [c.label for c in table.columns] == ["SSIM", "PSNR", "MS-SSIM", "face FID"]
    assert [c.metric.better for c in table.columns] == ["lower", "lower", "lower", "higher"]
    noise = next(r for g in table.groups for r in g.rows if r.label == "noise")
    assert [m.value is not None for m in noise.measurements] == [True] * 4
    (attacks,) = build(rows, "reconstruction")
    assert [c.label for c in attacks.columns][-2:] == ["MS-SSIM", "face FID"]
    verdicts = judge(rows, claims_of(rows.results))
    assert [(v.claim.id, v.outcome) for v in verdicts] == [("similar", "holds"), ("far", "holds")]
    assert verdicts[1].decisive.clear is True
    metric = metric_in(rows, "ms-ssim")
    assert metric.about.startswith("product over scales of contrast")
    assert "Wang et al. 2003" in metric.about
    assert metric.source == (
        "samples/images by experiment, dataset, defense, authorised, repeat, attack: metric_ms-ssim"
    )
    recorded = {c.label: c.metric for c in rows.results.run.components if c.kind == "metric"}
    assert recorded["face-fid"] is not None
    assert (recorded["face-fid"].low, recorded["face-fid"].high, recorded["face-fid"].of_set) == (0.0, None, True)


def test_a_metric_with_values_of_samples_and_sets_has_two_names(
    finished: Callable[..., tuple[Computed, Rows]],
) -> None:
    done, rows = finished(suite('"toy-difference"'))
    protected = done.artifact("toy-faces protected by noise")
    faces = protected.tables["samples"]["face"].to_numpy()
    a = done.artifact("evaluation faces of toy-faces").tensors["images"][faces] / 255.0
    b = protected.tensors["images"] / 255.0
    cells = select(rows, defense="noise", attack="abuse")
    found = measure(rows, cells, "toy-difference")
    assert found.value == pytest.approx(np.abs(a - b).mean(), rel=1e-5)
    of_set = measure(rows, cells, "toy-difference:set")
    assert of_set.value == pytest.approx(np.abs(a.mean(0) - b.mean(0)).mean(), rel=1e-5)
    assert (of_set.low, of_set.interval) == (None, "")
    assert of_set.note == (
        "no interval: the plugin computes it from images, and not from features, which could be drawn"
    )
    (table,) = build(rows, "images")
    assert [c.label for c in table.columns][2:] == ["toy-difference", "toy-difference of the set"]


def test_a_rescoring_keeps_the_values_of_metrics(
    finished: Callable[..., tuple[Computed, Rows]], families: Registry, tmp_path: Path
) -> None:
    done, _ = finished(suite(MS_SSIM))
    made = Planner(tmp_path / "run", families, done.cache, ["experiment[0].fmr=0.1"], "cpu", None)
    names_of = {key: stage.name for key, stage in made.plan.stages.items()}
    assert sorted(names_of[key] for key in made.kept) == sorted(n for n in names(done.plan) if n.startswith("ms-ssim"))
    assert {cell.stages for cell in made.plan.cells} != {cell.stages for cell in done.plan.cells}


# ---- content keys ----------------------------------------------------------------------------------------------------


def test_another_metric_computes_nothing_else_again(plan_of: PlanOf, tmp_path: Path) -> None:
    one = plan_of(suite(MS_SSIM))
    compute(one, Cache(tmp_path / "cache"))
    two = plan_of(suite(MS_SSIM, FID))
    results = compute(two, Cache(tmp_path / "cache"))
    fresh = sorted(two.stages[key].name for key, result in results.items() if not result.cached)
    assert fresh == sorted(name for name in names(two) if name.startswith("face-fid of "))
    assert len(fresh) == 4
    other = plan_of(suite('{ plugin = "ms-ssim", scales = 1, label = "ms-ssim" }'))
    changed = {other.stages[key].name for key in other.stages.keys() - one.stages.keys()}
    assert changed == {name for name in names(one) if name.startswith("ms-ssim of ")}


# ---- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (
            ['"ms-sim"'],
            r"experiment\[0\].metrics\[0\]: expected the name of a metric plugin, found .ms-sim.; did you",
        ),
        (['"ssim"'], r"metrics\[0\]: 'ssim' is computed in every experiment; remove it"),
        ([MS_SSIM, MS_SSIM], r"metrics\[1\]: 'ms-ssim' appears twice"),
        (['{ plugin = "ms-ssim", label = "rank-1" }'], "'rank-1' is the name of a metric of bench"),
        (['{ plugin = "ms-ssim", label = "a:b" }'], "expected a name without colon, found 'a:b'"),
        (['{ plugin = "ms-ssim", scales = 9 }'], r"metrics\[0\].scales: input should be less than or equal to 5"),
    ],
)
def test_wrong_entries_are_refused(plan_of: PlanOf, metrics: Sequence[str], message: str) -> None:
    text = SUITE.partition("[[claims]]")[0].replace("METRICS", ", ".join(metrics))
    with pytest.raises(SuiteError if "metric plugin" not in message else PluginError, match=message):
        plan_of(text)


def test_a_claim_names_a_metric_that_its_experiment_computes(plan_of: PlanOf) -> None:
    text = SUITE.replace("METRICS", MS_SSIM)
    with pytest.raises(SuiteError, match=r"claims\[1\].metric: no metric 'face-fid'"):
        plan_of(text)
    one = suite(MS_SSIM, FID)
    body = one.partition("[[experiment]]")[2].partition("[[claims]]")[0]
    second = body.replace('name = "one"', 'name = "two"').replace(FID, "")
    with pytest.raises(SuiteError, match="the experiment 'two' does not compute 'face-fid'; add it to its metrics"):
        plan_of(
            one.replace("[[claims]]", f"[[experiment]]{second}\n[[claims]]", 1).replace(
                'metric = "face-fid"\nexperiment = "one"', 'metric = "face-fid"\nexperiment = "two"'
            )
        )


def test_one_name_is_one_metric_in_a_suite(plan_of: PlanOf) -> None:
    head, _, body = suite(MS_SSIM).partition("[[experiment]]")
    second = body.replace('name = "one"', 'name = "two"').replace("scales = 2", "scales = 1")
    with pytest.raises(SuiteError, match=r"experiment\[1\].metrics: 'ms-ssim' stands for another metric in experiment"):
        plan_of(f"{head}[[experiment]]{body}[[experiment]]{second}")

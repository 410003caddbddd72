"""What an anonymisation keeps is its utility: a face with its landmarks in place, its expression and its attributes."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench.analysis.measures import METRICS, metric_named
from bench.analysis.rows import Rows
from bench.analysis.tables import build
from bench.analysis.tables.goals import purpose_of
from bench.analysis.tables.recommendation import recommend
from bench.cli.console import notes_on_files
from bench.planning.instances import Instances
from bench.report.export import FORMATS
from bench.report.page.verdict_words import sentences

SUITE = """\
[suite]
name = "anonymity"
seed = 5

[[experiment]]
name = "one"
datasets = [{ plugin = "synth-lfw", calibration_identities = 20, auxiliary_identities = 20 }]
authorised = ["zoo-mobileface"]
evaluated = ["zoo-mobileface"]
defenses = ["identity", { plugin = "family-k-same", label = "mean" }]
attacks = ["abuse", "attributes"]
metrics = [METRICS]
pairs = 24
"""
ALL = '{ plugin = "face-kept", label = "kept" }, "face-detected", "landmark-distance"'


@pytest.mark.slow
def test_the_utility_of_anonymity_is_the_share_of_faces_that_are_kept(families_run: Callable[..., Rows]) -> None:
    rows = families_run(SUITE.replace("METRICS", ALL))
    found = recommend(rows, "anonymity")
    assert (found.purpose.metric, found.purpose.note, found.purpose.utility.better) == ("kept", "", "higher")
    images = rows.results.samples("images", {"defense": "mean"})
    (mean,) = [e for e in found.entries if e.name == "mean"]
    assert mean.utility.value == pytest.approx(images["metric_kept"].mean())
    assert mean.utility.n == len(images) == 24
    assert mean.utility.low is not None
    (clean,) = [e for e in found.entries if e.kind == "clean"]
    assert clean.utility.value == 1.0
    text = " ".join(p if isinstance(p, str) else "VALUE" for s in sentences(found, False) for p in s)
    assert "VALUE of pictures still show a face with its landmarks in place" in text
    assert "stands in" not in text

    (table,) = build(rows, "kept")
    assert table.notes == []
    labels = [c.metric.name for c in table.columns]
    assert labels[:4] == ["ssim", "kept", "face-detected", "landmark-distance"]
    better = {c.metric.name: c.metric.better for c in table.columns}
    assert {name: better[name] for name in ("ssim", "kept", "landmark-distance", "excess:emotion", "excess:age")} == {
        "ssim": "higher",
        "kept": "higher",
        "landmark-distance": "lower",
        "excess:emotion": "higher",
        "excess:age": "lower",
    }
    made = {row.label: dict(zip(labels, row.measurements, strict=True)) for g in table.groups for row in g.rows}
    described = rows.results.samples("attributes", {"defense": "mean"})
    for name in ("emotion", "gender", "age"):
        own = described[described["attribute"] == name]
        assert made["mean"][f"excess:{name}"].value == pytest.approx((own["value"] - own["permuted"]).mean())
    distance = images["metric_landmark-distance"].to_numpy(float)
    finite = distance[~images["metric_landmark-distance_infinite"].to_numpy(bool)]
    assert made["mean"]["landmark-distance"].value == pytest.approx(finite.mean())
    assert made["identity"]["ssim"].value == pytest.approx(1.0)
    assert made["another person's face"]["ssim"].value is not None
    for fmt, write in FORMATS.items():
        assert not re.search(r"\b(nan|None|inf)\b", write([table])), fmt


@pytest.mark.slow
def test_ssim_stands_in_with_a_note(families_run: Callable[..., Rows]) -> None:
    rows = families_run(SUITE.replace("METRICS", '"face-detected"'))
    found = recommend(rows, "anonymity")
    note = (
        "SSIM stands in for the share of pictures that keep a face: the run computed no metric face-kept; add "
        'metrics = ["face-kept"] to its experiments'
    )
    assert (found.purpose.metric, found.purpose.note) == ("ssim", note)
    (mean,) = [e for e in found.entries if e.name == "mean"]
    assert mean.utility.value == pytest.approx(rows.results.samples("images", {"defense": "mean"})["ssim"].mean())
    assert note in (mean.utility.note or "")
    assert [f"{note}."] in sentences(found, False)
    (table,) = build(rows, "kept")
    assert table.notes == [f"{note}."]


def run_of(components: list[Any], cells: list[Any], metrics: list[str]) -> Any:
    experiments = [SimpleNamespace(name="one", metrics=metrics), SimpleNamespace(name="two", metrics=[])]
    run = SimpleNamespace(components=components, suite=SimpleNamespace(experiments=experiments))
    return SimpleNamespace(cells=cells, results=SimpleNamespace(run=run))


def cell(experiment: str, *, synthetic: bool = True) -> Any:
    return SimpleNamespace(goal="anonymity", clean=False, experiment=experiment, synthetic=synthetic, dataset="lfw")


def test_why_ssim_stands_in() -> None:
    from bench.store.declarations import MetricDeclaration

    kept = SimpleNamespace(
        kind="metric", name="face-kept", label="face-kept", synthetic=True, metric=MetricDeclaration(unit="%")
    )
    assert purpose_of(run_of([kept], [cell("one")], ["face-kept"]), "anonymity").metric == "face-kept"
    every = run_of([kept], [cell("one"), cell("two")], ["face-kept"])
    assert "the experiment two did not compute face-kept" in purpose_of(every, "anonymity").note
    real = run_of([kept], [cell("one", synthetic=False)], ["face-kept"])
    assert "is not computed on the real ones of lfw" in purpose_of(real, "anonymity").note
    assert purpose_of(real, "appearance").metric == "ssim"


def test_no_protection_has_no_goal_of_its_own() -> None:
    clean: Any = SimpleNamespace(goal="recognition", clean=True)
    ssim = METRICS["ssim"]
    assert [ssim.toward(cells).better for cells in ([clean, cell("one")], [clean])] == ["higher", "lower"]
    assert ssim.toward([cell("one"), SimpleNamespace(goal="recognition", clean=False)]).better == ""  # type: ignore[list-item]


class Named(str):
    """A component, whose text says whether it learnt from, or shows, generated faces."""

    label = property(str)


def test_a_metric_of_generated_faces_judges_no_real_ones() -> None:
    registry: Any = SimpleNamespace(build=lambda component: SimpleNamespace(synthetic=component == "synthetic"))
    first: Any = Named("synthetic")
    second: Any = Named("real")
    instances = Instances(registry)
    for metric in (first, second):
        for dataset in (first, second):
            assert instances.can_judge(metric, dataset) == ((metric, dataset) != ("synthetic", "real"))
    experiment = SimpleNamespace(metrics=[first], datasets=[first, second])
    plan: Any = SimpleNamespace(cells=[], suite=SimpleNamespace(experiments=[experiment]))
    assert notes_on_files(plan, registry) == [
        ("synthetic", "not computed on real, whose faces are real: it learnt from generated ones")
    ]


def test_similar_pictures_and_attributes_are_better_for_anonymity() -> None:
    assert {n: METRICS[n].directions["anonymity"] for n in ("ssim", "psnr", "lpips")} == {
        "ssim": "higher",
        "psnr": "higher",
        "lpips": "lower",
    }
    for name, better in (("similarity:emotion", "higher"), ("similarity:age", "lower"), ("excess:gender", "higher")):
        assert metric_named(name).directions["anonymity"] == better
        assert metric_named(name).directions["recognition"] != better
    assert np.isfinite(METRICS["ssim"].range).all()

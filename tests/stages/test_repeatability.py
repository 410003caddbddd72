"""The host protects a few faces again: what differs is found, and what is the same is not accused."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import Computed, write_plugin

from bench.analysis.rows import Rows
from bench.analysis.tables import build
from bench.planning.plan import make_plan
from bench.registry.discovery import Registry, discover
from bench.report.export.samples import export_rows
from bench.report.page import provenance, threat_models
from bench.runs import record
from bench.runs.explain import explain, find_cell
from bench.runs.run import outcome
from bench.stages.repeatability import FACES, chosen, what_differs, what_differs_of_attack
from bench.store.artifacts import Cache
from bench.store.reading import RunResults
from bench.store.writing import write_run
from bench.suite.suite import load

N = 40
FACES_OF_ALL = np.arange(N * 3 * 8 * 8, dtype=np.uint8).reshape(N, 3, 8, 8) % 100


def found(process: Callable[[Any], Any], *, whole_set: bool = False, batch: int = 32) -> str | None:
    """Return what the check says about a function from indices of faces to 8-bit images."""
    parts = [np.arange(N)] if whole_set else [np.arange(i, min(i + batch, N)) for i in range(0, N, batch)]
    first = {"images": np.concatenate([process(part) for part in parts])}
    return what_differs(first, lambda rows: {"images": process(rows)}, whole_set=whole_set)


def test_four_faces_from_the_whole_range_are_chosen() -> None:
    assert chosen(N).tolist() == [0, 13, 26, 39]
    assert (len(chosen(2)), len(chosen(1)), FACES) == (2, 1, 4)
    assert chosen(6, whole_set=True).tolist() == [0, 1, 2, 3, 4, 5]


def test_what_depends_on_the_face_alone_is_stable() -> None:
    assert found(lambda rows: FACES_OF_ALL[rows]) is None


def test_a_random_result_is_named() -> None:
    rng = np.random.default_rng(1)
    words = found(lambda rows: rng.integers(0, 256, (len(rows), 3, 8, 8), dtype=np.uint8))
    assert words is not None
    assert words.startswith("a face gives another result each time (9")
    assert words.endswith("% of its values differ)")


def test_a_result_that_depends_on_the_batch_is_named() -> None:
    def with_mean(rows: Any) -> Any:
        return (FACES_OF_ALL[rows] // 2 + FACES_OF_ALL[rows].mean(axis=0) // 2).astype(np.uint8)

    words = found(with_mean)
    assert words is not None
    assert words.startswith("a face gives another result in another batch (")
    assert "% of its values differ)" in words


def test_a_result_that_depends_on_the_number_of_faces_is_named() -> None:
    values = np.arange(N, dtype=np.uint8)[:, None].repeat(12, axis=1)
    assert found(lambda rows: values[rows] + np.uint8(min(len(rows), 30))) == (  # Two faces are 59/39 levels apart.
        "a face gives another result in another batch (17 times as far apart as two faces), "
        "alone (2 times as far apart as two faces)"
    )


def test_a_result_that_depends_on_the_order_is_named() -> None:
    def with_place(rows: Any) -> Any:
        return FACES_OF_ALL[rows] + 5 * (np.arange(len(rows), dtype=np.uint8) % 4)[:, None, None, None]

    assert found(with_place) == "a face gives another result in another order (100 % of its values differ)"


def test_what_batches_of_two_sizes_magnify_is_tolerated() -> None:
    """Some levels, as an optimisation of many steps makes of the last bits, and not half of what two faces differ."""
    assert found(lambda rows: FACES_OF_ALL[rows] + np.uint8(5 * (len(rows) > 4))) is None


def test_a_set_that_stays_whole_is_tried_in_another_order_only() -> None:
    calls: list[int] = []

    def averaged(rows: Any) -> Any:
        calls.append(len(rows))
        return np.broadcast_to(FACES_OF_ALL[rows].mean(axis=0).round().astype(np.uint8), (len(rows), 3, 8, 8))

    assert found(averaged, whole_set=True) is None
    assert set(calls) == {N}
    assert "in another order" in (found(lambda rows: FACES_OF_ALL[rows[::-1]], whole_set=True) or "")


@pytest.mark.parametrize(("changed", "levels", "stable"), [(1, 255, True), (2, 255, False), (1200, 1, True)])
def test_rounding_is_tolerated(changed: int, levels: int, stable: bool) -> None:
    """Of 1,200 values of a face, one may be far off, or all by one level."""
    images = np.zeros((N, 3, 20, 20), np.uint8)
    sizes: list[int] = []

    def process(rows: Any) -> Any:
        made = images[rows].copy()
        if len(sizes) == 3:  # in another order: after both batches of the first pass, and the reference
            made.reshape(len(made), -1)[:, :changed] += levels
        sizes.append(len(rows))
        return made

    assert (found(process) is None) is stable


def test_floats_are_compared_with_their_spread() -> None:
    maps = np.random.default_rng(0).normal(size=(N, 50)).astype(np.float32)
    for by, stable in ((1e-5, True), (1e-2, False)):
        calls: list[int] = []

        def process(rows: Any, by: float = by, calls: list[int] = calls) -> Any:
            calls.append(len(rows))
            return {"features/stem": maps[rows] + np.float32(by * len(calls))}

        assert (what_differs({"features/stem": maps}, process) is None) is stable


def test_a_call_that_fails_is_named() -> None:
    def process(rows: Any) -> Any:
        if len(rows) == 1:
            raise ValueError("expected at least two faces")
        return FACES_OF_ALL[rows]

    words = found(process)
    assert words == "a face gives another result alone (it fails: ValueError: expected at least two faces)"


def test_a_single_face_is_processed_again() -> None:
    rng = np.random.default_rng(1)
    first = {"images": FACES_OF_ALL[:1]}
    assert what_differs(first, lambda rows: {"images": FACES_OF_ALL[rows]}) is None
    words = what_differs(first, lambda rows: {"images": rng.integers(0, 256, (1, 3, 8, 8), dtype=np.uint8)})
    assert (words or "").startswith("a face gives another result each time (")


# ---- in a run --------------------------------------------------------------------------------------------------------

SUITE = """\
[suite]
name = "checked"
seed = 3
HEAD

[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-b"]
defenses = ["identity", "noise", "toy-mean", "toy-step", "urandom", "batch-mean", "by-place"]
pairs = 20
"""
PLUGIN = '''
import os
from dataclasses import dataclass
import torch
from bench import Defense, Protected, hookimpl

@dataclass(frozen=True, kw_only=True)
class Urandom(Defense):
    """Draws from the system."""

    def protect(self, images, ctx):
        noise = torch.frombuffer(bytearray(os.urandom(images.numel())), dtype=torch.uint8).reshape(images.shape)
        return Protected(images=noise.to(images) / 255)

@dataclass(frozen=True, kw_only=True)
class BatchMean(Defense):
    """Mixes a face with the mean of its batch."""

    def protect(self, images, ctx):
        return Protected(images=(images + images.mean(dim=0)) / 2)

@dataclass(frozen=True, kw_only=True)
class ByPlace(Defense):
    """Depends on the place in the batch."""

    def protect(self, images, ctx):
        place = torch.arange(len(images), device=images.device) % 5 / 5
        return Protected(images=(images + place[:, None, None, None]) / 2)

@hookimpl
def bench_defenses():
    return {"urandom": Urandom, "batch-mean": BatchMean, "by-place": ByPlace}
'''


ATTACKS = '''
import os
from dataclasses import dataclass
import torch
from bench import Attack, Reconstructed, hookimpl

@dataclass(frozen=True, kw_only=True)
class Rebuilds(Attack):
    """Adds noise of its own stream, of the system, or the mean of the batch."""

    outputs = "images"
    how: str = "stream"

    def reconstruct(self, received, ctx):
        x = received.images
        if self.how == "system":
            noise = torch.frombuffer(bytearray(os.urandom(x.numel())), dtype=torch.uint8).reshape(x.shape) / 255
        else:
            noise = ctx.rand(x) if self.how == "stream" else x.mean(dim=0, keepdim=True)
        return Reconstructed(images=(x + noise.to(x)) / 2)

@dataclass(frozen=True, kw_only=True)
class Embeds(Attack):
    """Embeds the coarse colours of a picture, or what they are in the batch."""

    outputs = "recognition"
    batch: bool = False

    def embed(self, received, ctx):
        found = torch.nn.functional.adaptive_avg_pool2d(received.images, 4).flatten(1)
        return found - found.mean(dim=0) if self.batch and len(found) > 1 else found

    def enrol(self, images, ctx):
        return torch.nn.functional.adaptive_avg_pool2d(images, 4).flatten(1)

@dataclass(frozen=True, kw_only=True)
class Estimates(Attack):
    """Estimates by the place in the batch, or the same for everybody."""

    outputs = "attributes"
    place: bool = False

    def estimate(self, images, ctx):
        at = torch.arange(len(images), device=images.device)
        return {"place": at.float() if self.place else torch.full((len(images),), 0.1)}

@dataclass(frozen=True, kw_only=True)
class Links(Attack):
    """Scores pairs by the system's random numbers, or by their colours."""

    outputs = "links"
    system: bool = False

    def link(self, first, second, ctx):
        if self.system:
            return torch.tensor([os.urandom(1)[0] for _ in range(len(first.images))]).float()
        return -(first.images - second.images).abs().mean(dim=(1, 2, 3))

@hookimpl
def bench_attacks():
    return {"rebuilds": Rebuilds, "embeds": Embeds, "estimates": Estimates, "links": Links}
'''
ATTACKED = """
attacks = [
    { plugin = "rebuilds", label = "stream" },
    { plugin = "rebuilds", label = "system", how = "system" },
    { plugin = "rebuilds", label = "mean", how = "mean" },
    { plugin = "embeds", label = "colours" },
    { plugin = "embeds", label = "colours in the batch", batch = true },
    { plugin = "estimates", label = "constant" },
    { plugin = "estimates", label = "place", place = true },
    { plugin = "links", label = "alike" },
    { plugin = "links", label = "drawn", system = true },
]
"""


@pytest.fixture
def checked(tmp_path: Path, registry: Registry, sites_of_their_own: Callable[[Path], Registry], toy_site: Path) -> Any:
    """Return a function that computes the suite in this process, with three defenses that cannot be repeated."""
    sites_of_their_own(toy_site)
    write_plugin(tmp_path / "site", "plugin_unstable_attacks", ATTACKS)
    found = sites_of_their_own(write_plugin(tmp_path / "site", "plugin_unstable", PLUGIN))

    def make(head: str = "", suite: str = SUITE) -> Computed:
        path = tmp_path / "suite.toml"
        path.write_text(suite.replace("HEAD", head), encoding="utf-8")
        plan = make_plan(load(path, found), found, "cpu")
        done = Computed(plan, Cache(tmp_path / "cache"))
        assert not done.failures(), done.failures()
        return done

    return make


def test_the_check_of_a_run_names_what_differs(checked: Callable[..., Computed]) -> None:
    done = checked()
    results = {s.name: done.results[key] for key, s in done.plan.stages.items() if s.kind == "protect"}
    words = {name.partition(" protected by ")[2].partition(" for ")[0]: r.unstable for name, r in results.items()}
    assert {r.checked for r in results.values()} == {4}
    assert {name for name, text in words.items() if text is None} == {"identity", "noise", "toy-mean", "toy-step"}
    assert words["urandom"].startswith("a face gives another result each time (")
    assert words["batch-mean"].startswith("a face gives another result in another batch (")
    assert "in another order" in words["by-place"]


def test_the_check_can_be_turned_off(checked: Callable[..., Computed]) -> None:
    done = checked("check_defenses = false")
    results = [done.results[key] for key, s in done.plan.stages.items() if s.kind == "protect"]
    assert {(r.checked, r.unstable) for r in results} == {(None, None)}


def test_what_differs_is_shown_everywhere(checked: Callable[..., Computed], tmp_path: Path) -> None:
    done = checked()
    plan = done.plan
    registry = discover()
    about = record.of_plan(plan, registry, "local", datetime.now(UTC))
    outcomes = [outcome(cell, plan, done.results) for cell in plan.cells]
    write_run(tmp_path / "run", outcomes, done.cache, registry, about, record.of_stages(plan, done.results, done.cache))
    results = RunResults(tmp_path / "run")
    words = dict(zip(results.cells["defense"], results.cells["unstable"], strict=True))
    assert words["urandom"].startswith("a face gives another result each time (")
    assert pd.isna(words["toy-step"])
    rows = Rows(results)
    promises = {entry.name: entry for entry in threat_models.promises(rows)}
    assert promises["toy-step"].facts["same face again"] == (
        "the same upload: 4 faces in another order, in another batch and alone"
    )
    assert promises["urandom"].mark == "unstable: its figures cannot be reproduced"
    assert promises["urandom"].facts["same face again"] == f"urandom: {words['urandom']}"
    (identity,) = [text for name, text in provenance.identity(results) if name == "Defenses protect again"]
    assert identity.startswith("7 stages checked; not the same: toy-faces protected by urandom, toy-faces protected by")
    for name in ("summary", "images"):
        (table,) = build(rows, name)
        flags = {row.label: tuple(row.flags) for group in table.groups for row in group.rows}
        assert ("unstable" in flags["urandom"], "unstable" in flags["noise"]) == (True, False)
    export_rows(results, "verification", "csv", tmp_path / "rows.csv")
    exported = pd.read_csv(tmp_path / "rows.csv")
    assert set(exported.loc[exported["defense"] == "urandom", "unstable"]) == {words["urandom"]}
    cell = find_cell(results, ["defense=urandom"])
    assert explain(results, cell, tmp_path / "run", done.cache).words["not reproducible"] == (
        f"urandom: {words['urandom']}"
    )


def test_a_check_that_was_turned_off_is_shown(checked: Callable[..., Computed], tmp_path: Path) -> None:
    done = checked("check_defenses = false")
    registry = discover()
    about = record.of_plan(done.plan, registry, "local", datetime.now(UTC))
    outcomes = [outcome(cell, done.plan, done.results) for cell in done.plan.cells]
    stages = record.of_stages(done.plan, done.results, done.cache)
    write_run(tmp_path / "run", outcomes, done.cache, registry, about, stages)
    rows = Rows(RunResults(tmp_path / "run"))
    found = {entry.facts["same face again"] for entry in threat_models.promises(rows)}
    assert found == {"not checked: the suite turns it off"}
    assert ("Defenses protect again", "not checked: the suite says check_defenses = false") in provenance.identity(
        rows.results.runs[0]
    )


# ---- attacks ---------------------------------------------------------------------------------------------------------

OF_ATTACKS = re.sub(r"defenses = .*", 'defenses = ["identity"]', SUITE) + ATTACKED


def of_attacks(done: Computed) -> dict[str, tuple[int | None, str | None]]:
    """Return how many faces were attacked again, and what differed, by the attack of each cell."""
    found = {}
    for cell in done.plan.cells:
        results = [done.results[key] for key in done.plan.path_of(cell) if done.plan.stages[key].attacks]
        (one,) = {(r.checked, r.unstable) for r in results if r.checked} or {(None, None)}
        found[cell.attack.label] = one
    return found


def test_a_few_faces_are_attacked_again(checked: Callable[..., Computed], recwarn: pytest.WarningsRecorder) -> None:
    found = of_attacks(checked(suite=OF_ATTACKS))
    assert not [w for w in recwarn if str(w.message).startswith("reads ")], "what the host reads is not the attack's"
    assert {checked for checked, _ in found.values()} == {1}
    words = {attack: text for attack, (_, text) in found.items() if text}
    assert set(words) == {"system", "mean", "colours in the batch", "place", "drawn"}
    assert words["system"].startswith("a face gives another result each time (")
    assert words["mean"].startswith("a face gives another result in another batch (")
    assert "in another batch" in words["colours in the batch"]
    assert "in another order" in words["place"]
    assert words["drawn"].startswith("a face gives another result each time (")


def test_the_check_of_attacks_can_be_turned_off(checked: Callable[..., Computed]) -> None:
    done = checked("check_attacks = false", OF_ATTACKS)
    assert set(of_attacks(done).values()) == {(None, None)}
    assert {r.checked for key, r in done.results.items() if done.plan.stages[key].kind == "protect"} == {4}


def test_attacks_that_differ_are_shown_everywhere(checked: Callable[..., Computed], tmp_path: Path) -> None:
    done = checked(suite=OF_ATTACKS)
    registry = discover()
    about = record.of_plan(done.plan, registry, "local", datetime.now(UTC))
    outcomes = [outcome(cell, done.plan, done.results) for cell in done.plan.cells]
    stages = record.of_stages(done.plan, done.results, done.cache)
    write_run(tmp_path / "run", outcomes, done.cache, registry, about, stages)
    results = RunResults(tmp_path / "run")
    words = dict(zip(results.cells["attack"], results.cells["attack_unstable"], strict=True))
    assert words["system"].startswith("a face gives another result each time (")
    assert pd.isna(words["stream"])
    assert results.cells["unstable"].isna().all()
    rows = Rows(results)
    threats = {entry.name: entry for entry in threat_models.adversaries(rows)}
    assert threats["system"].mark == "unstable: its figures cannot be reproduced"
    assert threats["system"].facts["same face again"] == f"against identity: {words['system']}"
    assert "same face again" not in threats["stream"].facts
    (table,) = build(rows, "linkage")
    flags = {row.label.split(", ")[1]: tuple(row.flags) for group in table.groups for row in group.rows}
    assert flags == {"alike with toy-b": (), "drawn with toy-b": ("attack unstable",)}
    identity = dict(provenance.identity(results))
    assert identity["Attacks work again"].startswith("9 stages checked; not the same: ")
    assert identity["Defenses protect again"] == "2 stages checked; not the same: none"
    export_rows(results, "links", "csv", tmp_path / "rows.csv")
    exported = pd.read_csv(tmp_path / "rows.csv")
    assert set(exported.loc[exported["attack"] == "drawn", "attack_unstable"]) == {words["drawn"]}
    cell = find_cell(results, ["attack=drawn"])
    assert explain(results, cell, tmp_path / "run", done.cache).words["attack not reproducible"] == (
        f"drawn: {words['drawn']}"
    )


def test_an_attack_is_called_for_one_face_if_nothing_differs() -> None:
    """All results are nearly alike, and differ by rounding with the size of the batch."""
    calls: list[int] = []

    def again(rows: Any) -> dict[str, Any]:
        calls.append(len(rows))
        return {"plain": np.full((len(rows), 8), 0.3) + 1e-9 * len(rows)}

    assert what_differs_of_attack({"plain": np.full((20, 8), 0.3)}, again) is None
    assert what_differs_of_attack({"plain": np.full((1, 8), 0.3)}, again) is None
    assert calls == [1, 1]


def test_a_slow_attack_may_differ_in_last_bits_that_it_magnifies() -> None:
    calls: list[int] = []

    def again(rows: Any) -> dict[str, Any]:
        calls.append(len(rows))
        return {"images": np.eye(20)[rows] + 0.05 * len(rows)}

    first = {"images": np.eye(20) + 0.05 * 20 * 0.1}
    assert what_differs_of_attack(first, again, slow=True) is None
    assert calls == [1, 1]


def test_what_an_attack_makes_alone_is_compared() -> None:
    def again(rows: Any) -> dict[str, Any]:
        return {"plain": np.eye(20)[rows] * (1 if len(rows) > 1 else -1)}

    words = what_differs_of_attack({"plain": np.eye(20)}, again)
    assert words == "a face gives another result alone (1.4 times as far apart as two faces)"

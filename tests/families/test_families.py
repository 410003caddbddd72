"""One defense of each family, run once by the command; every figure is computed again without the code of the host.

Only `read` and `Cache` of the host are used to open files. Networks are called directly on the stored pictures.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from bench_families import PcaLaplace
from bench_families.keyed_template import rotation
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn
from sharing import shared_folder
from skimage.metrics import structural_similarity
from support import TESTS, Command, Done, install

from bench import Capabilities, Context, instantiate, registered
from bench.analysis.rows import Rows
from bench.analysis.tables.assessed_defense import AssessedDefense
from bench.analysis.tables.leakage_ladder import ladder
from bench.analysis.tables.recommendation import Recommendation, recommendations
from bench.analysis.tables.summary import Summary, overall
from bench.report.page import render
from bench.store.artifacts import Artifact, Cache
from bench.store.reading import RunResults

pytestmark = pytest.mark.slow
PAIRS = 10
CLOAKS = ("Cloak", "Mask per person", "Towards another person", "Cloaked gallery")
TEMPLATES = ("Block frequencies", "Two tensors", "Keyed template")
ANONYMOUS = ("Average of 4", "Laplace on eigenfaces", "Program")
RADIUS = 8
# Two defenses on both sides of pairs, which the suite has on one side. They have other parameters there, because a
# plugin with equal parameters is one defense in all experiments.
BOTH = """
[[experiment]]
name = "both-sides"
datasets = ["synth-lfw"]
authorised = ["zoo-mobileface"]
surrogates = ["zoo-resnet"]
evaluated = ["zoo-mobileface"]
defenses = [
    { plugin = "family-mask", label = "Both masked", steps = 10 },
    { plugin = "family-k-same", label = "Both averaged", k = 5 },
]
protects = "both"
pairs = 10
"""


@dataclass(frozen=True)
class Ran:
    """The finished run."""

    done: Done
    results: RunResults
    cache: Cache

    @functools.cached_property
    def rows(self) -> Rows:
        return Rows(self.results)

    def pairs(self, defense: str, evaluated: str | None = None) -> pd.DataFrame:
        """The stored rows of verification of a defense, by one recogniser or by all."""
        rows = self.results.samples("verification")
        rows = rows[(rows["defense"] == defense) & (rows["attack"] == "abuse")]
        return rows if evaluated is None else rows[rows["evaluated"] == evaluated]

    def stage(self, name: str) -> Mapping[str, Any]:
        return next(stage for stage in self.results.stages if stage["name"] == name)

    def input(self, name: str, role: str) -> Artifact:
        return self.cache.read(json.loads(self.stage(name)["inputs"])[role])

    def sent(self, defense: str) -> Artifact:
        """What a defense sent of the scored faces."""
        models = " for zoo-mobileface" if defense == "PMT" else ""
        return self.cache.read(self.stage(f"synth-lfw protected by {defense}{models}")["key"])

    def originals(self, defense: str) -> NDArray[np.uint8]:
        """The pictures that a defense protected, in the order of what it sent."""
        return self.faces.tensors["images"][self.sent(defense).tables["samples"]["face"].to_numpy()]

    @functools.cached_property
    def faces(self) -> Artifact:
        return self.input("synth-lfw protected by identity", "faces")

    def people(self, defense: str) -> NDArray[np.int64]:
        faces = self.sent(defense).tables["samples"]["face"].to_numpy()
        return self.faces.tables["faces"]["subject"].to_numpy()[faces]


@pytest.fixture(scope="module")
def ran(bench: Command, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    def run(home: Path) -> None:
        install(TESTS / "families", home / "site")
        suite = (TESTS.parent / "suites" / "families-check.toml").read_text(encoding="utf-8")
        (home / "suite.toml").write_text(suite + BOTH, encoding="utf-8")
        options = ("--pairs", PAIRS, "--device", "cpu", "--workers", 1, "--no-report", "--out", home / "out")
        done = bench("run", home / "suite.toml", *options, cwd=home, sites=[home / "site"])
        assert done.code == 0, done.err
        done.save(home / "done.json")

    home = shared_folder(tmp_path_factory, "families", run)
    (folder,) = (home / "out" / "results" / "families-check").iterdir()
    cache = Cache(home / "out" / "results" / ".cache", only_read=True)
    return Ran(Done.load(home / "done.json"), RunResults(folder), cache)


@functools.cache
def network(label: str) -> Any:
    return instantiate(registered("model")[label], {}, label).load().eval()


def embedded(label: str, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Unit embeddings of pictures, by the network itself."""
    with torch.inference_mode():
        found = network(label)(torch.from_numpy(np.array(images)).float() / 255).double()
    return (found / found.norm(dim=1, keepdim=True)).numpy()


def places(ran: Ran, ids: pd.Series) -> NDArray[np.int64]:
    """The indices of scored faces by their names."""
    known = {name: row for row, name in enumerate(ran.faces.tables["faces"]["sample_id"].to_pylist())}
    return np.array([known[name] for name in ids])


def decided(rows: pd.DataFrame) -> pd.Series:
    """Equation 10, pair by pair, at the calibrated threshold."""
    kappa = rows["kappa_calibrated"]
    return (rows["cos_self"] > kappa) & ((rows["cos_cross"] > kappa) == rows["same"])


def summary(ran: Ran, defense: str) -> Summary:
    found = [s for matrix in ran.rows.matrices for s in overall(ran.rows, matrix) if s.defense == defense]
    return found[0]


def test_every_cell_has_figures_but_attacks_that_cannot_read_representations(ran: Ran) -> None:
    cells = ran.results.cells
    assert set(cells["status"]) == {"ok", "skipped"}
    skipped = cells[cells["status"] == "skipped"]
    assert list(skipped["defense"]) == list(TEMPLATES)
    assert skipped["reason"].str.contains("sends a representation and no image").all()


def test_cells_record_goal_side_surrogates_and_bound(ran: Ran) -> None:
    cells = ran.results.cells.drop_duplicates("defense").set_index("defense")
    assert dict(cells["goal"]) == {
        "identity": "recognition",
        "PMT": "recognition",
        "PMT, attacked": "recognition",
        **dict.fromkeys(CLOAKS, "appearance"),
        **dict.fromkeys(ANONYMOUS, "anonymity"),
        **dict.fromkeys(TEMPLATES, "template"),
        "Both masked": "appearance",
        "Both averaged": "anonymity",
    }
    both = {*TEMPLATES, "Both masked", "Both averaged"}
    sides = {name: "both" if name in both else "probe" for name in cells.index} | {"Cloaked gallery": "gallery"}
    assert dict(cells["protects"]) == sides
    with_surrogates = {name for name, labels in cells["surrogates"].items() if labels}
    assert with_surrogates == {*CLOAKS, "Both masked"}
    assert dict(cells["control"].dropna()) == {"identity": "leaks"}
    recorded = {c.label: c.defense.control for c in ran.results.run.components if c.defense}
    assert recorded.keys() >= set(cells.index)
    assert recorded == {name: "leaks" if name == "identity" else None for name in recorded}
    bounds = {name: json.loads(text) for name, text in cells["bound"].dropna().items()}
    assert {name: (b["epsilon"], b["k"]) for name, b in bounds.items()} == {
        "Laplace on eigenfaces": (200.0, None),
        "Average of 4": (None, 4),
        "Both averaged": (None, 5),
    }


# ---- figures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("defense", ["PMT", *TEMPLATES])
def test_the_accuracy_of_those_who_are_meant_to_recognise(ran: Ran, defense: str) -> None:
    own = "zoo-mobileface" if defense == "PMT" else f"{defense}'s recogniser"
    expected = decided(ran.pairs(defense, own)).mean()
    assert summary(ran, defense).kept.value == pytest.approx(expected)
    assert expected > 0.5


@pytest.mark.parametrize("defense", [*CLOAKS, *ANONYMOUS, "PMT", "identity"])
def test_the_accuracy_of_everybody_else(ran: Ran, defense: str) -> None:
    rows = ran.pairs(defense)
    known = {"zoo-resnet"} if defense in CLOAKS else {"zoo-mobileface"} if defense == "PMT" else set()
    others = rows[~rows["evaluated"].isin(known)]
    assert summary(ran, defense).leaked.value == pytest.approx(decided(others).mean())


@pytest.mark.parametrize("defense", [*CLOAKS, *ANONYMOUS, "PMT"])
def test_ssim_is_that_of_scikit_image(ran: Ran, defense: str) -> None:
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    sent = ran.sent(defense).tensors["images"]
    expected = [
        structural_similarity(a, b, channel_axis=0, **options)
        for a, b in zip(ran.originals(defense), sent, strict=True)
    ]
    images = ran.results.samples("images")
    stored = images[(images["defense"] == defense) & images["attack"].isin(["", "abuse"])]["ssim"]
    np.testing.assert_allclose(stored, expected, atol=1e-4)
    assert summary(ran, defense).ssim.value == pytest.approx(np.mean(expected), abs=1e-4)


@pytest.mark.parametrize("defense", ["PMT", *CLOAKS, *ANONYMOUS, "Both masked"])
@pytest.mark.parametrize("label", ["zoo-mobileface", "zoo-judge-vgg"])
def test_cosines_are_those_of_the_networks(ran: Ran, defense: str, label: str) -> None:
    rows = ran.pairs(defense, label)
    if defense == "Both masked" and rows.empty:
        pytest.skip("this experiment has one recogniser")
    left, right = places(ran, rows["left_id"]), places(ran, rows["right_id"])
    clean = embedded(label, ran.faces.tensors["images"])
    sent = np.full_like(clean, np.nan)
    sent[ran.sent(defense).tables["samples"]["face"].to_numpy()] = embedded(label, ran.sent(defense).tensors["images"])

    def cosines(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        return np.asarray((a * b).sum(axis=1))

    side = ran.results.cells.set_index("defense")["protects"].to_dict()[defense]
    own = right if side == "gallery" else left
    expected = {
        "cos_clean": cosines(clean[left], clean[right]),
        "cos_self": cosines(sent[own], clean[own]),
        "cos_probe": cosines(sent[left], clean[right]),
        "cos_gallery": cosines(clean[left], sent[right]),
        "cos_protected": cosines(sent[left], sent[right]),
    }
    expected["cos_cross"] = expected[{"probe": "cos_probe", "gallery": "cos_gallery", "both": "cos_protected"}[side]]
    for name, values in expected.items():
        np.testing.assert_allclose(rows[name].astype(float), values, atol=2e-5, err_msg=name)


def test_the_threshold_admits_one_stranger_in_a_hundred(ran: Ran) -> None:
    for defense in TEMPLATES:
        score = ran.stage(f"verification of {defense} by {defense}'s recogniser on synth-lfw")
        inputs = json.loads(score["inputs"])
        made = ran.cache.read(inputs["calibration"]).tensors["plain"].astype(float)
        people = ran.cache.read(inputs["calibration_faces"]).tables["faces"]["subject"].to_numpy()
        a, b = np.triu_indices(len(people), 1)
        strangers = (made @ made.T)[a, b][people[a] != people[b]]
        kappa = ran.pairs(defense)["kappa_calibrated"].unique()
        assert len(kappa) == 1
        assert np.mean(strangers > kappa[0]) == pytest.approx(0.01, abs=1e-4)


# ---- what each defense did -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("defense", CLOAKS)
def test_cloaks_stay_within_their_radius(ran: Ran, defense: str) -> None:
    moved = ran.sent(defense).tensors["images"].astype(int) - ran.originals(defense)
    assert 0 < np.abs(moved).max() <= RADIUS
    surrogate, clean = ran.pairs(defense, "zoo-resnet"), ran.pairs("identity", "zoo-resnet")
    assert surrogate["cos_self"].mean() < 0.3 < clean["cos_self"].mean()


def test_a_cloaked_gallery_protects_enrolled_pictures_only(ran: Ran) -> None:
    rows = ran.pairs("Cloaked gallery", "zoo-resnet")
    protected = ran.sent("Cloaked gallery").tables["samples"]["face"].to_numpy()
    assert set(protected) == set(places(ran, rows["right_id"]))
    assert rows["cos_probe"].isna().all()
    assert rows["cos_protected"].isna().all()
    assert (rows["cos_cross"] == rows["cos_gallery"]).all()


def test_targets_and_further_pictures_are_nobody_and_nothing_that_is_scored(ran: Ran) -> None:
    scored = ran.faces.tables["faces"]
    targets = ran.input("synth-lfw protected by Towards another person", "targets").tables["faces"]
    assert not set(targets["subject"].to_pylist()) & set(scored["subject"].to_pylist())
    further = ran.input("synth-lfw protected by Mask per person", "enrolment").tables["faces"]
    assert not set(further["sample_id"].to_pylist()) & set(scored["sample_id"].to_pylist())
    assert set(further["subject"].to_pylist()) == set(scored["subject"].to_pylist())


def test_the_mask_of_a_person_is_the_same_on_all_pictures(ran: Ran) -> None:
    sent, originals = ran.sent("Both masked").tensors["images"].astype(int), ran.originals("Both masked").astype(int)
    people, compared = ran.people("Both masked"), 0
    free = (originals >= RADIUS) & (originals <= 255 - RADIUS)  # where nothing is clipped to the range of pixels
    masks = sent - originals
    for i in range(len(people)):
        for j in range(i):
            where = free[i] & free[j]
            equal = (masks[i] == masks[j])[where].mean()
            assert (equal == 1) == (people[i] == people[j])
            compared += int(people[i] == people[j])
    assert compared >= PAIRS // 2


@pytest.mark.parametrize(("defense", "k"), [("Average of 4", 4), ("Both averaged", 5)])
def test_averages_are_of_at_least_k_faces_of_the_whole_set(ran: Ran, defense: str, k: int) -> None:
    sent, originals = ran.sent(defense).tensors["images"], ran.originals(defense).astype(float)
    groups: dict[bytes, list[int]] = {}
    for row, picture in enumerate(sent):
        groups.setdefault(picture.tobytes(), []).append(row)
    assert sum(map(len, groups.values())) == (2 * PAIRS if defense == "Both averaged" else PAIRS)
    for rows in groups.values():
        assert len(rows) >= k
        assert np.abs(originals[rows].mean(axis=0) - sent[rows[0]]).max() <= 0.51


def test_the_program_pixelated_every_picture(ran: Ran) -> None:
    for before, after in zip(ran.originals("Program"), ran.sent("Program").tensors["images"], strict=True):
        picture = Image.fromarray(before.transpose(1, 2, 0))
        small = picture.resize((14, 14), Image.Resampling.BOX)
        expected = np.array(small.resize(picture.size, Image.Resampling.NEAREST)).transpose(2, 0, 1)
        np.testing.assert_array_equal(after, expected)


def test_laplace_noise_has_the_scale_of_its_epsilon() -> None:
    n, d = 4000, 12
    width = torch.linspace(0.001, 0.002, d)
    state = {"mean": torch.full((d,), 0.5), "basis": torch.eye(d), "low": -width / 2, "high": width / 2}
    ids = [f"face {i}" for i in range(n)]
    ctx = Context(torch.device("cpu"), 0, Capabilities(), state, ids, "defense Laplace")
    sent = PcaLaplace(epsilon=100.0, components=d).protect(torch.full((n, 3, 2, 2), 0.5), ctx).images
    assert sent is not None
    relative = (sent.flatten(1) - 0.5).abs() / (d * width / 100.0)  # The mean of |noise| is the scale of Laplace noise.
    np.testing.assert_allclose(relative.mean(dim=0), 1, atol=0.08)
    assert float((relative > 1).double().mean()) == pytest.approx(np.exp(-1), abs=0.01)


def test_block_frequencies_are_those_of_scipy_with_the_declared_noise(ran: Ran) -> None:
    sent = ran.sent("Block frequencies").tensors["representation/coefficients"]
    grey = np.tensordot(ran.originals("Block frequencies") / 255, [0.299, 0.587, 0.114], axes=(1, 0))
    blocks = grey.reshape(len(grey), 14, 8, 14, 8).transpose(0, 1, 3, 2, 4)
    found = dctn(blocks, axes=(3, 4), norm="ortho")
    order = sorted(((i, j) for i in range(8) for j in range(8)), key=lambda at: (sum(at), at))[1:16]
    expected = np.stack([found[..., i, j] for i, j in order], axis=1)
    assert "images" not in ran.sent("Block frequencies").tensors
    assert (sent - expected).std() == pytest.approx(0.05, abs=0.001)
    assert (sent - expected).mean() == pytest.approx(0, abs=0.001)


def test_two_tensors_are_compared_by_what_was_learnt(ran: Ran) -> None:
    sent, state = ran.sent("Two tensors"), ran.input("synth-lfw protected by Two tensors", "state").tensors
    colours, edges = sent.tensors["representation/colours"], sent.tensors["representation/edges"]
    n = 2 * PAIRS
    assert (colours.shape, edges.shape) == ((n, 3, 8, 8), (n, 2, 16, 16))
    vectors = np.concatenate([colours.reshape(n, -1), 4 * edges.reshape(n, -1)], axis=1) - state["mean"]
    made = vectors.astype(float) @ state["projection"].astype(float)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    rows = ran.pairs("Two tensors")
    row_of = {face: row for row, face in enumerate(sent.tables["samples"]["face"].to_pylist())}
    left, right = ([row_of[face] for face in places(ran, rows[name])] for name in ("left_id", "right_id"))
    np.testing.assert_allclose(rows["cos_protected"].astype(float), (made[left] * made[right]).sum(axis=1), atol=1e-4)
    assert rows["cos_clean"].isna().all()
    assert set(rows["compared_with"]) == {"protected"}


def test_templates_match_under_one_key_and_not_under_another(ran: Ran) -> None:
    sent, state = ran.sent("Keyed template"), ran.input("synth-lfw protected by Keyed template", "state").tensors
    templates = sent.tensors["representation/template"].astype(float)
    small = ran.originals("Keyed template").reshape(-1, 3, 28, 4, 28, 4).mean(axis=(3, 5)) / 255
    plain = (small.reshape(len(small), -1) - state["mean"]) @ state["projection"].astype(float)
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    people = ran.people("Keyed template")
    a, b = np.triu_indices(len(people), 1)
    same = people[a] == people[b]
    turned, straight = (templates @ templates.T)[a, b], (plain @ plain.T)[a, b]
    np.testing.assert_allclose(turned[same], straight[same], atol=1e-4)  # One key turns all pictures of a person alike.
    assert np.abs(turned[~same] - straight[~same]).max() > 0.1
    assert turned[same].min() > np.abs(turned[~same]).mean()
    other = templates @ rotation(7).double().numpy().T  # The same pictures under another key.
    unlinked = np.abs((templates * other).sum(axis=1)).mean()
    assert unlinked < 0.3 < turned[same].mean()


# ---- the verdict -----------------------------------------------------------------------------------------------------


def verdict(ran: Ran, defense: str) -> tuple[Recommendation, AssessedDefense]:
    return next((r, e) for r in recommendations(ran.rows) for e in r.entries if e.name.split(" for ")[0] == defense)


@pytest.mark.parametrize(
    ("defense", "goal"),
    [
        *((name, "appearance") for name in CLOAKS),
        *((name, "anonymity") for name in ANONYMOUS),
        *((name, "template") for name in TEMPLATES),
        ("PMT", "recognition"),
    ],
)
def test_each_defense_is_judged_by_its_own_goal(ran: Ran, defense: str, goal: str) -> None:
    found, entry = verdict(ran, defense)
    assert (found.goal, entry.goal) == (goal, goal)
    assert {bar.of for bar in found.purpose.bars} == {
        "recognition": {"kept", "drop", "leaked", "ssim"},
        "appearance": {"ssim", "leaked"},
        "anonymity": {"leaked"},
        "template": {"kept"},
    }[goal]
    if goal == "appearance":
        assert entry.utility.value == pytest.approx(summary(ran, defense).ssim.value)
    if goal == "template":
        assert entry.utility.value == pytest.approx(summary(ran, defense).kept.value)


def test_no_cloak_is_told_that_it_misses_the_bar_of_accuracy(ran: Ran) -> None:
    page = render(ran.results)
    section = page[page.index('<section id="verdict"') :]
    section = section[: section.index("</section>")]
    parts = section.split("<h3>Goal ")
    assert [part.split(":")[0] for part in parts[1:]] == ["recognition", "appearance", "anonymity", "template"]
    for goal in (parts[2], parts[3]):
        words = goal.split("<h4")[0].split("<details")[0]
        assert "authorised accuracy" not in words
        assert "drop from clean" not in words


def test_pixels_that_are_meant_to_stay_are_never_flagged(ran: Ran) -> None:
    found = {entry.defense: entry for entry in ladder(ran.rows)}
    for name in (*CLOAKS, *ANONYMOUS):
        assert not any("pixels" in flag or "pixel-safe" in flag or "attribute" in flag for flag in found[name].flags)
    assert min(found[name].ssim.measurement.value or 0 for name in CLOAKS) > 0.8
    assert any("pixel" in flag for flag in found["PMT"].flags)  # It hides the picture, which is flagged.

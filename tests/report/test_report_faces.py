"""The face wall: which faces are chosen, their captions, and that pictures are few, small, and never real by
default."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_run import ABUSE, ESTIMATE, HOSTILE, LEAKY, MODELS, RECFACE, Cell, FakeRun, png, rewritten, write_fake_run
from numpy.typing import NDArray
from PIL import Image
from support import TESTS

from bench.analysis.rows import Rows
from bench.core.errors import StorageError
from bench.report.page import render
from bench.report.page.face_choice import Judges, Likeness, choose
from bench.report.page.face_wall import COLUMNS, Wall, walls
from bench.report.page.image_budget import Album, encoded
from bench.store.reading import RunResults
from bench.store.schema import STAGES

STORED = ["a", "b", "c", "d", "e"]


def known(**values: float | None) -> dict[str, Likeness]:
    return {name: Likeness(other=value, by="net") for name, value in values.items()}


def kinds(stored: Sequence[str], similar: dict[str, Likeness]) -> list[tuple[str, str]]:
    return [(pick.kind, pick.sample) for pick in choose(stored, similar)]


def wall(
    results: RunResults | Rows, experiment: str = "data-abuse", *, real: bool = False, budget: int = 10**7
) -> Wall:
    rows = results if isinstance(results, Rows) else Rows(results)
    return walls(rows, [[experiment]], real, Album(budget))[experiment]


def photo(size: int = 100) -> bytes:
    """Return a smooth picture as a PNG; faces are smooth, too."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 6), np.uint8)
    return saved(np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC).convert("RGB")))


def saved(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def shown(found: Wall) -> list[str]:
    """Return the CSS classes of all pictures of a wall."""
    faces = [f for s in found.shelves for r in s.rows for f in (r.original, *r.faces)]
    return [f.picture for f in faces if f.picture]


# ---- the choice ------------------------------------------------------------------------------------------------------


def test_the_worst_is_most_alike_and_the_best_least() -> None:
    similar = known(a=0.2, b=0.9, c=-0.4, d=0.5, e=0.3)
    assert kinds(STORED, similar) == [("worst", "b"), ("median", "e"), ("best", "c")]
    assert choose(STORED, similar)[0].likeness == Likeness(other=0.9, by="net")


def test_of_two_in_the_middle_the_worse_is_the_median() -> None:
    assert kinds(STORED[:4], known(a=0.4, b=0.1, c=0.3, d=0.2))[1] == ("median", "c")


def test_equals_stay_in_the_order_of_the_data_set() -> None:
    assert kinds(STORED, known(e=0.5, d=0.5, c=0.5, b=0.5, a=0.5)) == [("worst", "a"), ("median", "c"), ("best", "e")]


def test_few_faces_are_named_by_the_ends() -> None:
    assert kinds([], {}) == []
    assert kinds(["a"], known(a=0.1)) == [("worst", "a")]
    assert kinds(["a", "b"], known(a=0.1, b=0.2)) == [("worst", "b"), ("best", "a")]


def test_faces_without_a_similarity_are_not_ranked() -> None:
    assert kinds(STORED, known(a=None, b=0.3, c=0.1)) == [("worst", "b"), ("best", "c")]
    assert kinds(STORED, known(a=None)) == [("first", "a"), ("middle", "c"), ("last", "e")]
    assert kinds(["a", "b"], {}) == [("first", "a"), ("last", "b")]


def test_faces_that_are_not_stored_are_not_chosen() -> None:
    assert kinds(["b", "c"], known(a=0.9, b=0.3, c=0.1, d=0.0)) == [("worst", "b"), ("best", "c")]


# ---- similarities ----------------------------------------------------------------------------------------------------


def scored(tmp_path: Path, values: Callable[[pd.Series], float], **changes: object) -> RunResults:
    """Write a run whose cosines are computed by ``values`` from each row of verification scores."""
    spec = FakeRun(**{"authorised": (("net-a",),), "datasets": {"synth-lfw": "LFW"}, **changes})  # type: ignore[arg-type]

    def change(table: pd.DataFrame) -> None:
        table["cos_self"] = table.apply(values, axis=1)

    return rewritten(write_fake_run(tmp_path / "run", spec), verification=change)


def by_face(row: pd.Series) -> float:
    """Return a cosine that rises from face to face and model to model under PMT; the authorised model finds 0.8."""
    if row["defense"] != "PMT":
        return 0.9
    place = list(MODELS).index(row["evaluated"])
    return 0.8 if place == 0 else float(row["pair"]) / 50 + 0.1 * place


def test_the_highest_similarity_of_held_out_recognisers_decides(tmp_path: Path) -> None:
    rows = Rows(scored(tmp_path, by_face))
    cells = [c for c in rows.cells if c.defense == "PMT"]
    faces, lent = Judges(rows).of(cells)
    assert not lent
    assert faces["synth-lfw-004-l"] == Likeness(own=0.8, other=pytest.approx(4 / 50 + 0.2), by=list(MODELS)[2])
    found = wall(rows)
    (shelf,) = found.shelves
    assert [(r.kind, r.sample) for r in shelf.rows] == [
        ("worst", "synth-lfw-005-l"),
        ("median", "synth-lfw-003-l"),
        ("best", "synth-lfw-000-l"),
    ]
    assert [r.title for r in shelf.rows] == ["Worst of 6", "Median of 6", "Best of 6"]
    assert shelf.rows[0].reason == f"cosine 0.30, {list(MODELS)[2]}"


def test_what_is_shown_stands_beside_what_all_faces_give(tmp_path: Path) -> None:
    (shelf,) = wall(scored(tmp_path, by_face)).shelves
    assert shelf.about == (
        "Pictures are kept of 6 of 20 faces, at fixed positions. Over all 20 the cosine is 0.58 at worst, 0.39 in the "
        "median, 0.20 at best."
    )
    (shelf,) = wall(scored(tmp_path / "few", by_face, pairs=5)).shelves
    assert "Pictures are kept of all 5 faces." in shelf.about


def test_scores_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    def gone(row: pd.Series) -> float:
        return np.nan if row["pair"] in (0, 5) else by_face(row)

    with pytest.raises(StorageError, match="cos_self: expected a value in every row, found none in one"):
        wall(scored(tmp_path, gone))


@pytest.mark.slow
def test_faces_are_chosen_by_the_defense_that_hides_most(tmp_path: Path) -> None:
    def noisy(row: pd.Series) -> float:
        return {"Clean": 1.0, "PMT": 0.6}.get(row["defense"], 0.1 + 0.01 * row["pair"])

    found = wall(scored(tmp_path, noisy))
    assert "finds in the upload under Noise 0.3, the defense that hides most: the worst" in found.about
    assert found.shelves[0].rows[0].reason.startswith("cosine 0.15, ")
    clean = wall(
        scored(tmp_path / "clean", lambda row: 1.0, defenses=[("Clean", "identity", False)], attacks=(RECFACE,))
    )
    assert "in what recface makes of the face under Clean: the worst" in clean.about


def test_a_control_is_marked_and_chooses_no_face(tmp_path: Path) -> None:
    def noisy(row: pd.Series) -> float:
        return {"Clean": 1.0, "PMT": 0.6}.get(row["defense"], 0.1)

    found = wall(scored(tmp_path, noisy, ended=lambda c: {"control": "safe" if c["defense"] == "Noise 0.3" else None}))
    assert "under PMT" in found.about
    assert {c.defense for c in found.columns if c.control} == {"Noise 0.3"}


def test_an_attack_that_learnt_from_these_people_has_no_say(tmp_path: Path) -> None:
    def leaking(row: pd.Series) -> float:
        return 0.99 if "leaky" in row["attack"] else by_face(row)

    found = wall(scored(tmp_path, leaking, attacks=(RECFACE, LEAKY)))
    assert "in what recface makes of the face under PMT" in found.about
    assert found.shelves[0].rows[0].reason == f"cosine 0.30, {list(MODELS)[2]}"
    assert [c.label for c in found.columns if c.leaky] == [LEAKY.label] * 3


def lending(tmp_path: Path, same: bool = True) -> RunResults:
    """Write a run with two experiments on the same pictures: one measures recognition, the other attributes."""
    stages = {"images": "a" * 64, "verification": "b" * 64, "attributes": "c" * 64}

    def keys(cell: Cell) -> dict[str, str]:
        own = "verification" if cell["outputs"] == "recognition" else "attributes"
        picture = f"{stages['images']}{cell['defense']}{'' if same else own}"
        return {"stages": json.dumps([stages[own], picture])}

    common = {"authorised": (("net-a",),), "datasets": {"synth-lfw": "LFW"}, "ended": keys}
    runs = [
        FakeRun(name="asked", attacks=(ABUSE,), **common),  # type: ignore[arg-type]
        FakeRun(name="attributes", table="VIII", figures=("7",), attacks=(ESTIMATE,), claims=None, **common),  # type: ignore[arg-type]
    ]
    results = write_fake_run(tmp_path / "run", runs)
    about = {"kind": "score", "status": "ok", "cached": True, "seconds": 1.0, "peak_mb": 1.0, "device": "cpu"}
    names = sorted({k for row in results.cells["stages"] for k in json.loads(row)})
    metrics = {k: "images" if k[0] == "a" else "attributes" for k in names}
    made = [{**about, "key": k, "name": f"score {k}", "metric": metrics[k]} for k in names]
    pq.write_table(pa.Table.from_pylist(made, schema=STAGES), results.folder / "stages.parquet")
    return RunResults(results.folder)


@pytest.mark.slow
def test_similarities_may_come_from_other_experiments_with_the_same_pictures(tmp_path: Path) -> None:
    results = lending(tmp_path)
    asked, attributes = (wall(results, name) for name in ("asked", "attributes"))
    assert [r.sample for r in attributes.shelves[0].rows] == [r.sample for r in asked.shelves[0].rows]
    assert "These similarities come from other experiments with the very same pictures." in attributes.about
    assert "Other experiments" not in asked.about
    captions = [name for name, *_ in attributes.shelves[0].rows[0].faces[-1].captions]
    assert captions[:4] == ["SSIM", "cos, authorised", "cos, highest other", "emotion"]
    assert wall(lending(tmp_path / "other", same=False), "attributes").about.startswith("No model was evaluated")


# ---- the wall --------------------------------------------------------------------------------------------------------


def test_attribute_walls_say_what_a_face_is_taken_for(paper_rows: Rows) -> None:
    found = wall(paper_rows, "attributes")
    first = found.shelves[0].rows[0]
    assert ("emotion", "emotion 1", "") in first.original.captions
    captions = {name: value for name, value, _ in first.faces[0].captions}
    assert captions["emotion ≠"] == "emotion 0"
    assert "SSIM" in captions
    assert "No model was evaluated on these pictures" in found.about


def test_reconstruction_walls_show_uploads_and_attacks(paper_rows: Rows) -> None:
    found = wall(paper_rows, "reconstruction")
    assert list(dict.fromkeys(c.group for c in found.columns)) == ["Unprotected", "Feature noise", "PMT"]
    assert [s.dataset for s in found.shelves] == ["synth-lfw", "synth-agedb30"]
    labels = [(c.defense, c.label) for c in found.columns]
    assert ("Unprotected", "as uploaded") not in labels
    assert ("PMT", "as uploaded") in labels
    assert ("PMT", "recface") in labels
    assert sum(c.leaky for c in found.columns) == 3
    uploaded = next(c for c in found.columns if (c.defense, c.picture) == ("PMT", ""))
    assert "recface" in uploaded.attacks
    assert next(c for c in found.columns if c.picture == "recface").attacks == ["recface"]
    for shelf in found.shelves:
        assert [r.kind for r in shelf.rows] == ["worst", "median", "best"]
        for row in shelf.rows:
            assert len(row.faces) == len(found.columns)
            assert all(row.sample in f.alt for f in (row.original, *row.faces))
    face = found.shelves[0].rows[0].faces[0]
    assert [name for name, *_ in face.captions] == ["SSIM", "cos, authorised", "cos, highest other"]
    assert face.captions[2][2].startswith("net-")


@pytest.mark.slow
def test_every_picture_has_a_name_and_filters_find_it(paper_results: RunResults) -> None:
    page = render(paper_results)
    part = page[page.index('<table class="wall">') :]
    names = re.findall(r'<span class="face p\d+" role="img" aria-label="([^"]*)"', part)
    assert len(names) > 100
    assert all(len(name) > 10 for name in names)
    assert set(re.findall(r'<tr data-face="(\w+)"', part)) >= {"worst", "median", "best"}
    assert '<div class="shelf" data-dataset="synth-lfw">' in page
    assert 'data-defense="PMT" data-attack="recface"' in part
    cells = re.findall(r"<td data-defense=[^>]*>\s*<span", part)
    assert len(cells) > 80


@pytest.mark.slow
def test_hostile_names_stay_text(results: RunResults, tmp_path: Path) -> None:
    spec = FakeRun(
        name="hostile", attacks=(replace(RECFACE, label=f"</style>{HOSTILE}"),), datasets={f"set {HOSTILE}": "LFW"}
    )
    page = render(write_fake_run(tmp_path / "hostile", spec))
    for html in (page, render(results)):
        assert "<script>alert" not in html
        assert "</style><script>" not in html
        (styles,) = [s for s in re.findall(r"<style>(.*?)</style>", html, re.DOTALL) if ".p0{" in s]
        rule = r'\.p\d+\{background-image:url\("data:image/(png|webp);base64,[A-Za-z0-9+/=]+"\)\}'
        assert all(re.fullmatch(rule, line) for line in styles.strip().splitlines())


# ---- whose faces -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_not_one_byte_of_a_real_face_is_in_a_page(tmp_path: Path) -> None:
    results = write_fake_run(tmp_path / "real", FakeRun(synthetic=False))
    page = render(results)
    assert "data:image/" not in page
    assert "are real and are not shown" in page
    for column in ("original", "protected"):
        for picture in results.samples("examples")[column]:
            assert base64.b64encode(picture).decode("ascii")[40:120] not in page
    with_faces = render(results, include_real_faces=True)
    assert "data:image/png" in with_faces
    first = results.samples("examples")["original"].iloc[0]
    assert base64.b64encode(first).decode("ascii") in with_faces


@pytest.mark.slow
def test_real_faces_are_held_back_beside_synthetic_ones(tmp_path: Path) -> None:
    def mixed(cell: Cell) -> dict[str, object]:
        return {"synthetic": cell["dataset"] == "synth-lfw"}

    results = write_fake_run(tmp_path / "mixed", FakeRun(ended=mixed))
    found = wall(results)
    assert [s.dataset for s in found.shelves] == ["synth-lfw"]
    assert found.notes == ["The faces of synth-calfw are real and are not shown."]
    assert [s.dataset for s in wall(results, real=True).shelves] == ["synth-lfw", "synth-calfw"]
    rows = results.samples("examples")
    page = render(results)
    synthetic, real = (set(rows[rows["dataset"] == d]["protected"]) for d in ("synth-lfw", "synth-calfw"))
    assert sum(base64.b64encode(picture).decode() in page for picture in synthetic) > 3
    assert len(real - synthetic) > 10, "those of the defense that sends the face as it is are drawn alike"
    for picture in real - synthetic:
        assert base64.b64encode(picture).decode()[40:120] not in page


def test_rows_that_say_that_they_are_real_are_believed(tmp_path: Path) -> None:
    def change(table: pd.DataFrame) -> None:
        table.loc[table["dataset"] == "synth-calfw", "synthetic"] = False

    found = wall(rewritten(write_fake_run(tmp_path / "run"), examples=change))
    assert [s.dataset for s in found.shelves] == ["synth-lfw"]


# ---- pictures --------------------------------------------------------------------------------------------------------


def kind_of(uri: str | None) -> str:
    return str(uri).partition(";")[0].removeprefix("data:image/")


def decoded(uri: str | None) -> NDArray[np.float64]:
    data = base64.b64decode(str(uri).partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float64)


def test_photographs_and_noise_are_compressed_as_suits_them() -> None:
    smooth, noise = photo(), png(np.random.default_rng(0), 100)
    assert kind_of(encoded(smooth)) == "webp"
    assert kind_of(encoded(noise)) == "png"
    assert len(str(encoded(noise))) < len(noise) / 2
    pixels = np.asarray(Image.open(io.BytesIO(noise)), np.float64)
    lost = np.mean((decoded(encoded(noise)) - pixels) ** 2)
    assert 10 * np.log10(255**2 / lost) > 20, "the colours of noise are kept"
    assert decoded(encoded(smooth)).shape == (100, 100, 3), "nothing is scaled"


def test_small_pictures_stay_as_they_are_and_damaged_ones_are_none() -> None:
    small = png(np.random.default_rng(0))
    assert encoded(small) == f"data:image/png;base64,{base64.b64encode(small).decode('ascii')}"
    large = saved(np.zeros((1025, 8, 3), np.uint8))
    for data in (b"", b"<svg onload=alert(1)>", small[:60], b"\x89PNG\r\n\x1a\n", large):
        assert encoded(data) is None


def test_a_picture_is_in_the_album_once() -> None:
    first, second = (png(np.random.default_rng(i)) for i in range(2))
    album = Album()
    assert [album.add(p) for p in (first, second, first)] == ["p0", "p1", "p0"]
    assert len(album) == 2
    assert album.styles().count("data:image/") == 2
    assert album.add(b"nothing") is None


def test_an_album_has_an_end() -> None:
    pictures = [png(np.random.default_rng(i)) for i in range(4)]
    size = len(str(encoded(pictures[0]))) + 32
    album = Album(2 * size + 20)
    assert album.fitting([pictures[0], pictures[0], b"", pictures[1], pictures[2]]) == 4
    for picture in pictures[:2]:
        album.add(picture)
    assert 0 <= album.left < size
    assert album.fitting(pictures[:2]) == 2, "what is there takes no room"
    assert album.fitting(pictures[2:]) == 0


@pytest.mark.slow
def test_no_picture_is_in_a_page_twice(paper_results: RunResults) -> None:
    uris = re.findall(r"data:image/\w+;base64,[A-Za-z0-9+/=]+", render(paper_results))
    assert len(uris) > 100
    assert len(uris) == len(set(uris))


@pytest.mark.slow
def test_pictures_stay_within_the_budget(tmp_path: Path) -> None:
    spec = FakeRun(picture=lambda rng: png(rng, 100), authorised=tuple((m,) for m in MODELS))
    rows = Rows(write_fake_run(tmp_path / "big", spec))
    whole = wall(rows)
    assert [len(s.rows) for s in whole.shelves] == [3, 3]
    assert not whole.notes
    for budget in (5_000, 30_000, 90_000, 200_000):
        album = Album(budget)
        found = walls(rows, [["data-abuse"]], False, album)["data-abuse"]
        assert album.left >= 0
        assert len(album.styles()) <= budget
        assert len(set(shown(found))) == len(album)
        assert found.withheld or found.notes


@pytest.mark.slow
def test_the_worst_faces_get_room_first_and_notes_name_the_others(tmp_path: Path) -> None:
    runs = [FakeRun(name=n, picture=lambda rng: png(rng, 100)) for n in ("one", "two")]
    rows = Rows(write_fake_run(tmp_path / "big", runs))
    whole = Album(10**7)
    walls(rows, [["one", "two"]], False, whole)
    found = walls(rows, [["two", "one"]], False, Album((10**7 - whole.left) * 5 // 9))
    left = {name: [[r.kind for r in s.rows] for s in found[name].shelves] for name in ("one", "two")}
    assert left == {"two": [["worst", "median"]] * 2, "one": [["worst"]] * 2}
    assert found["one"].notes == [
        "No room on this page: median and best of synth-lfw; median and best of synth-calfw. All pictures are in "
        "samples/examples."
    ]
    first = walls(rows, [["two"], ["one"]], False, Album((10**7 - whole.left) * 6 // 9))
    assert [len(s.rows) for s in first["two"].shelves] == [3, 3], "all of the first group before any of the next"
    tight = walls(rows, [["one", "two"]], False, Album(40_000))
    assert len(tight["one"].columns) == 2
    assert tight["one"].notes[-1] == "No room on this page: 1 more column. All pictures are in samples/examples."
    assert tight["two"].withheld == "There is no room left on this page; the pictures are in samples/examples."


@pytest.mark.slow
def test_many_settings_are_cut(tmp_path: Path) -> None:
    spec = FakeRun(defenses=[(f"PMT {i}", "pmt", True) for i in range(COLUMNS + 6)], authorised=(("net-a",),), pairs=4)
    found = wall(write_fake_run(tmp_path / "many", spec))
    assert len(found.columns) == COLUMNS
    assert found.notes == ["No room on this page: 6 more columns. All pictures are in samples/examples."]


@pytest.mark.slow
def test_damaged_pictures_are_left_out(tmp_path: Path) -> None:
    results = write_fake_run(tmp_path / "odd", FakeRun(picture=lambda rng: b"<svg onload=alert(1)>"))
    assert "No example faces were stored." in render(results)
    broken = write_fake_run(tmp_path / "broken", FakeRun(picture=lambda rng: png(rng)[:80]))
    page = render(broken)
    assert "data:image/" not in page
    assert "no picture" in page


def test_old_results_have_walls() -> None:
    for schema in (2, 3):
        results = RunResults(TESTS / "golden" / f"schema-{schema}")
        rows = Rows(results)
        found = walls(rows, [rows.experiments], False, Album())
        assert [r.title for r in found["recognition"].shelves[0].rows] == ["Worst of 2", "Best of 2"]
        assert found["recognition"].about.startswith("Faces are chosen by identity similarity")
        assert all(shown(w) for w in found.values() if not w.withheld)

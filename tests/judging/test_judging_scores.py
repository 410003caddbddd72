"""The rows of a judgement, and the figures, sentences and page that are computed from them alone."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from judged_photos import blank, embedded, face, same
from numpy.typing import NDArray
from PIL import Image
from support import TESTS

from bench.core.domain import Component, Origin
from bench.judging import choice, figures, judgement, scoring, words
from bench.judging.judgement import Judgement, Wanted, write_rows
from bench.judging.judges import Judge
from bench.judging.pictures import JudgedPictures, LeftOut, PhotoPeople
from bench.judging.preprocessing import PREPROCESSINGS
from bench.judging.scoring import Scores, score
from bench.metrics import pair_interval
from bench.report import judge_page

PEOPLE, EACH = 20, 2
pytestmark = pytest.mark.slow


def judge(*, stand_in: bool = False) -> Judge:
    origin = Origin(distribution="d", version="1", package="p", digest="0")
    about: dict[str, Any] = {"kind": "model", "name": "net", "label": "net", "params": {}, "passed": {}}
    return Judge(component=Component(**about, origin=origin, weights="ab" * 32), license="mine", stand_in=stand_in)


def photos(
    change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]], faceless: int = 0, *, known: bool = True
) -> JudgedPictures:
    """Two photos of each of twenty people; in the first ``faceless`` protected ones no face is found."""
    names = tuple(f"person {k:02}/{photo}" for k in range(PEOPLE) for photo in range(EACH))
    originals = [face(k, photo) for k in range(PEOPLE) for photo in range(EACH)]
    images, after = (np.stack(made).transpose(0, 3, 1, 2) for made in (originals, list(map(change, originals))))
    every, found = np.arange(len(names)), np.arange(faceless, len(names))
    people = {name: k // EACH if known else k for k, name in enumerate(names)}
    return JudgedPictures(
        people=PhotoPeople(
            of=people, names=tuple(sorted({n.split("/")[0] for n in names})) if known else names, known=known
        ),
        gallery=names,
        originals=np.ascontiguousarray(images),
        photos=names,
        protected={"own": (found, after[found]), "original": (every, np.ascontiguousarray(after))},
        left_out=(LeftOut(what="links among originals, which are not followed", names=("secret name",)),),
        notes=(),
    )


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scores]:
    """Return a function that scores pictures with a recogniser without weights."""
    monkeypatch.setattr(scoring, "_embedder", lambda judge, device: embedded)
    return lambda pictures, fmr=0.1, strangers=None: score(
        [judge()], pictures, strangers, fmr=fmr, device="cpu", on_progress=lambda what: None
    )


def judged(scores: Scores, pictures: JudgedPictures, *, stand_in: bool = False) -> Judgement:
    return Judgement(
        wanted=Wanted(originals=Path("a"), protected=Path("b"), fmr=0.1),
        judges=[judge(stand_in=stand_in)],
        pictures=pictures,
        strangers=None,
        rows=scores.rows,
        no_service=scores.no_service,
        no_adversary=scores.no_adversary,
    )


def test_every_photo_has_a_row_for_each_preprocessing_and_original_of_its_person(scored: Callable[..., Scores]) -> None:
    rows = scored(photos(same, faceless=3)).rows.to_pandas()
    assert len(rows) == 2 * len(PREPROCESSINGS) * PEOPLE * EACH * EACH
    assert rows.groupby(["alignment", "preprocessing"], sort=False).ngroups == 2 * len(PREPROCESSINGS)
    own = rows[rows["compared_with"] == "own original"]
    assert (own["photo"] == own["original"]).all()
    assert (~own[own["alignment"] == "own"]["face_found"]).sum() == 3 * len(PREPROCESSINGS)
    assert own["cosine"].isna().sum() == 3 * len(PREPROCESSINGS)
    received = own[(own["preprocessing"] == "as received") & own["face_found"]]
    assert received["cosine"].to_numpy() == pytest.approx(1)
    assert set(received["rank"]) == {1}
    assert set(received["rank_chance"]) == {1 / PEOPLE}
    assert received["rank_other_chance"].to_numpy() == pytest.approx((EACH - 1) / (PEOPLE * EACH - 1))


def test_nothing_protected_matches_and_a_constant_is_at_chance(scored: Callable[..., Scores]) -> None:
    (found,) = figures.judged(scored(photos(same)).rows)
    impostors = found.service_impostors  # The next largest score of n is exceeded by a new one in 1 of n + 1 cases.
    assert found.expected_fmr == (int(found.fmr * impostors) + 1) / (impostors + 1)
    assert found.expected_fmr > found.fmr
    assert found.received.service is not None
    assert found.received.service.count == PEOPLE * EACH
    assert found.received.service.people == PEOPLE
    (found,) = figures.judged(scored(photos(blank)).rows)
    best = found.best("first")
    assert best is not None
    assert best.share.value <= 0.05
    assert best.by_chance is not None
    assert best.by_chance > 0.05
    assert found.received.first_chance == pytest.approx(1 / PEOPLE)
    adversary = found.best("adversary")
    assert adversary is not None
    assert adversary.share.value < 0.35
    assert adversary.chance == pytest.approx(0.1, abs=0.06)


def test_figures_come_from_the_rows_alone(scored: Callable[..., Scores]) -> None:
    """Each share and interval is the mean of a comparison of two columns, clustered by people."""
    rows = scored(photos(same, faceless=5)).rows
    (found,) = figures.judged(rows)
    table = rows.to_pandas()
    for tried in found.preprocessings:
        part = table[(table["alignment"] == tried.alignment) & (table["preprocessing"] == tried.preprocessing)]
        own = part[part["compared_with"] == "own original"]
        hits = (own["cosine"] > own["threshold_service"]).to_numpy(float)
        assert tried.service is not None
        assert tried.service.value == hits.mean()
        assert tried.service.interval == pair_interval(hits, own["person"].to_numpy(), share=True)
        assert tried.faces == (35 if tried.alignment == "own" else 40)
    assert found.received.service is not None
    assert found.received.service.count == 35  # A photo without a face matches nothing, and counts.
    best = found.best("service")
    assert best is not None
    assert best.found.alignment == "original"
    assert best.ways == 2 * len(PREPROCESSINGS)
    assert best.by_chance is not None
    assert best.by_chance < 1e-6
    assert best.share.interval == choice.best_interval(1.0, PEOPLE, best.ways)


def test_people_are_clusters_and_unknown_people_are_photos(scored: Callable[..., Scores]) -> None:
    pictures = photos(same, known=False)
    scores = scored(pictures)
    (found,) = figures.judged(scores.rows)
    assert found.best("service") is None
    assert found.received.first.people == PEOPLE * EACH
    assert scores.rows["person"].null_count == len(scores.rows)
    sentences = judged(scores, pictures).verdict()[0][1]
    assert sentences[0].startswith("Whether photos match their originals cannot be said: which similarity counts")
    assert "Searched among all originals, the right one comes first for 40" in sentences[1]
    notes = judged(scores, pictures).notes
    assert "each photo counts as one sample" in notes[-1]
    assert notes[0] == (
        "There is no threshold, so no match is reported. Pictures of at least 10 other people give one: --calibrate "
        "DIR, a folder with one folder per person."
    )


def test_a_rate_that_needs_more_people_is_refused_in_words(scored: Callable[..., Scores]) -> None:
    pictures = photos(same)
    found = judged(scored(pictures, fmr=0.001), pictures)
    assert "an FMR of 0.1 % is one match in 1,000 pairs of different people" in found.verdict()[0][1][0]
    assert found.rows["threshold_service"].null_count == len(found.rows)


def test_a_recogniser_that_guesses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    monkeypatch.setattr(
        scoring, "_embedder", lambda *_: lambda images: rng.normal(size=(len(images), 16)).astype(np.float32)
    )
    pictures = photos(same)
    more = {name: k // 4 for k, name in enumerate(pictures.gallery)}  # Four photos of each of ten people.
    people = PhotoPeople(of=more, names=tuple(map(str, range(10))), known=True)
    pictures = JudgedPictures(**{**vars(pictures), "people": people})
    with pytest.raises(scoring.ContractError, match=r"net: it cannot tell the people of the originals apart"):
        score([judge()], pictures, None, fmr=0.1, device="cpu", on_progress=lambda what: None)


def test_strangers_who_match_as_often_are_said_to_be_no_recognition() -> None:
    share = figures.Share(value=0.9, n=10, people=10, interval=(0.6, 1.0), effective=10)
    assert list(words._no_recognition(share, 0.8))
    assert not list(words._no_recognition(share, 0.01))
    assert words.count_of(share) == "9 (95 %: 6 to 10)"
    assert (
        words.count_of(figures.Share(value=1.0, n=3, people=1, interval=None, effective=1))
        == "3 (no interval: 1 person)"
    )


def test_the_verdict_and_the_page_state_n_and_faces_that_are_lost(scored: Callable[..., Scores]) -> None:
    pictures = photos(same, faceless=5)
    found = judged(scored(pictures), pictures, stand_in=True)
    heading, sentences = found.verdict()[0]
    assert heading == "net (weights abababababab)"
    assert sentences[0].startswith("Of 40 photos of 20 people, 40 (95 %: 3")
    assert "35 (95 %: " in sentences[0]
    assert "after the best of 5 preprocessings, each with 2 alignments (" in sentences[0]
    assert words.CHOSEN_HERE in found.notes
    assert any(
        text.startswith("In 5 of 40 protected photos no single face is found. That is no success") for text in sentences
    )
    page = judge_page.render(found, pictures=False)
    assert "secret name" not in page
    assert "person 0" not in page
    assert "<img" not in page
    assert "lower bound" in page
    assert "external-command,files=" in page
    assert "optimistic for the adversary" in page.split("Every preprocessing that was tried")[1]
    assert "Of 40 photos of 20 people" in page
    assert "default-src 'none'" in page
    page = judge_page.render(found, pictures=True)
    assert "secret name" in page
    assert page.count("<img") == 80
    assert "person 03/1" in page
    data = re.search(r'alt="original"[^>]*src="data:image/png;base64,([^"]+)"', page)
    assert data is not None
    with Image.open(io.BytesIO(base64.b64decode(data[1]))) as shown:
        assert (np.asarray(shown).transpose(2, 0, 1) == pictures.originals[0]).all()  # As the networks see it.


def test_a_stand_in_is_marked_in_words_and_on_the_page(scored: Callable[..., Scores]) -> None:
    pictures = photos(same)
    scores = scored(pictures)
    rows = scores.rows.set_column(2, "stand_in", pa.array([True] * len(scores.rows)))
    found = judged(Scores(rows=rows, no_service="", no_adversary=""), pictures, stand_in=True)
    assert found.verdict()[0][1][0].startswith("WARNING: net was trained on computer-generated faces: a stand-in")
    assert "Synthetic stand-in." in judge_page.render(found, pictures=False)


def test_written_rows_are_private_and_hold_names_only_if_asked(scored: Callable[..., Scores], tmp_path: Path) -> None:
    pictures = photos(same)
    found = judged(scored(pictures), pictures)
    for name in ("rows.parquet", "rows.csv"):
        write_rows(found, tmp_path / name, names=False)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
        assert b"person 0" not in (tmp_path / name).read_bytes()
    table = pd.read_parquet(tmp_path / "rows.parquet")
    assert table.columns.tolist() == scoring.SCHEMA.names
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "rows.csv"), table, check_dtype=False)
    write_rows(found, tmp_path / "named.parquet", names=True)
    named = pd.read_parquet(tmp_path / "named.parquet")
    assert named["photo_name"].iloc[0] == "person 00/0"
    assert named["person_name"].iloc[0] == "person 00"
    with pytest.raises(judgement.SuiteError, match=r"--rows: expected a file name that ends in \.parquet or \.csv"):
        judgement.check_rows_name(Path("rows.xlsx"))


def test_rows_are_grouped_by_the_names_of_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_embedder", lambda *_: embedded)
    named = [replace(judge(), component=replace(judge().component, label=label)) for label in ("A", "B")]
    scores = score(named, photos(same), None, fmr=0.1, device="cpu", on_progress=lambda what: None)
    assert [found.judge for found in figures.judged(scores.rows)] == ["A", "B"]


def test_the_guide_explains_every_column(scored: Callable[..., Scores], tmp_path: Path) -> None:
    pictures = photos(same)
    write_rows(judged(scored(pictures), pictures), tmp_path / "named.parquet", names=True)
    guide = (TESTS.parent / "docs" / "your-photos.md").read_text(encoding="utf-8")
    lines = [line.split("|") for line in guide.partition("One row is one comparison")[2].splitlines()]
    explained = {name for cells in lines if len(cells) > 2 for name in re.findall(r"`(\w+)`", cells[1])}
    assert explained == set(pd.read_parquet(tmp_path / "named.parquet").columns)


def test_preprocessings_change_something_and_keep_the_form() -> None:
    images = np.stack([face(1, 1), face(2, 1)]).transpose(0, 3, 1, 2)
    for name, change in PREPROCESSINGS.items():
        made = change(images)
        assert made.shape == images.shape, name
        assert made.dtype == np.uint8, name
        assert (made == images).all() == (name == "as received"), name
        assert np.abs(made.astype(int) - images).mean() < 20, name
        assert change(images[:0]).shape == (0, 3, 112, 112), name

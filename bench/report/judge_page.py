"""The page of a judgement (``bench judge --report``): one private HTML file in the style of the report.

It holds numbers only: pictures and names are added if the user asks for them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.judging import words
from bench.judging.figures import JudgeFigures, PreprocessingFigures
from bench.judging.judgement import Judgement
from bench.judging.private_files import write_private
from bench.judging.scoring import OWN_PICTURE
from bench.metrics.arrays import Images
from bench.report.page import assets
from bench.report.page.image_budget import data_uri, saved
from bench.report.page_text import environment, finished

_MOST = 200  # photos that are shown
COLUMNS = (
    "alignment",
    "preprocessing",
    "faces",
    "matched, service",
    "matched, adversary",
    "another photo, service",
    "another photo, adversary",
    "strangers, service",
    "strangers, adversary",
    "first of all",
    "chance",
    "mean cosine",
    "threshold",
)


def render(found: Judgement, *, pictures: bool) -> str:
    """Return the page of a judgement as HTML, with the faces and names if ``pictures``."""
    figures = found.figures
    context: dict[str, Any] = {
        "styles": assets.styles(["base", "tables"]),
        "stand_in": any(one.stand_in for one in figures),
        "verdict": found.verdict(),
        "visible": words.how_visible(found.visibility),
        "lower_bound": words.LOWER_BOUND,
        "chosen_here": words.CHOSEN_HERE,
        "notes": found.notes,
        "left_out": [words.counted(group, names=pictures) for group in found.pictures.left_out],
        "columns": COLUMNS,
        "tables": [(_caption(one), [_row(tried) for tried in one.preprocessings]) for one in figures],
        "judges": [(judge.name, judge.weights, judge.license) for judge in found.judges],
        "settings": _settings(found),
        "faces": _faces(found) if pictures else [],
        "shown": min(_MOST, len(found.pictures.photos)),
        "photos": len(found.pictures.photos),
    }
    return finished(environment("bench.report").get_template("judge.html.j2").render(context))


def write_page(found: Judgement, path: Path, *, pictures: bool) -> None:
    """Write the page to a file that only its owner may read. Raise `StorageError` if it cannot be written."""
    write_private(path, render(found, pictures=pictures).encode("utf-8"))


def _caption(figures: JudgeFigures) -> str:
    return f"{figures.judge}: {figures.photos} photos, at an FMR of {words.rate(figures.fmr)}"


def _row(found: PreprocessingFigures) -> list[str]:
    """Return a row of the table of one judge."""
    cosine = "-" if found.cosine is None else f"{found.cosine:.2f}"
    kappa = "-" if found.kappa_service is None else f"{found.kappa_service:.2f}"
    return [
        {"own": "own face", "original": "as in the original", "given": "given"}[found.alignment],
        found.preprocessing,
        str(found.faces),
        words.share_of(found.service),
        words.share_of(found.adversary),
        words.share_of(found.other_service),
        words.share_of(found.other_adversary),
        words.percent(found.strangers_service),
        words.percent(found.strangers_adversary),
        words.share_of(found.first),
        words.percent(found.first_chance),
        cosine,
        kappa,
    ]


def _settings(found: Judgement) -> list[tuple[str, str]]:
    """Return what was compared how, without a path or a name."""
    people = found.pictures.people
    return [
        ("originals with a face", str(len(found.pictures.gallery))),
        ("photos judged", str(len(found.pictures.photos))),
        ("people", str(people.count) if people.known else "not known"),
        ("false match rate", words.rate(found.wanted.fmr)),
        ("threshold set on", found.strangers.source if found.strangers else "the originals, without the own person"),
        ("pictures", "aligned crops" if found.wanted.aligned else "faces were found and aligned"),
    ]


def _faces(found: Judgement) -> list[dict[str, str]]:
    """Return the first photos with their names, both faces, and the cosine of the first judge as received."""
    pictures = found.pictures
    place = {name: k for k, name in enumerate(pictures.gallery)}
    rows, faces = list(pictures.protected.values())[-1]
    at = {int(photo): k for k, photo in enumerate(rows)}
    own = [row for row in found.rows.to_pylist() if row["compared_with"] == OWN_PICTURE]
    cosines: dict[int, float] = {}
    for row in own:
        if row["judge"] == found.judges[0].name and row["cosine"] is not None:
            cosines.setdefault(row["photo"], row["cosine"])
    return [
        {
            "name": name,
            "original": _embedded(pictures.originals[place[name]]),
            "protected": _embedded(faces[at[photo]]) if photo in at else "",
            "cosine": f"{cosines[photo]:.2f}" if photo in cosines else "no face found",
        }
        for photo, name in enumerate(pictures.photos[:_MOST])
    ]


def _embedded(image: Images) -> str:
    """Return a face as it is, without loss, as a data URI."""
    return data_uri("png", saved(Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))), "PNG"))

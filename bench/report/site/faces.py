"""Example faces of a defense: the original, the upload, and what the strongest reconstruction makes of it.

Pictures are shown of generated faces only, and not from a bundle that nobody has verified: a stranger's word that faces
are generated is not enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.page.image_budget import encoded, is_png
from bench.report.site.standings import Standing

FACES = 3
BUDGET = 90_000  # characters of all pictures of a page
_COLUMNS = ["dataset", "authorised", "repeat", "attack", "sample_id", "synthetic", "original", "protected"]


@dataclass(frozen=True, kw_only=True)
class FaceExample:
    """One face: its name, and pictures with their captions, as data URIs."""

    name: str
    pictures: Sequence[tuple[str, str]]


def examples(one: Standing) -> list[FaceExample]:
    """Return some faces of a defense with stored pictures; none if they may not be shown."""
    rows, results = one.source.rows, one.source.results
    generated = {c.dataset for c in rows.cells} - {c.dataset for c in rows.cells if not c.synthetic}
    if not one.source.trusted or not generated or not set(_COLUMNS) <= set(results.columns("examples").names):
        return []
    shown = ["", *(attack for attack in [_reconstruction(one)] if attack)]
    where = {"defense": [one.cell.recorded], "dataset": sorted(generated), "attack": shown}
    stored: dict[str, dict[str, tuple[bytes, bytes]]] = {}
    for batch in results.batches("examples", where, _COLUMNS):
        for row in batch.to_dict("records"):
            if row["synthetic"] and is_png(row["original"]) and is_png(row["protected"]):
                known = stored.setdefault(f"{row['dataset']} {row['sample_id']}", {})
                known.setdefault(str(row["attack"] or ""), (row["original"], row["protected"]))
    made: list[FaceExample] = []
    room = BUDGET
    for name in sorted(stored, key=lambda name: (-len(stored[name]), name))[:FACES]:
        face = _example(name, stored[name], shown, clean=one.cell.clean)
        room -= sum(len(picture) for _, picture in face.pictures)
        if room < 0:
            break
        made.append(face)
    return made


def _reconstruction(one: Standing) -> str:
    worst = one.entry.channels.get("reconstruction")
    return worst.label if worst else ""


def _example(name: str, stored: dict[str, tuple[bytes, bytes]], shown: Sequence[str], *, clean: bool) -> FaceExample:
    original = next(iter(stored.values()))[0]
    pictures = [("original", original)]
    for attack in shown:
        if attack in stored and not (clean and not attack):
            pictures.append((f"rebuilt by {attack}" if attack else "as uploaded", stored[attack][1]))
    found = [(caption, encoded(picture)) for caption, picture in pictures]
    return FaceExample(name=name, pictures=[(caption, uri) for caption, uri in found if uri is not None])

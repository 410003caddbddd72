"""bench_facesets: kinds of labels, names, protocols and copies as people really have them; see `kinds_of_input`."""

from __future__ import annotations

import io
import json
import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import faceset_files as files
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from bench_facesets import AgeDb30, Calfw, CfpFf, FaceSet, Lfw, people
from bench_facesets.copies import Copies
from kinds_of_input import KindOfInput, check, outcome
from PIL import Image
from support import Computed

from bench import DataError
from bench.api.context import Context

REAL = os.environ.get("BENCH_REAL", "")
CTX = Context(device=torch.device("cpu"), seed=0)
PAIRS = files.protocol_pairs()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, and no data folders."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_DATA", raising=False)


def set_of(dataset: Any, folder: Path) -> str:
    """How many images of how many people a set has, how many pairs can be scored, and what its status notes."""

    def read() -> str:
        found, status = dataset.collection(), dataset.status()
        assert not status.missing
        who = "unnamed people" if found.people is None else f"{len(found.codes[1])} people"
        return "; ".join([f"{len(found.encoded)} images of {who}, {status.pairs} pairs", *status.notes])

    return outcome(read, folder)


# ---- labels that name nobody -----------------------------------------------------------------------------------------


def labelled(folder: Path, labels: Any, about: Mapping[str, Any] | None = None, parts: int = 1) -> str:
    """What becomes of a Parquet file, or of several, with these labels; ``about`` is metadata of Hugging Face."""
    table = pa.table({"image": [files.png(f"{k}") for k in range(len(labels))], "label": labels})
    if about is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
    size = len(labels) // parts
    for part in range(parts):
        path = folder / "set" / f"part-{part}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(table.slice(part * size, size), path)
    return set_of(FaceSet(path=str(folder / "set")), folder)


def every_seventh(unknown: Any, name: Callable[[int], Any] = lambda person: person) -> list[Any]:
    """Labels of 20 people with 4 images each; every seventh image is of somebody unknown."""
    return [unknown if k % 7 == 0 else name(k // 4) for k in range(80)]


def classes(*names: str) -> Mapping[str, Any]:
    """What Hugging Face's datasets writes beside a column of the type ClassLabel."""
    return {"info": {"features": {"label": {"names": list(names), "_type": "ClassLabel"}}}}


def per_folder(folder: Path, names: Sequence[str]) -> str:
    """What becomes of a folder in which every name has 4 images."""
    for k, name in enumerate(names):
        for shot in range(4):
            files.put(folder / "set" / name / f"{k}-{shot}.png", files.png(f"{k}/{shot}"))
    return set_of(FaceSet(path=str(folder / "set")), folder)


LEFT_OUT = "68 images of 20 people, 84 pairs; 12 of 80 images are left out: their label names nobody (...: 12)"
NAMES = [f"Person {chr(65 + k)}" for k in range(20)]
TWENTY = [f"n{k:06d}" for k in range(20)]

LABELS = [
    KindOfInput(
        kind="Parquet, label -1 as Hugging Face's unlabelled",
        expected=LEFT_OUT,
        happened=lambda folder: labelled(folder, every_seventh(-1)),
    ),
    KindOfInput(
        kind="Parquet, label -100 as PyTorch's ignored class",
        expected=LEFT_OUT,
        happened=lambda folder: labelled(folder, every_seventh(-100)),
    ),
    KindOfInput(kind="Parquet, null", expected=LEFT_OUT, happened=lambda folder: labelled(folder, every_seventh(None))),
    KindOfInput(
        kind="Parquet, NaN among numbers, as pandas makes of null",
        expected=LEFT_OUT,
        happened=lambda folder: labelled(folder, every_seventh(float("nan"), float)),
    ),
    *(
        KindOfInput(
            kind=f"Parquet, the text {word!r}",
            expected=LEFT_OUT,
            happened=lambda folder, word=word: labelled(folder, every_seventh(word, str)),
        )
        for word in ("", " ", "unknown", "Unknown ", "NONE", "n/a", "NA", "null", "nan", "-1", "<NA>", "un\u200bknown")
    ),
    KindOfInput(
        kind="Parquet, every label -1, as in a test split",
        expected="refused: set/part-0.parquet: expected pairs, or the person in each image; found neither",
        happened=lambda folder: labelled(folder, [-1] * 80),
    ),
    KindOfInput(
        kind="Parquet, labels that are no whole numbers",
        expected="refused: set/part-0.parquet: row 0: column 'label': expected a whole number ..., found 0.5",
        happened=lambda folder: labelled(folder, [k / 4 + 0.5 for k in range(80)]),
    ),
    KindOfInput(
        kind="Parquet, class names of Hugging Face, and -1",
        expected=LEFT_OUT,
        happened=lambda folder: labelled(folder, every_seventh(-1), classes(*NAMES)),
    ),
    KindOfInput(
        kind="Parquet, a class name that is unknown",
        expected="76 images of 19 people, 132 pairs; 4 of 80 images are left out: ... ('unknown': 4)",
        happened=lambda folder: labelled(folder, [k // 4 for k in range(80)], classes(*NAMES[:-1], "unknown")),
    ),
    KindOfInput(
        kind="Parquet, a label without class name",
        expected="refused: set/part-0.parquet: row 40: expected a label below 10, ..., found 10",
        happened=lambda folder: labelled(folder, [k // 4 for k in range(80)], classes(*NAMES[:10])),
    ),
    KindOfInput(
        kind="Parquet, categories of pandas",
        expected="80 images of 20 people, 144 pairs",
        happened=lambda folder: labelled(folder, pa.array([NAMES[k // 4] for k in range(80)]).dictionary_encode()),
    ),
    KindOfInput(
        kind="Parquet, categories of pandas with a missing one",
        expected=LEFT_OUT,
        happened=lambda folder: labelled(folder, pa.array(every_seventh(None, str)).dictionary_encode()),
    ),
    KindOfInput(
        kind="Parquet in several files",
        expected=LEFT_OUT,
        happened=lambda folder: labelled(folder, every_seventh(-1), parts=4),
    ),
    KindOfInput(
        kind="Parquet, truth values as labels",
        expected="refused: set/part-0.parquet: expected numbers or texts in the column 'label', found bool",
        happened=lambda folder: labelled(folder, [k % 2 == 0 for k in range(80)]),
    ),
    *(
        KindOfInput(
            kind=f"a folder {name!r} among those of people",
            expected=f"80 images of 20 people, 144 pairs; 4 of 84 images are left out: ... ('{name}': 4)",
            happened=lambda folder, name=name: per_folder(folder, [*TWENTY, name]),
        )
        for name in ("unknown", "-1", "None", "NaN", "no_label")
    ),
    KindOfInput(
        kind="a folder of somebody whose name begins like unknown",
        expected="84 images of 21 people, 156 pairs",
        happened=lambda folder: per_folder(folder, [*TWENTY, "Nonetta Unknowles"]),
    ),
    # ---- spellings ----
    KindOfInput(
        kind="Parquet, names with spaces before, behind, doubled and unbreakable",
        expected="80 images of 20 people, 144 pairs; spellings of one name are taken as one person: 20 people ...",
        happened=lambda folder: labelled(
            folder,
            [(f"{n}", f" {n} ", n.replace(" ", "  "), n.replace(" ", "\xa0"))[k] for n in NAMES for k in range(4)],
        ),
    ),
    KindOfInput(
        kind="Parquet, names in upper and lower case",
        expected="80 images of 20 people, 144 pairs; spellings of one name are taken as one person: 20 people ...",
        happened=lambda folder: labelled(folder, [(n, n.upper())[k % 2] for n in NAMES for k in range(4)]),
    ),
    KindOfInput(
        kind="folders of one name in two Unicode forms",
        expected="88 images of 21 people, ...; spellings of one name are taken as one person: 1 people ('Jose...",
        happened=lambda folder: per_folder(
            folder, [*TWENTY, *(unicodedata.normalize(form, "José") for form in ("NFC", "NFD"))]
        ),
    ),
    KindOfInput(
        kind="folders of two people with and without an accent",
        expected="88 images of 22 people, 168 pairs",
        happened=lambda folder: per_folder(folder, [*TWENTY, "José", "Jose"]),
    ),
    KindOfInput(
        kind="folders whose names differ in punctuation",
        expected="88 images of 22 people, ...; names that differ in punctuation are taken as different people: 1 (...)",
        happened=lambda folder: per_folder(folder, [*TWENTY, "Ann Smith", "Ann_Smith"]),
    ),
]


@pytest.mark.parametrize("kind", LABELS, ids=str)
def test_labels(kind: KindOfInput, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    check(kind, tmp_path / "input", record_property)


def test_the_names_of_classes_are_the_people(tmp_path: Path) -> None:
    (tmp_path / "input").mkdir()
    labelled(tmp_path / "input", every_seventh(-1), classes(*NAMES))
    found = FaceSet(path=str(tmp_path / "input" / "set")).collection()
    assert found.people == [NAMES[k // 4] for k in range(80) if k % 7]
    assert [found.encoded.read(k) for k in (0, 67)] == [files.png("1"), files.png("79")]


def test_class_names_of_other_orders_and_kinds_in_other_files(tmp_path: Path) -> None:
    for part, names in enumerate((["Ada", "Bob"], ["Bob", "Ada"])):
        table = pa.table({"image": [files.png(f"{part}/{k}") for k in range(4)], "label": [0, 0, 1, 1]})
        table = table.replace_schema_metadata({"huggingface": json.dumps(classes(*names))})
        pq.write_table(table, tmp_path / f"{part}.parquet")
    assert FaceSet(path=str(tmp_path)).collection().people == ["Ada"] * 2 + ["Bob"] * 4 + ["Ada"] * 2
    pq.write_table(table.replace_schema_metadata(None), tmp_path / "2.parquet")
    with pytest.raises(DataError, match=r"labels of one kind in all files, found class names in 0.* numbers in 2"):
        FaceSet(path=str(tmp_path)).collection()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Anna  Maria", " anna maria\t", True),
        ("Anna\u2009Maria", "ANNA MARIA", True),
        ("Straße", "STRASSE", True),
        ("Ａｎｎａ", "anna", True),
        ("Zo\u00eb", "Zoe\u0308", True),
        ("Anna", "Ann a", False),
        ("Zoë", "Zoe", False),
    ],
)
def test_spellings(one: str, other: str, same: bool) -> None:
    assert (people.spelling(one) == people.spelling(other)) == same


# ---- protocols -------------------------------------------------------------------------------------------------------

CFP_PAIRS = [
    pair
    for f in range(10)
    for pair in (
        (f"{2 * f + 1:03d}/01", f"{2 * f + 1:03d}/02", True, f),
        (f"{2 * f + 1:03d}/01", f"{2 * f + 2:03d}/01", False, f),
    )
]
AGE_PAIRS = [
    pair
    for f in range(10)
    for pair in (
        (f"{4 * f}_Ann{f}_35_f", f"{4 * f + 1}_Ann{f}_66_f", True, f),
        (f"{4 * f}_Ann{f}_35_f", f"{4 * f + 2}_Bob{f}_40_m", False, f),
    )
]


def lacking(kind: type[Any], root: Path, lost: str) -> str:
    """What becomes of a set without some of its images."""
    gone = list(root.rglob(lost))
    assert gone
    for path in gone:
        path.unlink()
    return set_of(kind(path=str(root)), root.parent)


def lfw(folder: Path, change: Callable[[str], str | bytes] = str, pairs: Sequence[files.Pair] = PAIRS) -> str:
    """What becomes of LFW after a change of its ``pairs.txt``."""
    root = files.write_lfw(folder / "lfw", pairs)
    files.put(root / "pairs.txt", change((root / "pairs.txt").read_text()))
    return set_of(Lfw(path=str(root)), folder)


def renamed(pairs: Sequence[files.Pair], name: Callable[[str], str]) -> list[files.Pair]:
    return [(name(left), name(right), same, fold) for left, right, same, fold in pairs]


def other_form(folder: Path, written: str, stored: str) -> str:
    """A protocol in one Unicode form, and file names in another."""
    root = files.write_lfw(folder / "lfw", renamed(PAIRS, lambda n: unicodedata.normalize(stored, f"José_{n}")))
    text = (root / "pairs.txt").read_text(encoding="utf-8")
    files.put(root / "pairs.txt", unicodedata.normalize(written, text))
    return set_of(Lfw(path=str(root)), folder)


def latin_names(folder: Path) -> str:
    """Names of files whose bytes are Latin-1, from an old archive, and a protocol in UTF-8."""
    root = files.write_lfw(folder / "lfw", renamed(PAIRS, lambda n: n.replace("Person", "José")))
    for person in list(root.iterdir()):
        if person.is_dir():
            for path in person.iterdir():
                os.rename(os.fsencode(path), os.fsencode(person) + b"/" + path.name.encode("latin-1"))
            os.rename(os.fsencode(person), os.fsencode(root) + b"/" + person.name.encode("latin-1"))
    dataset = Lfw(path=str(root))
    faces, _ = dataset.evaluation(4, CTX)
    assert "José" in str(faces.sample_ids[0])
    return set_of(dataset, folder)


def calfw_dots(folder: Path) -> str:
    """Names with dots, and a protocol without suffixes."""
    root = files.write_calfw(folder / "calfw", renamed(PAIRS, lambda n: f"J.R.{n}"))
    path = root / "pairs_CALFW.txt"
    path.write_text(path.read_text().replace(".jpg", ""))
    return set_of(Calfw(path=str(root)), folder)


WHOLE = "60 images of 40 people, 40 pairs"
CALFW_NOTE = "the folds of impostor pairs are not part of the protocol: the k-th of them, tenth by tenth"
PROTOCOLS = [
    KindOfInput(kind="LFW as it is", expected=WHOLE, happened=lfw),
    KindOfInput(
        kind="LFW, one face not found",
        expected="59 images of 40 people, 38 pairs; 2 of 40 pairs are left out, because their image is missing: "
        "1 of 60 images, such as Person_Aa/Person_Aa_0002",
        happened=lambda folder: lacking(Lfw, files.write_lfw(folder / "lfw", PAIRS), "Person_Aa_0002.png"),
    ),
    KindOfInput(
        kind="LFW, a fifth of the faces not found",
        expected="refused: lfw/pairs.txt: line ...: the image ... is not in lfw (12 of the 60 images of the pair "
        "protocol, 20.0 %); pairs are left out if at most 5 % are lacking: the set is incomplete",
        happened=lambda folder: lacking(Lfw, files.write_lfw(folder / "lfw", PAIRS), "*[AB][abcd]_000?.png"),
    ),
    KindOfInput(
        kind="CALFW, one face not found",
        expected=f"59 images of 40 people, 38 pairs; {CALFW_NOTE}; 2 of 40 pairs are left out, ...",
        happened=lambda folder: lacking(Calfw, files.write_calfw(folder / "calfw", PAIRS), "Person_Aa_0002.jpg"),
    ),
    KindOfInput(
        kind="CFP, one face not found",
        expected="59 images of 20 people, 18 pairs; 1 of 20 pairs are left out, ...: 1 of 30 images, such as "
        "001/frontal/02.jpg",
        happened=lambda folder: lacking(CfpFf, files.write_cfp(folder / "cfp", CFP_PAIRS), "001/frontal/02.jpg"),
    ),
    KindOfInput(
        kind="AgeDB, one face not found",
        expected="29 images of 20 people, 18 pairs; 1 of 20 pairs are left out, ...: 1 of 30 images, such as "
        "1_Ann0_66_f",
        happened=lambda folder: lacking(AgeDb30, files.write_agedb(folder / "agedb", AGE_PAIRS), "1_Ann0_66_f.jpg"),
    ),
    KindOfInput(
        kind="LFW, names with dots and no suffix",
        expected=WHOLE,
        happened=lambda folder: lfw(folder, pairs=renamed(PAIRS, lambda n: f"J.R.{n}")),
    ),
    KindOfInput(kind="CALFW, names with dots and no suffix", expected=f"{WHOLE}; {CALFW_NOTE}", happened=calfw_dots),
    KindOfInput(
        kind="AgeDB, names with dots",
        expected="30 images of 20 people, 20 pairs",
        happened=lambda folder: set_of(
            AgeDb30(path=str(files.write_agedb(folder / "a", renamed(AGE_PAIRS, lambda n: n.replace("n", "n.R."))))),
            folder,
        ),
    ),
    KindOfInput(
        kind="a protocol in NFC and file names in NFD",
        expected=WHOLE,
        happened=lambda folder: other_form(folder, "NFC", "NFD"),
    ),
    KindOfInput(
        kind="a protocol in NFD and file names in NFC",
        expected=WHOLE,
        happened=lambda folder: other_form(folder, "NFD", "NFC"),
    ),
    KindOfInput(kind="file names in Latin-1 and a protocol in UTF-8", expected=WHOLE, happened=latin_names),
    KindOfInput(
        kind="a protocol with a byte order mark and CRLF",
        expected=WHOLE,
        happened=lambda folder: lfw(folder, lambda text: text.replace("\n", "\r\n").encode("utf-8-sig")),
    ),
    *(
        KindOfInput(
            kind=f"a protocol in {coding}",
            expected=WHOLE,
            happened=lambda folder, coding=coding: lfw(folder, lambda text: text.encode(coding)),
        )
        for coding in ("utf-16", "utf-16-le", "utf-16-be")
    ),
    KindOfInput(
        kind="a protocol in Latin-1 and file names in UTF-8",
        expected=WHOLE,
        happened=lambda folder: lfw(
            folder, lambda text: text.encode("latin-1"), renamed(PAIRS, lambda n: n.replace("Person", "Zoë"))
        ),
    ),
    KindOfInput(
        kind="a protocol with comments, blank lines and spaces at the ends",
        expected=WHOLE,
        happened=lambda folder: lfw(folder, lambda text: "# pairs of LFW\n\n" + text.replace("\n", " \t\n \n")),
    ),
    KindOfInput(
        kind="a protocol with spaces around tabs",
        expected=WHOLE,
        happened=lambda folder: lfw(folder, lambda text: text.replace("\t", " \t ").replace("10 \t ", "10\t")),
    ),
    KindOfInput(
        kind="a protocol without header",
        expected="refused: lfw/pairs.txt: line 1: expected a number of the header ..., found 'Person_Aa'",
        happened=lambda folder: lfw(folder, lambda text: text.split("\n", 1)[1]),
    ),
    KindOfInput(
        kind="a protocol that compares an image with itself",
        expected="60 images of 40 people, 38 pairs; 1 of 40 pairs are left out: they compare an image with itself",
        happened=lambda folder: lfw(folder, lambda text: text.replace("Person_Aa\t1\t2", "Person_Aa\t1\t1")),
    ),
]


@pytest.mark.parametrize("kind", PROTOCOLS, ids=str)
def test_protocols(kind: KindOfInput, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    check(kind, tmp_path / "input", record_property)


def test_left_out_pairs_keep_the_folds_of_the_others(tmp_path: Path) -> None:
    root = files.write_lfw(tmp_path / "lfw", PAIRS)
    (root / "Person_Aa" / "Person_Aa_0002.png").unlink()
    dataset = Lfw(path=str(root))
    pairs = dataset.collection().pairs
    assert pairs is not None
    assert pairs.fold.tolist() == [0] * 2 + [f for f in range(1, 10) for _ in range(4)]
    checks = {c.what: c for c in dataset.verify({})}
    assert all(c.ok for c in checks.values())
    assert "2 of 40 pairs are left out" in checks["layout"].found


def test_pairs_of_somebody_unknown_are_left_out(tmp_path: Path) -> None:
    from bench_facesets import locate
    from bench_facesets.readers import parquet

    found = locate.open_set(files.write_lfw(tmp_path / "lfw", PAIRS), "lfw")
    for name, lost in (("few", {"Person_Ac"}), ("many", {"Person_Aa", "Person_Ab"})):
        people = [None if p in lost else p for p in found.people or ()]
        parquet.write(found, tmp_path / "whole.parquet")
        table = pq.read_table(tmp_path / "whole.parquet")
        table = table.set_column(table.schema.get_field_index("subject"), "subject", pa.array(people))
        pq.write_table(table, tmp_path / f"{name}.parquet")
    few = FaceSet(path=str(tmp_path / "few.parquet"))
    assert set_of(few, tmp_path) == (
        "59 images of 39 people, 38 pairs; 1 of 40 pairs are left out: 1 of their images have a label that names "
        "nobody; 1 of 60 images are left out: their label names nobody (no label: 1)"
    )
    faces, pairs = few.evaluation(38, CTX)
    left, right = (faces.sample_ids[side] for side in (pairs.left, pairs.right))
    same = [str(a).split("/")[0] == str(b).split("/")[0] for a, b in zip(left, right, strict=True)]
    assert same == pairs.same.tolist()
    with pytest.raises(DataError, match=r"too many images have a label that names nobody .4 of the 60 images"):
        FaceSet(path=str(tmp_path / "many.parquet")).collection()


# ---- copies ----------------------------------------------------------------------------------------------------------


def jpeg(name: str, quality: int = 75) -> bytes:
    return files.encoded(files.picture(name), "jpeg", quality=quality)


def pictures(root: Path, more: Callable[[int, str], Iterator[tuple[str, bytes]]], count: int = 24) -> FaceSet:
    """Two pictures each of ``count`` people, and ``more`` files of each person."""
    for k in range(count):
        person = f"p{k:02d}"
        for shot in (0, 1):
            files.put(root / person / f"{shot}.png", files.png(f"{person}/{shot}"))
        for name, data in more(k, person):
            files.put(root / person / name, data)
    return FaceSet(path=str(root))


def noisy(root: Path) -> str:
    """Two pictures of each person: a face and independent noise of 8 of 255 levels."""
    rng = np.random.default_rng(0)
    for k in range(24):
        for shot in (0, 1):
            picture = files.picture(f"{k}") + rng.normal(0, 8, (112, 112, 3))
            files.put(root / f"p{k:02d}" / f"{shot}.png", files.encoded(np.clip(picture, 0, 255).astype(np.uint8)))
    dataset = FaceSet(path=str(root))
    return "; ".join([f"{dataset.max_pairs()} pairs", *dataset.status().notes])


def copied(folder: Path, more: Callable[[int, str], Iterator[tuple[str, bytes]]]) -> str:
    """What is noted about copies and what ``bench data verify`` finds wrong; no pair shows one picture twice."""
    dataset = pictures(folder / "set", more)

    def read() -> str:
        faces, pairs = dataset.evaluation(dataset.max_pairs(), CTX)
        shown = np.asarray(faces.images[:]).astype(int)
        assert (np.abs(shown[pairs.left] - shown[pairs.right]).mean(axis=(1, 2, 3)) > 20).all()
        wrong = [c.what for c in dataset.verify({}) if not c.ok]
        return "; ".join([f"{dataset.max_pairs()} pairs", *dataset.status().notes, *(f"not ok: {w}" for w in wrong)])

    return outcome(read, folder)


AGAIN = (
    "28 pairs; 48 of 96 images are copies of another image of the same person and are left out, such as ...; "
    "not ok: copies of pictures"
)
SHARED = (
    "28 pairs; {} of {} images show a picture that is labelled with several people and are left out, such as ...; "
    "not ok: copies of pictures"
)
BLACK = files.encoded(np.zeros((112, 112, 3), np.uint8))

COPIES = [
    KindOfInput(
        kind="no copies", expected="28 pairs", happened=lambda folder: copied(folder, lambda k, person: iter(()))
    ),
    KindOfInput(
        kind="every photo twice, as .png and .jpg",
        expected=AGAIN,
        happened=lambda folder: copied(
            folder, lambda k, person: ((f"{shot}.jpg", jpeg(f"{person}/{shot}")) for shot in (0, 1))
        ),
    ),
    KindOfInput(
        kind="every photo twice, the same bytes",
        expected=AGAIN,
        happened=lambda folder: copied(
            folder, lambda k, person: ((f"{shot} (1).png", files.png(f"{person}/{shot}")) for shot in (0, 1))
        ),
    ),
    KindOfInput(
        kind="every photo twice, as .png and .bmp",
        expected=AGAIN,
        happened=lambda folder: copied(
            folder,
            lambda k, person: ((f"{s}.bmp", files.encoded(files.picture(f"{person}/{s}"), "bmp")) for s in (0, 1)),
        ),
    ),
    KindOfInput(
        kind="one black placeholder per person",
        expected=SHARED.format(24, 72),
        happened=lambda folder: copied(folder, lambda k, person: iter([("none.png", BLACK)])),
    ),
    KindOfInput(
        kind="a placeholder saved as .png of some and .jpg of others",
        expected=SHARED.format(24, 72),
        happened=lambda folder: copied(
            folder, lambda k, person: iter([("none.png", files.png("?")) if k % 2 else ("none.jpg", jpeg("?"))])
        ),
    ),
    KindOfInput(
        kind="one photo under two names",
        expected=SHARED.format(2, 50),
        happened=lambda folder: copied(
            folder, lambda k, person: iter([("x.png", files.png("x"))] if k in (3, 4) else [])
        ),
    ),
    KindOfInput(
        kind="photos of one person that differ by noise only",
        expected="28 pairs",
        happened=lambda folder: outcome(lambda: noisy(folder / "set"), folder),
    ),
    KindOfInput(
        kind="nothing but copies",
        expected="refused: set: expected at least 10 people ..., found 0 of 24 people; 48 of 48 images ...",
        happened=lambda folder: outcome(
            lambda: str(pictures(folder / "set", lambda k, p: iter([("0.png", BLACK), ("1.png", BLACK)])).max_pairs()),
            folder,
        ),
    ),
]


@pytest.mark.parametrize("kind", COPIES, ids=str)
def test_copies(kind: KindOfInput, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    check(kind, tmp_path / "input", record_property)


def test_copies_are_remembered_by_the_digest_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = pictures(tmp_path / "set", lambda k, person: iter([("0.jpg", jpeg(f"{person}/0"))])).collection()
    first = Copies.within(found, "digest")
    assert first.usable.sum() == 48
    monkeypatch.setattr("bench_facesets.copies.decode", lambda *_: pytest.fail("decoded again"))
    np.testing.assert_array_equal(Copies.within(found, "digest").picture, first.picture)
    (kept,) = (tmp_path / "cache").rglob("*.npy")
    kept.write_bytes(b"damaged")
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    np.testing.assert_array_equal(Copies.within(found, "digest").picture, first.picture)


# ---- real faces ------------------------------------------------------------------------------------------------------

SUITE = """\
[suite]
name = "own"
[[experiment]]
name = "one"
datasets = [{{ plugin = "face-set", path = "{path}" }}]
authorised = [{{ plugin = "mobileface", weights_file = "{real}/weights/mobilefacenet-112x96.ckpt" }}]
evaluated = [{{ plugin = "mobileface", weights_file = "{real}/weights/mobilefacenet-112x96.ckpt" }}]
defenses = ["identity"]
pairs = 60
"""


def real_faces(people: int = 16) -> list[tuple[str, bytes]]:
    """The person and the bytes of each picture."""
    folders = sorted((Path(REAL) / "faces-att").iterdir())[:people]
    return [(folder.name, path.read_bytes()) for folder in folders for path in sorted(folder.glob("*.png"))]


def scores(computed: Callable[..., Computed], path: Path) -> tuple[float, float, float]:
    """The mean genuine and impostor scores, and the threshold."""
    done = computed(SUITE.format(path=path, real=REAL))
    assert not done.failures()
    (stage,) = (s for s in done.plan.stages.values() if s.cost_name.endswith("score:verification"))
    rows = done.cache.read(stage.key).tables["verification"].to_pandas()
    return (
        rows.cos_clean[rows.same].mean(),
        rows.cos_clean[~rows.same].mean(),
        rows.kappa_calibrated.iloc[0],
    )


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="BENCH_REAL names no folder with a real network and real faces")
def test_unknown_people_change_no_figure(tmp_path: Path, computed: Callable[..., Computed]) -> None:
    faces = real_faces()
    names = sorted({person for person, _ in faces})
    labels = [-1 if k % 7 == 0 else names.index(person) for k, (person, _) in enumerate(faces)]
    whole = pa.table({"image": [data for _, data in faces], "label": labels})
    pq.write_table(whole, tmp_path / "unlabelled.parquet")
    pq.write_table(whole.filter(pa.array(label >= 0 for label in labels)), tmp_path / "without.parquet")
    found = [scores(computed, tmp_path / f"{name}.parquet") for name in ("unlabelled", "without")]
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="BENCH_REAL names no folder with a real network and real faces")
def test_copies_and_placeholders_change_no_figure(tmp_path: Path, computed: Callable[..., Computed]) -> None:
    for k, (person, data) in enumerate(real_faces()):
        for kind in ("once", "twice"):
            files.put(tmp_path / kind / person / f"{k:03d}.a.png", data)
        saved = io.BytesIO()
        Image.open(io.BytesIO(data)).save(saved, "jpeg", quality=85)
        files.put(tmp_path / "twice" / person / f"{k:03d}.b.jpg", saved.getvalue())
        files.put(tmp_path / "twice" / person / "none.png", BLACK)
    assert scores(computed, tmp_path / "once") == scores(computed, tmp_path / "twice")

"""bench_facesets: who the people of a set are, and which of its pictures are copies; see `kinds_of_input`."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import faceset_files as files
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bench_facesets import FaceSet, FaceSetTraining, Lfw
from bench_facesets.people import escaped, names_nobody, number, spelling, tidy
from bench_facesets.readers.images import decode, oddities
from click.testing import CliRunner
from kinds_of_input import KindOfInput, check, outcome
from PIL import Image

from bench import comparable_name, without_invisible

ASKS = 'either they are one person or each part ...: set repeated_names = "joined" ..., or "apart" if they do not'


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, and no data folders."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_DATA", raising=False)


def counts(path: Path, **parameters: Any) -> str:
    """How many images of how many people a set has, and what its status notes."""

    def read() -> str:
        dataset = FaceSet(path=str(path), **parameters)
        found, status = dataset.collection(), dataset.status()
        assert status.missing is None, status.missing
        return "; ".join([f"{len(found.encoded)} images of {len(found.codes[1])} people", *status.notes])

    return outcome(read, path.parent).replace(f"{path.parent}/", "")


def folder_set(root: Path, names: Sequence[str], shots: int = 4, unique: bool = True) -> Path:
    """A folder of images for every name; with ``unique``, no two images have one name."""
    for k, name in enumerate(names):
        for shot in range(shots):
            files.put(root / name / (f"{k}-{shot}.png" if unique else f"{shot}.png"), files.png(f"{name}/{shot}"))
    return root


def folders(kind: str, expected: str, names: Sequence[str], unique: bool = True, **parameters: Any) -> KindOfInput:
    return KindOfInput(
        kind=kind,
        expected=expected,
        happened=lambda folder: counts(folder_set(folder / "set", names, unique=unique), **parameters),
    )


def columns(kind: str, expected: str, of: Mapping[str, Any], name: str = "x.parquet", **parameters: Any) -> KindOfInput:
    """Parquet of 80 images with further columns."""

    def happened(folder: Path) -> str:
        table = {"image": [files.png(str(k)) for k in range(80)], **of}
        path = folder / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(table), path)
        return counts(folder / "set", **parameters)

    return KindOfInput(kind=kind, expected=expected, happened=happened)


def table(kind: str, expected: str, text: str, name: str = "labels.csv", **parameters: Any) -> KindOfInput:
    """A table beside 80 images ``img/000000.png`` ...; in ``text``, ``{rows}`` of ``{path}`` and ``{person}``."""

    def happened(folder: Path) -> str:
        head, _, row = text.rpartition("|")
        for k in range(80):
            files.put(folder / "set" / "img" / f"{k:06}.png", files.png(str(k)))
        rows = (row.format(k=k, person=k // 4, name=f"Ann {chr(65 + k // 4)}") for k in range(80))
        files.put(folder / "set" / name, head + "\n".join(rows) + "\n")
        return counts(folder / "set" / name, **parameters)

    return KindOfInput(kind=kind, expected=expected, happened=happened)


TWENTY = [k // 4 for k in range(80)]
NAMES = [f"Person {chr(65 + k)}" for k in range(20)]
FAMILIES = [f"F{family:04}/MID{member}" for family in range(1, 13) for member in (1, 2, 3)]
PARTS = [f"part{part}/s{k}" for part in (1, 2) for k in range(1, 25)]

FOLDERS = [
    folders(
        "families of people (FIW)",
        "144 images of 36 people; people are the 36 folders in the 12 upper ones, which are families or groups, such "
        "as F0001/MID1",
        FAMILIES,
    ),
    folders(
        "families with pictures of strangers (FIW)",
        "144 images of 36 people; people are ...; 4 of 148 images are left out: their label names nobody "
        "('F0001/unrelated_and_nonfaces': 4)",
        [*FAMILIES, "F0001/unrelated_and_nonfaces"],
    ),
    folders(
        "families with relations as names",
        "96 images of 24 people; people are the 24 folders in the 12 upper ones...",
        [f"family{k}/{who}" for k in range(12) for who in ("father", "son")],
    ),
    folders(
        "families, person_level = 2",
        "144 images of 36 people; folders of 3 names occur in several folders and count as different people: MID1...",
        FAMILIES,
        person_level=2,
    ),
    folders(
        "sessions of numbered people",
        "refused: set: ... folders on two levels: ... set person_level = 1 ...",
        [f"session{k}/subject{person}" for k in range(24) for person in (1, 2)],
    ),
    folders("sessions of numbered people, person_level = 2", f"refused: set: ...{ASKS}",
            [f"session{k}/subject{person}" for k in range(2) for person in range(24)], person_level=2),
    folders("families, person_level = 1", "144 images of 12 people", FAMILIES, person_level=1),
    folders(
        "classes of numbered folders",
        "refused: set: ... folders on two levels: ... either could be the people: set person_level = 1 ...",
        [f"class{k}/{child}" for k in range(12) for child in (1, 2)],
    ),
    folders(
        "kinds of kinship (KinFaceW)",
        "refused: set: ... 4 folders (father-dau, father-son, mother-dau ...), which are kinds of faces and no people; "
        "list the images with their people in a table ...",
        ["father-dau", "father-son", "mother-dau", "mother-son"],
    ),
    folders(
        "kinds of emotion (FER2013, RAF-DB)",
        "refused: set: ... 7 folders (train/angry, ...), which are kinds of faces and no people...",
        [f"train/{kind}" for kind in ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")],
    ),
    folders(
        "people in folders of ethnic groups (RFW)",
        "96 images of 24 people",
        [f"{group}/m.0{number}{k}" for number, group in enumerate(("African", "Asian")) for k in range(10, 22)],
    ),
    folders(
        "people with and without masks",
        "160 images of 20 people; 20 people have folders of one name ... and are joined, as they have names: ...",
        [f"{kind}/Ann {chr(65 + k)}" for kind in ("with_mask", "without_mask") for k in range(20)],
    ),
    folders("parts with people of one number and files of one name", f"refused: set: ...{ASKS}", PARTS, unique=False),
    folders("parts with people of one number, repeated_names = joined",
            "192 images of 24 people; 24 people have folders of one name ... and are joined, as the suite says: s1, "
            "s10, s11 ...", PARTS, unique=False, repeated_names="joined"),
    folders("parts with people of one number, repeated_names = apart",
            "192 images of 48 people; folders of 24 names occur in several folders and count as different people: s1, "
            "s10, s11 ...", PARTS, unique=False, repeated_names="apart"),
    folders("parts with people of one number and files numbered through", f"refused: set: ...{ASKS}", PARTS),
    folders(
        "train and test of numbered people, divided by file",
        "192 images of 24 people; 24 people have folders of one name ... and are joined, as their files have different "
        "names: s1, s10, s11 ...",
        [f"{part}/s{k}" for part in ("train", "test") for k in range(1, 25)],
    ),
    folders("groups of people of one name", f"refused: set: ...{ASKS}",
            [f"{k % 2:02}/Ann {k // 2}x" for k in range(24)], person_level=2),
    *(
        KindOfInput(
            kind=f"folders that spread files ({name})",
            expected=f"refused: set: ... found 20 folders named after {how} of the names of their images, such as "
            f"{example}, and so seem to spread files, not people; name a table ... person_level = 1 ...",
            happened=lambda folder, pattern=pattern: counts(spread(folder / "set", pattern)),  # type: ignore[misc]
        )
        for name, pattern, how, example in (
            ("FFHQ", "{0}000/{0}00{1}.png", "the numbers", "10000/10000.png"),
            ("IMDB-WIKI", "{0}/nm00{1}{0}_rm7_1955.png", "the ends", "10/nm00010_rm7_1955.png"),
            ("digests", "{0}/{0}abc{1}77.png", "the beginnings", "10/10abc077.png"),
        )
    ),
    KindOfInput(
        kind="numbered people with their number in the names of images",
        expected="60 images of 20 people",
        happened=lambda folder: counts(spread(folder / "set", "{0}/{0}_{1}.png")),
    ),
    KindOfInput(
        kind="numbered people whose images are numbered after them",
        expected="60 images of 20 people",
        happened=lambda folder: counts(spread(folder / "set", "{0}/{0}0000{1}.png")),
    ),
    KindOfInput(
        kind="all pictures in one folder, names begin with the person",
        expected="refused: set: ... found 48 images that lie in no such folder: put ..., or name as the path a table "
        "..., or set person_pattern = '(.+)[-_ ][0-9]+' (...) if the names of images begin with the person: that would "
        "be 24 people, such as alice0",
        happened=lambda folder: counts(flat(folder / "set")),
    ),
    KindOfInput(
        kind="all pictures in one folder, with person_pattern",
        expected="48 images of 24 people; people are what '(.+)_[0-9]+' finds in the names of images",
        happened=lambda folder: counts(flat(folder / "set"), person_pattern="(.+)_[0-9]+"),
    ),
    KindOfInput(
        kind="a pattern that matches nothing",
        expected="refused: set: expected images whose path ... matches '(x)' (person_pattern), found none among 48 ...",
        happened=lambda folder: counts(flat(folder / "set"), person_pattern="(x)"),
    ),
    KindOfInput(
        kind="all pictures in one folder beside a table",
        expected="refused: set: ... 80 images that lie in one folder, img: ... images; labels.csv could be one, or ...",
        happened=lambda folder: [
            flat(folder / "set" / "img", 40),
            files.put(folder / "set" / "labels.csv", "x"),
            counts(folder / "set"),
        ][2],
    ),
]  # fmt: skip

ARCHIVES = {
    "set.zip": "unpack it first (zip and tar: bench data unpack ARCHIVE FOLDER)",
    "set.arrow": "write it as Parquet, with the method to_parquet ...",
    "set.feather": "write it as Parquet, with the method to_parquet ...",
    "set.npz": "write its images as PNG into a folder per person; ...",
    "set.idx": "name the .rec beside it",
    "set.tfrecord": "write the images into a folder per person, or as Parquet",
    "set.png": "name the folder of the images",
}
TABLES = [
    *(
        columns(f"Parquet with the column {name}", f"80 images of 20 people; people are read from the column '{name}'",
                {name: TWENTY})
        for name in ("identity", "person", "subject_id", "Person ID", "pid", "target", "class", "id", "celeb_id")
    ),
    columns("Parquet with a person and a label of two values",
            "80 images of 20 people; people are read from the column 'identity', and not from 'label'; person_column "
            "chooses another one", {"label": [k % 2 for k in range(80)], "identity": TWENTY}),
    columns("Parquet with a second column of pictures",
            "80 images of 20 people; images are read from the column 'image', and not from 'mask'; people are read "
            "from the column 'pid'", {"mask": [b"x"] * 80, "pid": TWENTY}),
    columns("Parquet, the column that person_column names", "80 images of 20 people", {"label": [0] * 80, "x": TWENTY},
            person_column="x"),
    columns("Parquet, person_column of no column", "refused: ...: expected the column 'y' (person_column), found x...",
            {"x": TWENTY}, person_column="y"),
    columns("Parquet without a column of people",
            "refused: ...found neither; no column names the person: found image, age, gender; looked for subject, "
            "person, identity, ... pid, ... label, ... target, ... class...", {"age": TWENTY, "gender": TWENTY}),
    columns("Parquet in data/ (Hugging Face)", "80 images of 20 people", {"label": TWENTY},
            "data/train-00000-of-00001.parquet"),
    columns("Parquet in default/train/ (Hugging Face)", "80 images of 20 people", {"label": TWENTY},
            "default/train/0000.parquet"),
    KindOfInput(
        kind="pictures of the documentation beside data/ (Hugging Face)",
        expected="240 images of 20 people; ...; 2 files are passed over, ...: .bin (1), .png (1), such as README.bin",
        happened=lambda folder: counts(files.put(hub(folder / "set") / "assets/x.png", files.png("x")).parents[1]),
    ),
    KindOfInput(
        kind="splits and shards in data/ (Hugging Face)",
        expected="240 images of 20 people; 20 labels (0, 1, 10 ...) occur in several parts of the set (test, train) "
        "and count as the same people; set repeated_names = \"apart\" if ...; 1 file is passed over, ...README.bin",
        happened=lambda folder: counts(hub(folder / "set")),
    ),
    KindOfInput(kind="splits and shards in data/, repeated_names = apart",
                expected="240 images of 40 people; 1 file is passed over, ...",
                happened=lambda folder: counts(hub(folder / "set"), repeated_names="apart")),
    table("a table with a header", "80 images of 20 people; people are read from the column 'identity'",
          "file,identity\n|img/{k:06}.png,{person}"),
    table("metadata.csv of Hugging Face", "80 images of 20 people", "file_name,label\n|img/{k:06}.png,{person}",
          "metadata.csv"),
    table("identity_CelebA.txt", "80 images of 20 people", "|{k:06}.png {person}", "identity_CelebA.txt"),
    table("a list of MXNet", "80 images of 20 people", "|{k}\t{person}\timg/{k:06}.png", "train.lst"),
    table("a list of InsightFace", "80 images of 20 people", "|1\timg/{k:06}.png\t{person}", "train.lst"),
    table("a table with paths of Windows and names", "80 images of 20 people; ... 'person'",
          "person;path\n|{name};.\\img\\{k:06}.png"),
    table("a table below comments", "80 images of 20 people", "# mine\n# all\nfile,label\n|img/{k:06}.png,{person}"),
    table("a table with paths of another machine", "refused: labels.csv: line 2: expected a path inside ..., found "
          "'/data/000000.png'", "file,label\n|/data/{k:06}.png,{person}"),
    table("a table without suffixes", "80 images of 20 people", "NAME_ID,label\n|img/{k:06},{person}"),
    table("a table without people (FairFace)",
          "refused: labels.csv: line 1: no column names the person: found age, gender, race; looked for subject...",
          "file,age,gender,race\n|img/{k:06}.png,3,M,White"),
    table("a table of pixels (FER2013)", "refused: labels.csv: the column 'pixels' holds images as numbers...",
          "emotion,pixels,Usage\n|{k},7 7 7,Training"),
    table("a list of pairs", "refused: labels.csv: line 1: expected a header, or a path and a person, found "
          "img/000000.png, img/000000.png; ...; pairs are read from the protocols of known sets only",
          "|img/{k:06}.png img/{k:06}.png"),
    table("a table of other images", "refused: labels.csv: line 2: the image other/000000.png is not in ... (80 of the "
          "80 images of the table do not exist); put the table ...", "file,label\n|other/{k:06}.png,{person}"),
    table("a table that leads out of its folder", "refused: ...line 2: expected a path inside ..., found '../x.png'...",
          "file,label\n|../x.png,{person}"),
    *(
        KindOfInput(
            kind=f"a file {name}",
            expected=f"refused: {name}: expected a folder, .bin, .parquet, .rec, or a table (.csv, .tsv, .txt, .lst) "
            f"of images and people, found {Path(name).suffix}; {advice}",
            happened=lambda folder, name=name: counts(files.put(folder / name, b"x")),
        )
        for name, advice in ARCHIVES.items()
    ),
]  # fmt: skip

LABELS = [
    folders("folders 3 and 003", "80 images of 19 people; numbers that differ only in the zeros before them, or in "
            ".0, are ...: 1 people ('003' = '3'); rename ...", ["003", *map(str, range(1, 20))]),
    columns("texts 3 and 003 in Parquet", "80 images of 20 people; numbers that differ only in the ...: 20 people "
            "('0' = '000'; ...", {"label": [f"{k // 4:0{1 + 2 * (k % 2)}}" for k in range(80)]}),
    folders("folders whose names have characters that nobody sees",
            "100 images of 20 people; invisible characters are left out of 5 names of people (...\\u200b...); "
            "spellings of one name are taken as one person: 5 people (...)",
            [*NAMES, "Person\u200b A", "Person B\U000e0041", "Person\u2028C", "Person\ufe0f D", "Person\u3164E"]),
    folders("folders that a system copied", "88 images of 22 people; names that look like copies of a folder are taken "
            "as different people: 2 ('Person A', 'Person A - Copy'; 'Person B', 'Person B (2)')",
            [*NAMES, "Person A - Copy", "Person B (2)"]),
    columns("labels that consist of what nobody sees", "76 images of 19 people; 4 of 80 images are left out: ...",
            {"label": ["\u200b\u2060" if k < 4 else NAMES[k // 4] for k in range(80)]}),
]  # fmt: skip


def flat(root: Path, people: int = 24) -> Path:
    for k in range(people):
        for shot in (1, 2):
            files.put(root / f"alice{k}_{shot:02}.png", files.png(f"{k}/{shot}"))
    return root


def spread(root: Path, pattern: str) -> Path:
    """20 folders with 3 pictures each; ``pattern`` gets the numbers of both."""
    for folder in range(10, 30):
        for k in range(3):
            files.put(root / pattern.format(folder, k), files.png(f"{folder}/{k}"))
    return root


def hub(root: Path) -> Path:
    """Two shards of one split and one of another, with the same labels."""
    (root / "data").mkdir(parents=True)
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        images = [files.png(f"{name}{k}") for k in range(80)]
        pq.write_table(pa.table({"image": images, "label": TWENTY}), root / "data" / f"{name}.parquet")
    files.put(root / "README.md", "x")
    files.put(root / "README.bin", "x")
    return root


@pytest.mark.parametrize("kind", [*FOLDERS, *TABLES, *LABELS], ids=str)
def test_kinds_of_sets(kind: KindOfInput, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Each kind is read with the right people, or refused in words."""
    check(kind, tmp_path / "input", record_property)


@pytest.mark.parametrize(
    ("choice", "name"), [("person_column", "set"), ("person_column", "x.bin"), ("person_pattern", "x.bin")]
)
def test_a_choice_without_effect_is_an_error(tmp_path: Path, choice: str, name: str) -> None:
    folder_set(tmp_path / "set", NAMES)
    files.write_bin(tmp_path / "x.bin", files.protocol_pairs())
    assert f"refused: {name}: {choice}: expected" in counts(tmp_path / name, **{choice: "(x)"})


@pytest.mark.parametrize(
    "choices",
    [{"person_pattern": "("}, {"person_pattern": "x"}, {"person_pattern": "(x)", "person_level": 1}],
)
def test_choices_that_cannot_be_are_refused(choices: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="person_pattern: expected"):
        FaceSet(path="x", **choices)


def test_numbers_in_groups_cannot_be_compared_with_other_sets() -> None:
    assert comparable_name("F0001/MID1") == comparable_name("part1/s1") == ""
    assert comparable_name("family1/Ann") == "family1ann"


def test_a_table_names_the_right_people(tmp_path: Path) -> None:
    for k in range(4):
        files.put(tmp_path / f"{k}.png", files.png(str(k)))
    files.put(tmp_path / "t.csv", "file,person\n3.png,Ann\n0.png,Bob\n2.png,Ann\n0.png,Bob\n")
    found = FaceSet(path=str(tmp_path / "t.csv")).collection()
    assert dict(zip(found.ids, found.people or (), strict=True)) == {"0.png": "Bob", "2.png": "Ann", "3.png": "Ann"}
    assert np.array_equal(decode(found.encoded.read(2), "x").transpose(1, 2, 0), files.picture("3"))
    assert FaceSetTraining(path=str(tmp_path / "t.csv")).people() == ["Bob", "Ann"]
    files.put(tmp_path / "t.csv", "file,person\n3.png,Ann\n3.png,Bob\n")
    assert "line 3: 3.png: expected the person Ann, as in a line above, found Bob" in counts(tmp_path / "t.csv")


def test_absolute_paths_of_a_table_may_lie_in_its_folder(tmp_path: Path) -> None:
    for k in range(2):
        files.put(tmp_path / "set" / "img" / f"{k}.png", files.png(str(k)))
    path = files.put(tmp_path / "set" / "t.csv", f"file,person\n{tmp_path}/set/img/1.png,Ann\nimg/0.png,Bob\n")
    found = FaceSet(path=str(path)).collection()
    assert dict(zip(found.ids, found.people or (), strict=True)) == {"img/0.png": "Bob", "img/1.png": "Ann"}
    for wrong in (f"{tmp_path}/secret.png", f"{tmp_path}/set/../secret.png", f"{tmp_path}/set2/1.png"):
        files.put(path, f"file,person\n{wrong},Ann\n")
        assert "refused: " in counts(path)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("3", "003", True), ("3", "3.0", True), ("person_3", "Person_03", True), ("s1/02", "s01/2", True),
     ("0", "000", True), ("3", "30", False), ("m.03b", "m.3b", False), ("a0b", "a00b", False)],
)  # fmt: skip
def test_zeros_before_a_number(one: str, other: str, same: bool) -> None:
    assert (number(spelling(one)) == number(spelling(other))) == same


@pytest.mark.parametrize(
    "hidden", "\u00ad\u034f\u061c\u17b4\u180e\u200b\u200d\u2060\u2066\ufe0f\ufeff\U000e0041\U000e0100\x07\x7f"
)
def test_what_nobody_sees_is_no_part_of_a_name(hidden: str) -> None:
    name = f"An{hidden}n Smith{hidden}"
    assert tidy(name) == without_invisible(name) == "Ann Smith"
    assert comparable_name(name) == "annsmith"
    assert hidden not in escaped(name)
    assert names_nobody(f"{hidden} {hidden}")


# ---- pictures --------------------------------------------------------------------------------------------------------


def saved(pixels: Any, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["png", "tiff", "jpeg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_no_orientation_is_applied_to_aligned_faces(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    smooth = np.arange(112, dtype=np.uint8)[:, None, None] + np.arange(0, 336, 3, dtype=np.int64)[None, :, None] // 4
    picture = np.repeat(smooth, 3, axis=2).astype(np.uint8)
    data = saved(picture, kind, exif=exif, **({"quality": 100} if kind == "jpeg" else {}))
    assert np.abs(decode(data, "x").transpose(1, 2, 0).astype(int) - picture).max() <= 3
    assert oddities(data) == (orientation != 1, False)


@pytest.mark.parametrize(("kind", "order"), [("png", "<u2"), ("tiff", "<u2"), ("tiff", ">u2")])
def test_grey_of_16_bits_is_divided_by_257(kind: str, order: str) -> None:
    values = np.linspace(0, 65535, 112 * 112).astype(np.uint16).reshape(112, 112)
    data = saved(values.astype(order), kind)
    found = decode(data, "x")
    assert np.array_equal(found, np.repeat(np.rint(values / 257).astype(np.uint8)[None], 3, axis=0))
    assert oddities(data) == (False, True)


def test_orientations_and_bits_are_said_everywhere(tmp_path: Path) -> None:
    from bench_facesets.commands import convert

    root = folder_set(tmp_path / "set", NAMES)
    exif = Image.Exif()
    exif[0x0112] = 6
    files.put(root / NAMES[0] / "turned.tif", saved(files.picture("x"), "tiff", exif=exif))
    files.put(root / NAMES[1] / "wide.png", saved(np.full((112, 112), 3000, np.uint16), "png"))
    expected = [
        f"1 image has an EXIF orientation, which is not applied to aligned faces: look at {root}/Person A/turned.tif",
        f"1 image has grey values of 16 bits, which are divided by 257 and rounded: look at {root}/Person B/wide.png",
    ]
    dataset = FaceSet(path=str(root))
    assert list(dataset.status().notes[-2:]) == expected == list(FaceSetTraining(path=str(root)).status().notes[-2:])
    assert list(dataset.status().notes[-2:]) == expected, "remembered"
    assert [c.found for c in dataset.verify({}) if c.what in ("orientation", "bits")] == expected
    output = CliRunner().invoke(convert, [str(root), str(tmp_path / "x.parquet")]).output
    assert all(f"note: {sentence}\n" in output for sentence in expected)


def face(seed: int) -> files.Pixels:
    """Smooth pixels, which differ from those of every other seed."""
    coarse = np.random.default_rng(seed).integers(40, 190, (7, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((112, 112), Image.Resampling.BICUBIC))


CHANGES: Mapping[str, Callable[[files.Pixels], bytes]] = {
    "mirrored": lambda pixels: files.encoded(np.ascontiguousarray(pixels[:, ::-1])),
    "brighter": lambda pixels: files.encoded(np.clip(pixels.astype(int) + 40, 0, 255).astype(np.uint8)),
    "darker": lambda pixels: files.encoded((pixels * 0.6).astype(np.uint8)),
    "of another gamma": lambda pixels: files.encoded((255 * (pixels / 255) ** 1.3).astype(np.uint8)),
    "saved again, mirrored": lambda pixels: files.encoded(np.ascontiguousarray(pixels[:, ::-1]), "jpeg", quality=40),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_noticed(tmp_path: Path, change: str) -> None:
    for k in range(20):
        for shot in (0, 1):
            files.put(tmp_path / "set" / NAMES[k] / f"{shot}.png", files.encoded(face(2 * k + shot)))

    def verified() -> tuple[bool, str]:
        return next(
            (c.ok, c.found) for c in FaceSet(path=str(tmp_path / "set")).verify({}) if c.what == "changed copies"
        )

    assert verified() == (True, "none")
    files.put(tmp_path / "set" / NAMES[1] / "copy.png", CHANGES[change](face(0)))
    assert verified() == (
        False,
        "1 pairs of images of different people (Person A/0.png and Person B/copy.png) look like one picture that was "
        "mirrored, made brighter or darker, or saved again",
    )


@pytest.mark.parametrize("change", CHANGES)
def test_genuine_pairs_of_copies_are_noticed(tmp_path: Path, change: str) -> None:
    pairs = files.protocol_pairs()
    root = files.write_lfw(tmp_path / "lfw", pairs)
    for k, path in enumerate(sorted(root.rglob("*.png"))):
        files.put(path, files.encoded(face(k)))
    left, right, *_ = next(pair for pair in pairs if pair[2])
    copy = CHANGES[change](np.asarray(Image.open(root / left.rsplit("_", 1)[0] / f"{left}.png")))
    files.put(root / right.rsplit("_", 1)[0] / f"{right}.png", copy)
    found = {c.what: c for c in Lfw(path=str(root)).verify({})}
    assert found["near-duplicates in genuine pairs"].found.startswith("1 genuine pairs look like one picture; Person_")
    assert not found["near-duplicates in genuine pairs"].ok
    assert found["near-duplicates in impostor pairs"].ok


def test_a_folder_that_cannot_be_looked_at_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder_set(tmp_path / "set", NAMES)
    stat = os.stat

    def closed(path: Any, *rest: Any, **options: Any) -> os.stat_result:
        if str(path).endswith("Person C"):
            raise PermissionError(13, "Permission denied")
        return stat(path, *rest, **options)

    monkeypatch.setattr("bench_facesets.readers.safe_paths.os.stat", closed)
    assert counts(root) == "refused: set/Person C: expected a readable folder: Permission denied"


def test_what_to_do_about_images_of_a_wrong_size_is_said_once(tmp_path: Path) -> None:
    root = folder_set(tmp_path / "set", NAMES)
    for path in sorted(root.rglob("*.png"))[:3]:
        Image.open(path).resize((64, 64)).save(path)
    found = {check.what: check.found for check in FaceSet(path=str(root)).verify({})}["images"]
    assert found.startswith("77 of 80 images of 112 x 112; ")
    assert found.count("found 64 x 64") == 3
    assert found.count("align the set first: bench data align SRC DST") == 1

"""bench_facesets: kinds of files and folders of faces as people really have them; see `kinds_of_input`."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import faceset_files as files
import numpy as np
import pytest
from bench_facesets import FaceSet, FaceSetTraining, Lfw
from bench_facesets.alignment.folder import REPORT, align_folder
from bench_facesets.readers import archives, parquet
from bench_facesets.readers.images import DecodedImages, decode
from kinds_of_input import KindOfInput, check, outcome
from PIL import Image
from test_facesets_alignment import FakeDetector

from bench.api.search_paths import places_named, use_suite_folder
from bench.core import stamps

PAIRS = files.protocol_pairs()
PEOPLE = {f"p{k:02d}": 2 for k in range(16)}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, and no data folders."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCH_SUITE_FOLDER", str(tmp_path))
    monkeypatch.delenv("BENCH_DATA", raising=False)


# ---- what happened ---------------------------------------------------------------------------------------------------


def counts(root: Path, **parameters: Any) -> str:
    """How many images of how many people a set has, and what its status notes."""

    def read() -> str:
        dataset = FaceSet(path=str(root), **parameters)
        found, notes = dataset.collection(), dataset._status(None).notes
        people = "unnamed people" if found.people is None else f"{len(found.codes[1])} people"
        return "; ".join([f"{len(found.encoded)} images of {people}", *notes])

    return outcome(read, root.parent)


def pixels(data: bytes, expected: files.Pixels | None = None) -> str:
    """What becomes of the bytes of an image of 112 x 112."""

    def read() -> str:
        found = decode(data, "x").transpose(1, 2, 0)
        if expected is None:
            return "read"
        return f"its pixels, within {np.abs(found.astype(int) - expected).max()}"

    return outcome(read, Path("/nowhere"))


def verified(root: Path) -> str:
    """The checks of ``bench data verify`` that fail."""
    return "; ".join(f"{c.what}: {c.found}" for c in FaceSet(path=str(root)).verify({}) if not c.ok) or "all ok"


def aligned(root: Path) -> str:
    """How many crops ``bench data align`` makes, and what ``not-found.csv`` lists."""

    def run() -> str:
        target = root.parent / "aligned"
        tally = align_folder(root, target, FakeDetector(), min_score=0.5)
        with (target / REPORT).open(newline="", encoding="utf-8") as file:
            rows = [f"{row['path']} {row['reason']}: {row['detail']}" for row in csv.DictReader(file)]
        return "; ".join([f"{tally.found} of {tally.images} found", *rows])

    return outcome(run, root.parent)


# ---- inputs ----------------------------------------------------------------------------------------------------------


def people(root: Path, name: str = "{0}", count: int = 16) -> Path:
    """Two pictures of every person, in the folder that ``name`` makes of the person's number."""
    for k in range(count):
        for shot in range(2):
            files.put(
                root / name.format(f"p{k:02d}", k, k % 3, "frontal") / f"{k}-{shot}.png", files.png(f"{k}/{shot}")
            )
    return root


def saved(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    """The picture ``x`` in a format and a mode of Pillow."""
    out = io.BytesIO()
    Image.fromarray(files.picture("x")).convert(mode).save(out, kind, **options)
    return out.getvalue()


def frames(kind: str) -> bytes:
    """Three pictures in one file."""
    pictures = [Image.fromarray(files.picture(name)) for name in "xyz"]
    out = io.BytesIO()
    pictures[0].save(out, kind, save_all=True, append_images=pictures[1:])
    return out.getvalue()


def beside(root: Path, others: Mapping[str, bytes]) -> Path:
    """A set of 16 people with further files."""
    people(root)
    for name, data in others.items():
        files.put(root / name, data)
    return root


def array(values: Any, kind: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, kind)
    return out.getvalue()


def set_back(folder: Path) -> str:
    """Change all pictures of one size and time, set the time back, and compare the digests."""
    for k in range(32):
        files.put(folder / f"p{k // 2:02d}" / f"{k}.bmp", files.encoded(files.picture(str(k)), "bmp"))

    def digest() -> str:
        for path in folder.rglob("*.bmp"):
            os.utime(path, ns=(10**18, 10**18))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stamps, "_SETTLED_NS", 0)
            return FaceSet(path=str(folder)).fingerprint()

    before, same = digest(), digest()
    for path in folder.rglob("*.bmp"):
        path.write_bytes(path.read_bytes()[:54] + path.read_bytes()[:53:-1])
    return f"{'one digest' if before == same else 'two digests'}, then {'the same' if digest() == same else 'another'}"


def moved_deeper(folder: Path) -> str:
    """Add a person's picture two folders below a set that was read before."""
    dataset = FaceSet(path=str(people(folder / "set")))
    before = dataset.fingerprint()
    files.put(folder / "set" / "p00" / "new.png", files.png("new"))
    return (
        "another digest" if dataset.fingerprint() != before and len(dataset.collection().encoded) == 33 else "the same"
    )


def hub(folder: Path) -> Path:
    """A snapshot as huggingface_hub keeps it: links to files that are named by their digests."""
    people(folder / "plain")
    repository = folder / "hub" / "datasets--me--faces"
    for number, path in enumerate(sorted((folder / "plain").rglob("*.png"))):
        link = repository / "snapshots" / "abc" / path.relative_to(folder / "plain")
        blob = files.put(repository / "blobs" / f"{number:064x}", path.read_bytes())
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return repository / "snapshots" / "abc"


def linked(folder: Path, link: str, target: str) -> Path:
    root = people(folder / "set")
    files.put(folder / "secret" / "1.png", files.png("secret"))
    (root / link).symlink_to(target)
    return root


def unpacked(folder: Path, kind: str) -> str:
    """Unpack an archive that a Mac made, and read it."""
    members = {f"faces/p{k // 2}/{k}.png": files.png(str(k)) for k in range(32)}
    members |= {f"__MACOSX/faces/p{k // 2}/._{k}.png": b"\0\5\x16\7" for k in range(32)}
    members |= {"faces/.DS_Store": b"x", "faces/Thumbs.db": b"x"}
    path = folder / f"x.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(path, "w") as tar:
            for name, data in members.items():
                info = tarfile.TarInfo(f"./{name}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    done = archives.unpack(path, folder / "out")
    return f"{done.files} files, {done.debris} left out; {counts(folder / 'out')}"


def turned(folder: Path, kind: str) -> str:
    """A photo that a phone was held sideways for, beside the same photo upright."""
    upright = np.random.default_rng(3).integers(100, 256, (90, 80, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it
    files.put(folder / "in" / "2.png", files.encoded(upright))
    options = {"quality": 100, "subsampling": 0} if kind == "jpeg" else {}
    sideways = files.encoded(np.ascontiguousarray(np.rot90(upright)), kind, exif=exif, **options)
    files.put(folder / "in" / f"1.{kind}", sideways)
    align_folder(folder / "in", folder / "out", FakeDetector(), min_score=0.5)
    one, two = (np.asarray(Image.open(folder / "out" / f"{k}.png")).astype(int) for k in (1, 2))
    return "upright" if np.abs(one - two).mean() < 3 else "sideways"


def orientations(folder: Path) -> str:
    """What verify says of aligned faces with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = 6
    root = beside(folder / "set", {"p00/turned.jpg": files.encoded(files.picture("x"), "jpeg", exif=exif)})
    found = [c for c in FaceSet(path=str(root)).verify({}) if c.what in ("images", "orientation")]
    return "; ".join(f"{c.what}: {c.found}" for c in found).replace(f"{folder}/", "")


def beside_parquet(folder: Path) -> str:
    """A folder of Parquet with a folder of pictures in it, which is not read."""
    parquet.write(FaceSet(path=str(people(folder / "set"))).collection(), folder / "set" / "x.parquet")
    return counts(folder / "set")


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield


def relative(folder: Path, lies_in: str) -> str:
    """A suite in one folder, a working folder, and a set with a relative path."""
    if lies_in:
        people(folder / lies_in / "faces" / "mine")
    with working_in(folder / "work"):
        (folder / "suites").mkdir(exist_ok=True)
        use_suite_folder(folder / "suites")

        def read() -> str:
            status = FaceSet(path="faces/mine").status()
            return f"{status.images} images, from {status.where}".replace(f"{folder}/", "")

        return outcome(read, folder)


def piped(folder: Path) -> Path:
    root = people(folder / "set")
    os.mkfifo(root / "p00" / "pipe.png")
    return root


def unreadable(folder: Path) -> str:
    """A folder that may not be read; tests may run as root, who may read everything."""
    root = people(folder / "set")
    real = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path).name == "p03":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        return counts(root)


def odd_names(folder: Path) -> str:
    """Names with a line break and with bytes that are not UTF-8."""
    root = people(folder / "set")
    files.put(root / "a\nError: b" / "x\n.png", files.png("x"))
    os.makedirs(os.fsencode(root) + b"/caf\xe9")
    with open(os.fsencode(root) + b"/caf\xe9/1.png", "wb") as file:
        file.write(files.png("y"))
    found = FaceSet(path=str(root)).collection()
    names = [*found.ids, *(found.people or ()), *(found.encoded.name(k) for k in range(len(found.encoded)))]
    all(name.encode("utf-8") for name in names)
    lines = max(len(name.splitlines()) for name in names)
    return f"{len(found.codes[1])} people; each name in {lines} line"


def faces_of(folder: Path) -> str:
    """The pixels of the first two pictures of a training set."""
    found = FaceSetTraining(path=str(folder)).images(np.arange(2)).transpose(0, 2, 3, 1)
    expected = [files.picture("0/0"), files.picture("0/1")]
    return "the right pixels" if np.array_equal(found, expected) else "other pixels"


def paired(path: Path) -> str:
    """Whether the pairs of a set show the right pictures."""
    found = FaceSet(path=str(path)).collection()
    assert found.pairs is not None
    images = DecodedImages(found.encoded, found.pairs.left)[:].transpose(0, 2, 3, 1)
    right = np.array_equal(images, [files.picture(left) for left, *_ in PAIRS])
    return f"{len(found.pairs)} pairs, {'the right' if right else 'other'} pixels"


# ---- the kinds -------------------------------------------------------------------------------------------------------


def lossless(kind: str, suffix: str, near: int = 0, **options: Any) -> KindOfInput:
    """A format that Pillow decodes, as a set of 16 people."""

    def happened(folder: Path) -> str:
        data = saved(kind, **options)
        for k in range(32):
            files.put(folder / "set" / f"p{k // 2}" / f"{k}{suffix}", data)
        return f"{counts(folder / 'set')}; {pixels(data, files.picture('x'))}"

    return KindOfInput(
        kind=f"pictures as {suffix}", expected=f"32 images of 16 people; its pixels, within {near}", happened=happened
    )


def layout(kind: str, expected: str, *names: str, **parameters: Any) -> KindOfInput:
    """Folders of 16 people, in one or several layouts."""

    def happened(folder: Path) -> str:
        for name in names:
            people(folder / "set", name)
        return counts(folder / "set", **parameters)

    return KindOfInput(kind=kind, expected=expected, happened=happened)


def with_files(kind: str, expected: str, **others: bytes) -> KindOfInput:
    """A set with further files beside the pictures of a person."""
    return KindOfInput(
        kind=kind,
        expected=expected,
        happened=lambda folder: counts(
            beside(folder / "set", {name.replace("__", ".", 1): data for name, data in others.items()})
        ),
    )


HEIC = b"\0\0\0\x18ftypheic" + bytes(100)
TWO_LEVELS = "refused: set: expected folders of images, one per person, found folders on two levels: ... in them; "
TWO_LEVELS += "either could be the people: set person_level = 1 ...or person_level = 2 if ..."

FORMATS = [
    lossless("TIFF", ".tif"),
    lossless("TIFF", ".TIFF", compression="tiff_lzw"),
    lossless("GIF", ".gif"),
    lossless("JPEG", ".jfif", 4, quality=100, subsampling=0),
    lossless("JPEG", ".jpe", 4, quality=100, subsampling=0),
    lossless("WEBP", ".webp", lossless=True),
    lossless("PPM", ".pnm"),
    lossless("JPEG2000", ".jp2"),
    lossless("BMP", ".dib"),
    lossless("PCX", ".pcx"),
    lossless("SGI", ".rgb"),
    lossless("PNG", ".PNG"),
    KindOfInput(
        kind="a GIF that is animated",
        expected="refused: x: expected one picture, found several: an animation, or a file of pages; ...",
        happened=lambda folder: pixels(frames("gif")),
    ),
    KindOfInput(
        kind="an animated PNG",
        expected="refused: x: expected one picture, found several...",
        happened=lambda folder: pixels(frames("png")),
    ),
    KindOfInput(
        kind="a TIFF of several pages",
        expected="refused: x: expected one picture, found several...",
        happened=lambda folder: pixels(frames("tiff")),
    ),
    KindOfInput(
        kind="a photo that a phone saved with a second picture (MPO named .jpg)",
        expected="its pixels, within 0",
        happened=lambda folder: pixels(frames("mpo"), np.asarray(Image.open(io.BytesIO(saved("jpeg"))))),
    ),
    KindOfInput(
        kind="HEIC named .jpg",
        expected="refused: x: expected an image (...), found HEIC; convert it to JPEG or PNG first, ... pillow-heif",
        happened=lambda folder: pixels(HEIC),
    ),
    KindOfInput(
        kind="an empty file named .png",
        expected="refused: x: expected an image (...), found an empty file",
        happened=lambda folder: pixels(b""),
    ),
    KindOfInput(
        kind="a pointer of Git LFS instead of a picture",
        expected="refused: x: expected an image (...), found a pointer of Git LFS; ...git lfs pull",
        happened=lambda folder: pixels(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"),
    ),
    KindOfInput(
        kind="a web page instead of a picture",
        expected="refused: x: expected an image (...), found a web page; download the file itself",
        happened=lambda folder: pixels(b"<!DOCTYPE html><html>404</html>"),
    ),
    KindOfInput(
        kind="PNG of 16 bits",
        expected="its pixels, within 0",
        happened=lambda folder: pixels(
            array(np.full((112, 112), 30000, np.uint16), "png"), np.full((112, 112, 3), 117, np.uint8)
        ),
    ),
    KindOfInput(
        kind="TIFF of floats",
        expected="refused: x: expected 8 bits per channel, found the pixel mode F; convert it first",
        happened=lambda folder: pixels(array(np.full((112, 112), 0.5, np.float32), "tiff")),
    ),
    KindOfInput(
        kind="TIFF in the colour space Lab",
        expected="refused: x: expected 8 bits per channel, found the pixel mode LAB; convert it first",
        happened=lambda folder: pixels(saved("tiff", "LAB")),
    ),
    KindOfInput(
        kind="JPEG in CMYK",
        expected="its pixels, within 0",
        happened=lambda folder: pixels(
            saved("jpeg", "CMYK", quality=100),
            np.asarray(Image.open(io.BytesIO(saved("jpeg", "CMYK", quality=100))).convert("RGB")),
        ),
    ),
    KindOfInput(
        kind="PNG with a palette and transparency",
        expected="its pixels, within 0",
        happened=lambda folder: pixels(
            saved("png", "P", transparency=0),
            np.asarray(Image.fromarray(files.picture("x")).convert("P").convert("RGB")),
        ),
    ),
    KindOfInput(
        kind="PNG of one bit",
        expected="its pixels, within 0",
        happened=lambda folder: pixels(
            saved("png", "1"), np.asarray(Image.fromarray(files.picture("x")).convert("1").convert("RGB"))
        ),
    ),
    KindOfInput(
        kind="a picture of 30,000 x 30,000 pixels in a small file",
        expected="refused: x: expected at most 64,000,000 pixels...",
        happened=lambda folder: pixels(array(np.zeros((9000, 30000), np.uint8), "png")),
    ),
]

FILES = [
    KindOfInput(
        kind="changed pictures under the old time and size",
        expected="one digest, then another",
        happened=set_back,
    ),
    KindOfInput(
        kind="a new picture two folders below a set that was read before",
        expected="another digest",
        happened=moved_deeper,
    ),
    with_files(
        "photos as .heic beside others",
        "32 images of 16 people; 2 files are passed over, not read as images: .heic (2), such as "
        "p00/a.heic; convert them to JPEG or PNG first, for example with the Python library pillow-heif",
        **{"p00/a__heic": HEIC, "p01/b__HEIC": HEIC},
    ),
    with_files(
        "raw photos, videos and files without suffix beside pictures",
        "32 images of 16 people; 4 files are passed over, not read as images: .nef (2), .mov (1), "
        "no suffix (1), such as p00/IMG_3",
        **{"p00/a__nef": b"x", "p00/b__nef": b"x", "p00/c__mov": b"x", "p00/IMG_3": b"x"},
    ),
    with_files(
        "texts and tables beside pictures", "32 images of 16 people", **{"p00/a__txt": b"x", "names__csv": b"x"}
    ),
    KindOfInput(
        kind="what verify says of files that are passed over",
        expected="passed over: 1 file is passed over, not read as images: .tga (1), such as p00/a.tga",
        happened=lambda folder: verified(beside(folder / "set", {"p00/a.tga": b"x"})),
    ),
    KindOfInput(
        kind="what not-found.csv lists of files that are passed over",
        expected="32 of 34 found; p00/a.heic not read: not read as an image: .heic; convert ...pillow-heif; "
        "p01/b.gif unreadable: expected one picture, found several...",
        happened=lambda folder: aligned(beside(folder / "set", {"p00/a.heic": HEIC, "p01/b.gif": frames("gif")})),
    ),
    KindOfInput(
        kind="a folder of .heic only",
        expected="refused: set: expected images (any depth of folders), found none; 1 file is passed over...heif",
        happened=lambda folder: aligned(files.put(folder / "set" / "a.heic", HEIC).parent),
    ),
    KindOfInput(kind="a JPEG held sideways, aligned", expected="upright", happened=lambda f: turned(f, "jpeg")),
    KindOfInput(kind="a PNG held sideways, aligned", expected="upright", happened=lambda f: turned(f, "png")),
    KindOfInput(kind="a TIFF held sideways, aligned", expected="upright", happened=lambda f: turned(f, "tiff")),
    KindOfInput(
        kind="aligned faces that still have the EXIF orientation of their photo",
        expected="images: 33 of 33 images of 112 x 112; orientation: 1 image has an EXIF orientation, which is not "
        "applied to aligned faces: look at set/p00/turned.jpg",
        happened=orientations,
    ),
    KindOfInput(
        kind="a folder of pictures beside Parquet",
        expected="32 images of 16 people; 32 files are passed over, not read as images: .png (32), such as p00/0-0.png",
        happened=beside_parquet,
    ),
    KindOfInput(
        kind="an empty folder",
        expected="refused: set: expected folders of images, one per person (subject/image.png), found none",
        happened=lambda folder: [(folder / "set").mkdir(), counts(folder / "set")][1],
    ),
    KindOfInput(
        kind="a folder that may not be read",
        expected="refused: set/p03: expected a readable folder: Permission denied",
        happened=unreadable,
    ),
    KindOfInput(
        kind="a folder with the name of an image",
        expected="34 images of 17 people",
        happened=lambda folder: counts(
            beside(folder / "set", {"q.jpg/1.png": files.png("a"), "q.jpg/2.png": files.png("b")})
        ),
    ),
    KindOfInput(
        kind="a pipe with the name of an image",
        expected="32 images of 16 people; 1 file is passed over, ...: pipe or device (1), such as p00/pipe.png",
        happened=lambda folder: counts(piped(folder)),
    ),
    KindOfInput(
        kind="names with line breaks and with bytes that are not UTF-8",
        expected="18 people; each name in 1 line",
        happened=odd_names,
    ),
]

LAYOUTS = [
    layout("a folder of folders, one per person", "32 images of 16 people", "{0}"),
    layout("folders of people in groups (00/person)", TWO_LEVELS, "{2:02d}/{0}"),
    layout("the same with person_level = 2", "32 images of 16 people", "{2:02d}/{0}", person_level=2),
    layout("the same with person_level = 1", "32 images of 3 people", "{2:02d}/{0}", person_level=1),
    layout("train/person", "32 images of 16 people", "train/{0}"),
    layout(
        "train/person and test/person of the same people",
        "64 images of 16 people; 16 people have folders of one name in several parts of the set and are joined, as "
        "they share files: p00, p01, p02 ...",
        "train/{0}",
        "test/{0}",
    ),
    layout("a folder around everything, and train in it", "32 images of 16 people", "set/images/train/{0}"),
    layout(
        "sessions in the folders of people",
        "64 images of 16 people; people are the 16 upper folders; those in them (s1, s2) are joined",
        "{0}/s1",
        "{0}/s2",
    ),
    layout("one folder in the folder of each person", "32 images of 16 people", "{0}/{3}"),
    layout("images and masks of the same people, side by side", TWO_LEVELS, "images/{0}", "masks/{0}"),
    layout(
        "train and test of images without folders",
        "refused: set: expected folders of images, one per person, found 2 folders (test, train), which are parts of a "
        "set, with images directly in them...",
        "train",
        "test",
    ),
    layout(
        "people beside train",
        "refused: set: expected ... found 1 folder (train), which are parts of a set, with other folders directly...",
        "{0}",
        "train/{0}",
    ),
    layout(
        "pictures in one folder, without people",
        "refused: set: expected folders of images, one per person (subject/image.png), found 32 images that lie in no "
        "such folder: put the images of each person into a folder of its own, or name as the path a table ...",
        ".",
    ),
    KindOfInput(
        kind="pictures beside the folders of people",
        expected="32 images of 16 people; 1 image is passed over, in no folder of a person, such as cover.png",
        happened=lambda folder: counts(beside(folder / "set", {"cover.png": files.png("cover")})),
    ),
]

DEBRIS = [
    with_files(
        "debris of systems in a set",
        "32 images of 16 people",
        **{
            "__MACOSX/p00/._0__png": b"x",
            "p00/._0-0__png": b"x",
            ".DS_Store": b"x",
            "Thumbs__db": b"x",
            "p00/desktop__ini": b"x",
            "p00/0-0__png:Zone.Identifier": b"x",
            "p00/@eaDir/0-0__png": files.png("small"),
            ".git/a__png": files.png("a"),
            ".ipynb_checkpoints/0__png": files.png("a"),
            "lost+found/0__png": files.png("a"),
        },
    ),
    KindOfInput(
        kind="faces beside __MACOSX",
        expected="32 images of 16 people",
        happened=lambda folder: counts(
            [
                people(folder / "set" / "faces"),
                files.put(folder / "set" / "__MACOSX" / "faces" / "._p00" / "a.png", files.png("a")),
                folder / "set",
            ][-1]
        ),
    ),
    KindOfInput(
        kind="hidden copies of Parquet and records (._train.parquet)",
        expected="32 images of 16 people",
        happened=lambda folder: counts(beside(folder / "set", {"._train.parquet": b"x", "._train.rec": b"x"})),
    ),
    KindOfInput(
        kind="a zip that a Mac made",
        expected="32 files, 34 left out; 32 images of 16 people",
        happened=lambda folder: unpacked(folder, "zip"),
    ),
    KindOfInput(
        kind="a tar that a Mac made",
        expected="32 files, 34 left out; 32 images of 16 people",
        happened=lambda folder: unpacked(folder, "tar"),
    ),
]

PLACES = [
    KindOfInput(
        kind="a snapshot in the cache of Hugging Face, of links into blobs",
        expected="32 images of 16 people",
        happened=lambda folder: counts(hub(folder)),
    ),
    KindOfInput(
        kind="a link out of a set",
        expected="refused: set/p00/link.png: this link leads out of ...",
        happened=lambda folder: counts(linked(folder, "p00/link.png", "../../secret/1.png")),
    ),
    KindOfInput(
        kind="a link out of a snapshot, past blobs",
        expected="refused: ...link.png: this link leads out of ...",
        happened=lambda folder: counts(
            [root := hub(folder), (root / "p00" / "link.png").symlink_to(folder / "plain" / "p00" / "0-0.png")][0]
        ),
    ),
    KindOfInput(
        kind="a link to a folder above itself",
        expected="refused: set/p00/again: this link leads to a folder above it; remove it, or start elsewhere",
        happened=lambda folder: counts(linked(folder, "p00/again", "..")),
    ),
    KindOfInput(
        kind="a link to nothing",
        expected="32 images of 16 people; 1 file is passed over, ...: link to nothing (1), such as p00/lost.png",
        happened=lambda folder: counts(linked(folder, "p00/lost.png", "nothing.png")),
    ),
    KindOfInput(
        kind="a relative path, beside the suite",
        expected="32 images, from suites/faces/mine",
        happened=lambda folder: relative(folder, "suites"),
    ),
    KindOfInput(
        kind="a relative path, below the working folder",
        expected="32 images, from faces/mine",
        happened=lambda folder: relative(folder, "work"),
    ),
    KindOfInput(
        kind="a relative path to nothing",
        expected="refused: path = 'faces/mine': expected a file or folder, found none: neither suites/faces/mine (from "
        "the suite) nor work/faces/mine (from the working folder) exists; correct the parameter path",
        happened=lambda folder: relative(folder, ""),
    ),
]

WERE_FINE = [
    *(
        KindOfInput(
            kind=f"a .bin of pickle protocol {protocol}",
            expected="40 pairs, the right pixels",
            happened=lambda folder, protocol=protocol: paired(  # type: ignore[misc]
                files.write_bin(folder / "lfw.bin", PAIRS, protocol)
            ),
        )
        for protocol in range(6)
    ),
    KindOfInput(
        kind="a .bin of numpy arrays",
        expected="40 pairs, the right pixels",
        happened=lambda folder: paired(files.write_bin(folder / "lfw.bin", PAIRS, 4, arrays=True)),
    ),
    KindOfInput(
        kind="a .bin of Python 2",
        expected="40 pairs, the right pixels",
        happened=lambda folder: paired(files.write_python2_bin(folder / "lfw.bin", PAIRS)),
    ),
    KindOfInput(
        kind="LFW with its pairs.txt",
        expected="40 pairs, the right pixels",
        happened=lambda folder: paired(files.write_lfw(folder / "lfw", PAIRS)),
    ),
    KindOfInput(
        kind="LFW with files that are passed over",
        expected="all ok; 1 file is passed over, not read as images: .heic (1)...",
        happened=lambda folder: [
            files.put(files.write_lfw(folder / "lfw", PAIRS) / "Person_Aa" / "a.heic", HEIC),
            "; ".join(["all ok", *Lfw(path=str(folder / "lfw")).status().notes]),
        ][1],
    ),
    KindOfInput(
        kind="records of MXNet",
        expected="the right pixels",
        happened=lambda folder: faces_of(
            files.write_rec(folder, [(k // 2, files.png(f"{k // 2}/{k % 2}")) for k in range(6)]).parent
        ),
    ),
]

KINDS = [*FORMATS, *FILES, *LAYOUTS, *DEBRIS, *PLACES, *WERE_FINE]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_kinds_of_input(kind: KindOfInput, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Each kind is read with the right value, or refused in words."""
    check(kind, tmp_path / "input", record_property)


def test_an_absolute_path_has_one_place(tmp_path: Path) -> None:
    use_suite_folder(tmp_path / "suites")
    assert places_named(str(tmp_path / "x"), "path") == (tmp_path / "x",)

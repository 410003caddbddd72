"""bench_facesets: every format is written by the tests and read back: the same pixels, people, pairs and folds."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faceset_files as files
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bench_facesets import AgeDb30, Calfw, CfpFf, FaceSet, FaceSetTraining, Lfw, locate
from bench_facesets.collection import Collection, with_folds
from bench_facesets.readers import parquet
from bench_facesets.readers.images import DecodedImages, decode
from faceset_files import Pair, picture
from PIL import Image

from bench import DataError, LazyImages, MissingDataError

PAIRS = files.protocol_pairs()
AGEDB_PAIRS = [
    (f"{2 * k}_Actor{letter}{k}_{20 + k}_f", f"{2 * k + 1}_Actor{letter}{k + (not same)}_{50 + k}_f", same, fold)
    for fold, letter in enumerate("ABCDEFGHIJ")
    for k, same in enumerate((True, False))
]
CFP_PAIRS = [
    (f"{10 * fold + k + 1:03d}/01", f"{10 * fold + (k if same else k + 1) + 1:03d}/02", same, fold)
    for fold in range(10)
    for k, same in ((0, True), (2, True), (4, False), (6, False))
]


def open_at(path: Path) -> Collection:
    return locate.open_set(path, locate.detect(path))


def pixels_of(collection: Collection, rows: Any) -> Any:
    return DecodedImages(collection.encoded, np.asarray(rows, dtype=np.int64))[:].transpose(0, 2, 3, 1)


def check(collection: Collection, pairs: Sequence[Pair], folds: bool = True) -> None:
    """The pairs of a collection show the pictures of `pairs`, in that order, with their labels and folds."""
    found = collection.pairs
    assert found is not None
    assert found.same.tolist() == [same for _, _, same, _ in pairs]
    for side, rows in enumerate((found.left, found.right)):
        expected = np.stack([picture(pair[side]) for pair in pairs])
        np.testing.assert_array_equal(pixels_of(collection, rows), expected)
    if folds:
        assert with_folds(found).fold.tolist() == [fold for *_, fold in pairs]


@pytest.mark.parametrize("arrays", [False, True], ids=["bytes", "numpy"])
@pytest.mark.parametrize("protocol", range(6))
def test_bins_of_every_pickle_protocol_are_read(tmp_path: Path, protocol: int, arrays: bool) -> None:
    found = open_at(files.write_bin(tmp_path / "lfw.bin", PAIRS, protocol, arrays))
    check(found, PAIRS)
    assert found.people is None
    assert len(found.encoded) == 2 * len(PAIRS)


def test_a_bin_of_python_2_is_read(tmp_path: Path) -> None:
    check(open_at(files.write_python2_bin(tmp_path / "lfw.bin", PAIRS)), PAIRS)


def test_labels_of_a_bin_may_be_numbers_or_an_array(tmp_path: Path) -> None:
    import pickle

    images = [files.png("a")] * 4
    for labels in ([1, 0], [np.bool_(True), np.bool_(False)], np.array([True, False]), np.array([1, 0])):
        path = files.put(tmp_path / "x.bin", pickle.dumps((images, labels), protocol=4))
        found = locate.insightface_bin.read(path).pairs
        assert found is not None
        assert found.same.tolist() == [True, False]


def test_the_folds_of_a_bin_are_the_blocks_of_lfw(tmp_path: Path) -> None:
    pairs = files.protocol_pairs(10, 3)
    found = open_at(files.write_bin(tmp_path / "lfw.bin", pairs)).pairs
    assert found is not None
    assert (found.fold == -1).all()
    assert with_folds(found).fold.tolist() == [fold for *_, fold in pairs]


def test_lfw_with_its_pairs_file(tmp_path: Path) -> None:
    found = open_at(files.write_lfw(tmp_path / "lfw", PAIRS, others=["Someone_Else_0001"]))
    check(found, PAIRS)
    assert found.people is not None
    assert set(found.people) == {n.rsplit("_", 1)[0] for p in PAIRS for n in p[:2]} | {"Someone_Else"}
    assert found.ids[0] == "Person_Aa/Person_Aa_0001.png"


@pytest.mark.parametrize("place", ["..", "sub"])
def test_protocol_files_may_lie_beside_or_below(tmp_path: Path, place: str) -> None:
    root = files.write_lfw(tmp_path / "lfw", PAIRS)
    files.put(root / place / "pairs.txt", (root / "pairs.txt").read_bytes())
    (root / "pairs.txt").unlink()
    check(Lfw(path=str(root)).collection(), PAIRS)


def test_calfw_has_no_folds_for_impostors(tmp_path: Path) -> None:
    found = open_at(files.write_calfw(tmp_path / "calfw", PAIRS))
    ordered = sorted(PAIRS, key=lambda p: not p[2])
    check(found, ordered)
    assert found.pairs is not None
    assert (found.pairs.fold[~found.pairs.same] == -1).all()
    assert found.people is not None
    assert "Person_Aa" in found.people


def test_cfp_ff(tmp_path: Path) -> None:
    found = open_at(files.write_cfp(tmp_path / "cfp-dataset", CFP_PAIRS))
    check(found, CFP_PAIRS)
    assert found.people is not None
    assert found.people[0] == "001"


@pytest.mark.parametrize("compress", [False, True])
def test_agedb_30(tmp_path: Path, compress: bool) -> None:
    found = open_at(files.write_agedb(tmp_path / "AgeDB", AGEDB_PAIRS, compress))
    check(found, AGEDB_PAIRS)
    assert found.people is not None
    assert found.people[0].startswith("Actor")
    assert not found.resolved.contradicted.any()


def test_the_mat_reader_agrees_with_scipy(tmp_path: Path) -> None:
    from bench_facesets.readers import matfile
    from scipy.io import savemat

    values = {"a": np.arange(6.0), "b": "text", "c": np.array([1, 2, 3], dtype=np.int16), "d": {"x": 1.0, "y": "z"}}
    savemat(tmp_path / "a.mat", values, do_compression=True)
    found = matfile.load(tmp_path / "a.mat")
    assert found["a"].tolist() == [0, 1, 2, 3, 4, 5]
    assert found["b"] == "text"
    assert found["c"].tolist() == [1, 2, 3]
    assert found["d"][0]["x"].tolist() == [1.0]
    assert found["d"][0]["y"] == "z"


def test_a_folder_of_people(tmp_path: Path) -> None:
    found = open_at(files.write_folder(tmp_path / "mine", {"b": 2, "a": 3}))
    assert list(found.ids) == ["a/0.png", "a/1.png", "a/2.png", "b/0.png", "b/1.png"]
    assert list(found.people or ()) == ["a", "a", "a", "b", "b"]
    expected = np.stack([picture(name.removesuffix(".png")) for name in found.ids])
    np.testing.assert_array_equal(pixels_of(found, range(5)), expected)


WRITERS: dict[str, tuple[Callable[[Path], Path], Sequence[Pair]]] = {
    "bin": (lambda root: files.write_bin(root / "x.bin", PAIRS), PAIRS),
    "lfw": (lambda root: files.write_lfw(root / "lfw", PAIRS), PAIRS),
    "calfw": (lambda root: files.write_calfw(root / "calfw", PAIRS), sorted(PAIRS, key=lambda p: not p[2])),
    "cfp": (lambda root: files.write_cfp(root / "cfp", CFP_PAIRS), CFP_PAIRS),
    "agedb": (lambda root: files.write_agedb(root / "AgeDB", AGEDB_PAIRS), AGEDB_PAIRS),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_parquet_keeps_everything(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP", 7)
    write, pairs = WRITERS[kind]
    source = open_at(write(tmp_path))
    parquet.write(source, tmp_path / "out.parquet")
    found = open_at(tmp_path / "out.parquet")
    check(found, pairs)
    assert list(found.ids) == list(source.ids)
    assert found.people == (None if source.people is None else list(source.people))
    assert found.pairs is not None
    assert source.pairs is not None
    np.testing.assert_array_equal(found.pairs.fold, source.pairs.fold)
    n = len(source.encoded)
    assert [found.encoded.read(k) for k in range(n)] == [source.encoded.read(k) for k in range(n)]
    assert pq.ParquetFile(tmp_path / "out.parquet").metadata.num_row_groups > 1


@pytest.mark.parametrize("text", [False, True])
def test_parquet_of_hugging_face_is_a_folder_of_people(tmp_path: Path, text: bool) -> None:
    names = [f"{p}/{k}" for p in ("x", "y", "z") for k in range(2)]
    labels: list[Any] = [n[0] if text else "xyz".index(n[0]) for n in names]
    for shard in range(2):
        rows = slice(3 * shard, 3 * shard + 3)
        image = [{"bytes": files.png(n), "path": f"{n}.png"} for n in names[rows]]
        table = pa.table({"image": image, "label": labels[rows]})
        (tmp_path / "set").mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / "set" / f"train-{shard}.parquet", row_group_size=2)
    found = open_at(tmp_path / "set")
    np.testing.assert_array_equal(pixels_of(found, [5, 0, 3]), np.stack([picture(names[k]) for k in (5, 0, 3)]))
    assert list(found.people or ()) == list(map(str, labels))
    training = FaceSetTraining(path=str(tmp_path / "set"))
    assert training.labels().tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("contents", [True, False])
@pytest.mark.parametrize("labels", [1, 2])
def test_recordio_is_read_without_mxnet(tmp_path: Path, contents: bool, labels: int) -> None:
    magic = bytes.fromhex("0a23d7ce")
    people = [(k // 2, files.png(f"{k // 2}/{k % 2}")) for k in range(6)]
    people[0] = (0, with_comment(files.png("0/0"), magic * 3))  # records are split where the magic number is in them
    files.write_rec(tmp_path, people, contents, labels)
    training = FaceSetTraining(path=str(tmp_path))
    assert training.labels().tolist() == [0, 0, 1, 1, 2, 2]
    expected = np.stack([picture(f"{k // 2}/{k % 2}") for k in range(6)]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(training.images(np.arange(6)), expected)
    assert training.status().images == 6


def with_comment(image: bytes, text: bytes) -> bytes:
    """A PNG with a private chunk after its header, aligned so that a word of `text` begins at a multiple of four."""
    import struct
    import zlib

    pad = b"x" * (-(24 + 33 + 8) % 4)
    body = b"prVt" + pad + text
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return image[:33] + chunk + image[33:]


def test_records_of_one_person_are_brought_together(tmp_path: Path) -> None:
    files.write_rec(tmp_path, [(label, files.png(f"{label}/{k}")) for k, label in enumerate([2, 0, 2, 1])])
    training = FaceSetTraining(path=str(tmp_path / "train.rec"))
    assert training.labels().tolist() == [0, 1, 2, 2]
    assert training.people() == ["0", "1", "2"]
    np.testing.assert_array_equal(training.images(np.array([3]))[0].transpose(1, 2, 0), picture("2/2"))


# ---- images ----------------------------------------------------------------------------------------------------------


def test_grey_becomes_three_equal_channels_and_alpha_is_dropped() -> None:
    grey = picture("x")[:, :, 0]
    found = decode(files.encoded(grey), "x")
    np.testing.assert_array_equal(found, np.stack([grey] * 3))
    rgba = np.dstack([picture("y"), np.full((112, 112), 7, dtype=np.uint8)])
    np.testing.assert_array_equal(decode(files.encoded(rgba), "y"), picture("y").transpose(2, 0, 1))


def test_an_orientation_tag_is_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = files.encoded(picture("x"), exif=exif)
    np.testing.assert_array_equal(decode(data, "x"), picture("x").transpose(2, 0, 1))


def test_an_image_of_another_size_says_what_to_do(tmp_path: Path) -> None:
    files.write_folder(tmp_path, {f"p{k}": 2 for k in range(20)})
    files.put(tmp_path / "p0" / "0.png", files.encoded(picture("x", (92, 80))))
    found = open_at(tmp_path)
    with pytest.raises(DataError, match=r"p0/0\.png: expected an aligned face of 112 x 112, found 80 x 92.*data align"):
        DecodedImages(found.encoded, np.arange(4))[:]


def test_images_are_decoded_on_demand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench_facesets.readers import images

    dataset = FaceSet(path=str(files.write_bin(tmp_path / "x.bin", PAIRS)))
    decoded: list[str] = []
    real = images.decode
    monkeypatch.setattr(images, "decode", lambda data, name, size: decoded.append(name) or real(data, name, size))
    faces, pairs = dataset.evaluation(20, None)  # type: ignore[arg-type]
    assert not decoded
    assert isinstance(faces.images, LazyImages)
    assert faces.images.shape == (len(faces.subjects), 3, 112, 112)
    assert faces.images.dtype == np.uint8
    piece = faces.images[2:5]
    assert piece.shape == (3, 3, 112, 112)
    assert len(decoded) == 3
    np.testing.assert_array_equal(faces.images[pairs.left[:2]], faces.images[:][pairs.left[:2]])


# ---- what is missing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "write", "lost", "named", "kind"),
    [
        (
            CfpFf,
            lambda root: files.write_cfp(root, CFP_PAIRS),
            "Protocol/Pair_list_F.txt",
            "Pair_list_F.txt",
            "missing",
        ),
        (CfpFf, lambda root: files.write_cfp(root, CFP_PAIRS), "Protocol/Split/FF/03/diff.txt", "fold 3", "damaged"),
        (Lfw, lambda root: files.write_lfw(root, PAIRS), "Person_A*/*_000*.png", "Person_Aa_0001", "damaged"),
    ],
)
def test_an_incomplete_set_says_what_is_lacking(
    tmp_path: Path, cls: type[Any], write: Callable[[Path], Path], lost: str, named: str, kind: str
) -> None:
    root = write(tmp_path / "set")
    for path in root.glob(lost):
        path.unlink()
    with pytest.raises(DataError, match=named) as caught:
        cls(path=str(root)).fingerprint()
    assert isinstance(caught.value, MissingDataError) == (kind == "missing")


@pytest.mark.parametrize(
    ("cls", "write", "lost"),
    [
        (Lfw, lambda root: files.write_lfw(root, PAIRS), "pairs.txt"),
        (Calfw, lambda root: files.write_calfw(root, PAIRS), "pairs_CALFW.txt"),
        (AgeDb30, lambda root: files.write_agedb(root, AGEDB_PAIRS), "04_FINAL_protocol_30_years.mat"),
    ],
)
def test_a_set_without_its_protocol_is_a_folder_of_people_only_where_it_is_one(
    tmp_path: Path, cls: type[Any], write: Callable[[Path], Path], lost: str
) -> None:
    root = write(tmp_path / "set")
    (root / lost).unlink()
    status = cls(path=str(root)).status()
    if cls is Lfw:  # the others lie in one flat folder
        assert "pairs are drawn" in status.notes[-1]
        assert cls(path=str(root)).evaluation(20, None)[1].same.sum() == 10
    else:
        assert lost in status.missing


# ---- real faces ------------------------------------------------------------------------------------------------------

REAL = os.environ.get("BENCH_REAL")


@pytest.mark.skipif(not REAL, reason="BENCH_REAL names no folder of real faces")
def test_the_real_faces_are_forty_people() -> None:
    dataset = FaceSet(path="$BENCH_REAL/faces-att")
    found = dataset.collection()
    assert len(found.codes[1]) == 40
    assert np.bincount(found.codes[0]).tolist() == [10] * 40
    faces, pairs = dataset.evaluation(100, None)  # type: ignore[arg-type]
    images = faces.images[:]
    assert (images[:, 0] == images[:, 1]).all()
    apart = np.abs(images[pairs.left].astype(float) - images[pairs.right]).mean(axis=(1, 2, 3))
    assert apart[pairs.same].mean() < apart[~pairs.same].mean()

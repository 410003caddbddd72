"""bench_facesets: labels that name nobody or everybody anew, and groups of people that look like people."""

from __future__ import annotations

from pathlib import Path

import faceset_files as files
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bench_facesets import FaceSet
from bench_facesets.people import names_nobody

from bench import DataError


def parquet(path: Path, labels: pa.Array) -> None:
    """Write one image for each label."""
    path.parent.mkdir(exist_ok=True, parents=True)
    pq.write_table(
        pa.table({"image": [files.png(f"{path.name}{k}") for k in range(len(labels))], "label": labels}), path
    )


@pytest.mark.parametrize(
    ("kind", "largest"), [(pa.uint32(), 2**32 - 1), (pa.uint64(), 2**64 - 1), (pa.int32(), 2**31 - 1)]
)
def test_the_largest_number_of_a_type_names_nobody(tmp_path: Path, kind: pa.DataType, largest: int) -> None:
    labels = [largest if k % 8 == 0 else k // 4 for k in range(80)]
    parquet(tmp_path / "set.parquet", pa.array(labels, kind))
    found = FaceSet(path=str(tmp_path / "set.parquet"))
    assert (len(found.collection().encoded), len(found.collection().codes[1])) == (70, 20)
    assert any("10 of 80 images are left out" in note for note in found.status().notes)


def test_small_numbers_are_labels_whatever_their_type(tmp_path: Path) -> None:
    parquet(tmp_path / "set.parquet", pa.array([255 if k < 4 else k // 4 for k in range(80)], pa.uint8()))
    assert len(FaceSet(path=str(tmp_path / "set.parquet")).collection().codes[1]) == 20


@pytest.mark.parametrize(("names", "noted"), [(("train-0", "test-0"), True), (("part-0", "part-1"), False)])
def test_parts_with_labels_in_common_are_said(tmp_path: Path, names: tuple[str, str], noted: bool) -> None:
    for name in names:
        parquet(tmp_path / "set" / f"{name}.parquet", pa.array([k // 4 for k in range(48)]))
    notes = FaceSet(path=str(tmp_path / "set")).status().notes
    assert any("12 labels (0, 1, 10 ...) occur in several parts of the set (test, train)" in n for n in notes) == noted


def test_a_cover_beside_people_makes_a_group_no_person(tmp_path: Path) -> None:
    for group in range(12):
        files.write_folder(tmp_path / "set" / f"class{group:02}", {f"pupil {group} {k}": 6 for k in "abc"})
        files.put(tmp_path / "set" / f"class{group:02}" / "cover.png", files.png(f"cover {group}"))
    with pytest.raises(DataError, match=r"found folders on two levels: .* either could be the people"):
        FaceSet(path=str(tmp_path / "set")).collection()
    assert len(FaceSet(path=str(tmp_path / "set"), person_level=2).collection().codes[1]) == 36


def test_more_pictures_in_folders_of_a_person_are_joined(tmp_path: Path) -> None:
    for person in range(12):
        files.write_folder(tmp_path / "set", {f"person {person:02}": 6})
        files.write_folder(tmp_path / "set" / f"person {person:02}", {"masked": 2, "dark": 2})
    assert len(FaceSet(path=str(tmp_path / "set")).collection().codes[1]) == 12


@pytest.mark.parametrize("name", ["unk", "Others", "unknown_faces", "Unknown People"])
def test_more_words_for_nobody(name: str) -> None:
    assert names_nobody(name)

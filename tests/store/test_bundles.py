"""Bundles: what is in one, that the same run makes the same bytes, and that nothing else is opened."""

from __future__ import annotations

import contextlib
import json
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from forger import change_record, change_value, forged, record_digests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stranger import GOLDEN, files_of

from bench.core.errors import StorageError
from bench.core.provenance import file_sha256
from bench.store import bundles
from bench.store.bundles import MANIFEST, open_bundle, require_bundle_file, write_bundle
from bench.store.public_runs import hide_paths, names_of_user
from bench.store.reading import RunResults
from bench.store.run_record import RECORD, read_record, write_record
from bench.store.verifications import (
    RecomputedCell,
    Verification,
    read_verification,
    verification_file,
    write_verification,
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the golden run, which no test may change."""
    file = tmp_path_factory.mktemp("bundle") / "golden.zip"
    write_bundle(GOLDEN, file)
    return file


# ---- writing ---------------------------------------------------------------------------------------------------------


def test_a_bundle_holds_the_rows_of_the_run(bundle: Path) -> None:
    with open_bundle(bundle) as opened:
        ours, golden = RunResults(opened.folder), RunResults(GOLDEN)
        assert list(ours.cells["cell"]) == list(golden.cells["cell"])
        for name in ("verification", "images", "attributes", "up", "baselines"):
            assert ours.samples(name).equals(golden.samples(name))
        assert len(ours.stages) == len(golden.stages)
        manifest = opened.manifest
    assert not opened.folder.exists()
    assert opened.sha256 == file_sha256(bundle)
    assert manifest.suite == "golden"
    assert manifest.plan == golden.run.digest
    assert set(manifest.data) == {"dataset toy-faces"}
    assert {"model toy-a", "model toy-b"} <= set(manifest.weights)
    assert {"bench", "bench_toy"} <= set(manifest.code)
    assert manifest.size == sum(about.size for about in manifest.files.values()) > 10_000


def test_a_bundle_has_no_pictures_and_no_logs(bundle: Path) -> None:
    assert (GOLDEN / "samples" / "examples").exists()
    with open_bundle(bundle) as opened:
        results = RunResults(opened.folder)
        assert not results.parts("examples")
        assert results.cells[["log", "traceback"]].isna().all().all()
        assert all(row["log"] is None and row["traceback"] is None for row in results.stages)
        for path in opened.folder.rglob("*.parquet"):
            schema = pq.read_schema(path)
            assert schema.metadata is None
            assert not [field for field in schema if str(field.type) == "binary"]
        assert results.run.plugins == ()
        assert all(component.source is None for component in results.run.components)


def test_the_same_run_makes_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(GOLDEN, tmp_path / "elsewhere" / "run"))
    write_bundle(copy, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == bundle.read_bytes()


def test_no_path_of_the_machine_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "Ann Other"
    run = Path(shutil.copytree(GOLDEN, home / "run"))
    monkeypatch.setenv("HOME", str(home))
    record = read_record(run)
    first = replace(
        record.components[0],
        notes=(f"2 pictures of {home}/faces are too small", "found in /srv/data/faces"),
        params={"folder": str(home / "my faces")},
        because="expected weights, found none in /opt/net/x.pt",
    )
    command = ("bench", "run", f"{home}/suite.toml", "--out", str(home), "--defense", "noise,sigma=1.0", "--pairs", "4")
    suite = replace(record.suite, path=f"{home}/suite.toml", description="of C:\\Users\\ann\\x")
    components = (first, *record.components[1:])
    write_record(run, replace(record, command=command, suite=suite, components=components))
    change_value(run / "cells.parquet", "reason", 0, f"'{home}/x y' is \x1b[2Jmissing")
    record_digests(run)
    write_bundle(run, tmp_path / "b.zip")
    content = (tmp_path / "b.zip").read_bytes()
    for text in ("Ann Other", "/srv/data", "/opt/net", "Users", "x.pt"):
        assert text.encode() not in content
    with open_bundle(tmp_path / "b.zip") as opened:
        results = RunResults(opened.folder)
        assert "Ann" not in str(results.cells["reason"].tolist())
        assert "\x1b" not in "".join(results.cells["reason"].dropna())
        published = results.run
        assert published.command == ("bench", "run", "golden", "--defense", "noise,sigma=1.0", "--pairs", "4")
        assert published.suite.path == "suite.toml"
        assert published.components[0].notes == ("2 pictures of (path)/faces are too small", "found in (path)")
        assert published.components[0].params == {"folder": "(path)/my faces"}


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("/home/ann/x", "(path)"),
        ("/home/Ann Other/my faces", "(path)"),
        ("no file at /data/lfw, none at '/mnt/a b'", "no file at (path) none at '(path) b'"),
        ("C:\\Users\\ann", "(path)"),
        ("see https://example.org/a/b", "see https://example.org/a/b"),
        ("pairs/s and 1/2", "pairs/s and 1/2"),
        ("w.pt", "w.pt"),
    ],
)
def test_paths_are_hidden(text: str, public: str) -> None:
    assert hide_paths(text) == public


def test_names_of_pictures_that_control_a_terminal_are_refused(tmp_path: Path) -> None:
    run = Path(shutil.copytree(GOLDEN, tmp_path / "run"))
    change_value(run / ROWS, "left_id", 0, "\x1b[2J")
    record_digests(run)
    with pytest.raises(StorageError, match=r"left_id: expected names without paths, and without characters that"):
        write_bundle(run, tmp_path / "b.zip")


def test_names_of_pictures_that_are_paths_are_refused(tmp_path: Path) -> None:
    run = Path(shutil.copytree(GOLDEN, tmp_path / "run"))
    rows = next((run / "samples" / "verification").rglob("*.parquet"))
    change_value(rows, "left_id", 0, "/home/ann/1.png")
    record_digests(run)
    with pytest.raises(StorageError, match=r"left_id: expected names without paths.*, found '/home/ann/1\.png'"):
        write_bundle(run, tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()


def test_the_name_of_the_user_is_noticed(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_bundle(bundle) as opened:
        monkeypatch.setenv("USER", "golden")
        assert list(names_of_user(opened.folder)) == [
            "run.json: a text holds 'golden', the name of this user or machine; see whether it may"
        ]
        monkeypatch.setenv("USER", "somebody-else")
        assert list(names_of_user(opened.folder)) == []


def test_a_run_that_was_changed_is_not_published(tmp_path: Path) -> None:
    run = Path(shutil.copytree(GOLDEN, tmp_path / "run"))
    change_value(run / ROWS, "cos_self", 0, 0.5)
    with pytest.raises(StorageError, match=f"expected {ROWS} as the run wrote it, found that it was changed"):
        write_bundle(run, tmp_path / "b.zip")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"status": "running"}, "found one that is running"),
        ({"status": "interrupted"}, "found one that is interrupted"),
        ({"only": ("a",)}, "found single cells"),
    ],
)
def test_only_a_whole_run_that_has_ended_is_published(tmp_path: Path, changes: dict[str, Any], found: str) -> None:
    run = Path(shutil.copytree(GOLDEN, tmp_path / "run"))
    change_record(run, **changes)
    with pytest.raises(StorageError, match=found):
        write_bundle(run, tmp_path / "b.zip")


@pytest.mark.parametrize("whole", [True, False])
def test_impossible_pairs_are_not_published(tmp_path: Path, whole: bool) -> None:
    run = Path(shutil.copytree(GOLDEN, tmp_path / "run"))
    if whole:
        suite = read_record(run).suite
        change_record(run, suite=replace(suite, experiments=(replace(suite.experiments[0], pairs=-5),)))
        expected = r"run\.json: suite\.experiments\[0\]\.pairs: expected a number from 1 on, found -5"
    else:
        change_value(run / "cells.parquet", "pairs", 0, -5)
        record_digests(run)
        expected = "cells.parquet: pairs: expected numbers from 1 on, found -5; run the suite again"
    with pytest.raises(StorageError, match=expected):
        write_bundle(run, tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()


def test_a_run_of_an_earlier_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="found schema 3; run it again"):
        write_bundle(GOLDEN.with_name("schema-3"), tmp_path / "b.zip")


# ---- bundles of strangers --------------------------------------------------------------------------------------------

Entry = tuple[zipfile.ZipInfo, bytes]


def entries_of(bundle: Path) -> list[Entry]:
    with zipfile.ZipFile(bundle) as archive:
        return [(info, archive.read(info)) for info in archive.infolist()]


def plain(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, 0o100644 << 16
    return info


def write(entries: list[Entry], file: Path, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for info, content in sorted(entries, key=lambda entry: entry[0].filename):
            archive.writestr(info, content, compression)
    return file


def with_file(name: str, content: bytes = b"x", mode: int = 0o100644) -> Callable[[Path, Path], object]:
    def make(bundle: Path, file: Path) -> None:
        info = plain(name)
        info.external_attr = mode << 16
        write([*entries_of(bundle), (info, content)], file)

    return make


def with_manifest(change: Callable[[dict[str, Any]], object]) -> Callable[[Path, Path], object]:
    def make(bundle: Path, file: Path) -> None:
        entries = {info.filename: content for info, content in entries_of(bundle)}
        manifest = json.loads(entries[MANIFEST])
        change(manifest)
        entries[MANIFEST] = json.dumps(manifest).encode()
        write([(plain(name), content) for name, content in entries.items()], file)

    return make


def with_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path, Path], object]:
    return lambda bundle, file: file.write_bytes(change(bundle.read_bytes()))


def compressed(bundle: Path, file: Path) -> None:
    """A zip bomb begins so: a file that is small on the disk and large when it is unpacked."""
    entries = [*entries_of(bundle), (plain("samples/images/experiment=bomb/part-00000.parquet"), bytes(50_000_000))]
    write(entries, file, zipfile.ZIP_DEFLATED)
    assert file.stat().st_size < 1_000_000


def twice(bundle: Path, file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for info, content in entries_of(bundle):
            archive.writestr(info, content)
            if info.filename == RECORD:
                with pytest.warns(UserWarning, match="Duplicate name"):
                    archive.writestr(plain(RECORD), content)


def without(name: str) -> Callable[[Path, Path], object]:
    return lambda bundle, file: write([e for e in entries_of(bundle) if e[0].filename != name], file)


def unsorted(bundle: Path, file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for info, content in reversed(entries_of(bundle)):
            archive.writestr(info, content)


def encrypted(content: bytes) -> bytes:
    at = content.rindex(b"PK\1\2")
    return content[: at + 8] + b"\1" + content[at + 9 :]


def many_files(content: bytes) -> bytes:
    """The end of the file promises more entries than are there."""
    return content[:-14] + struct.pack("<HH", 60_000, 60_000) + content[-10:]


def hidden_data(bundle: Path, file: Path) -> None:
    """Bytes between the files and their list, to which the list is moved."""
    content, more = bundle.read_bytes(), b"hidden"
    *_, size, offset, _ = struct.unpack("<4s4H2LH", content[-22:])
    end = content[-22:-6] + struct.pack("<LH", offset + len(more), 0)
    file.write_bytes(content[:offset] + more + content[offset : offset + size] + end)


def second_list(bundle: Path, file: Path) -> None:
    """A comment of an entry that reads like the pointer of zip64 to another list."""
    entries = entries_of(bundle)
    with zipfile.ZipFile(file, "w") as archive:
        for info, content in entries:
            info.comment = b"PK\6\7" + bytes(16) if info is entries[-1][0] else b""
            archive.writestr(info, content)


def changed_byte(content: bytes) -> bytes:
    at = content.index(b"PAR1", 200) + 50
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


ROWS = "samples/verification/experiment=recognition/part-00000.parquet"
HOSTILE: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "a path upwards": (with_file("../evil.txt"), "expected the names of files of a run, found '../evil.txt'"),
    "an absolute path": (with_file("/etc/evil"), "expected the names of files of a run"),
    "upwards in the middle": (with_file("samples/images/../../evil"), "expected the names of files of a run"),
    "another table": (with_file("samples/examples/experiment=a/part-00000.parquet"), "the names of files"),
    "a script": (with_file("setup.py"), "the names of files"),
    "a backslash": (with_file("samples/images/experiment=a\\b/part-00000.parquet"), "the names of files"),
    "a control character": (with_file("samples/images/experiment=\x1b/part-00000.parquet"), "the names of files"),
    "a journal": (with_file("journal.jsonl"), "the names of files"),
    "a nested archive": (with_file("samples.zip"), "the names of files"),
    "other digits": (with_file("samples/images/experiment=a/part-٠٠٠٠٠.parquet"), "the names of files"),
    "a link": (
        with_file("samples/images/experiment=a/part-00000.parquet", b"/etc/passwd", stat.S_IFLNK | 0o777),
        "expected files only, no folders and no links",
    ),
    "a folder": (with_file("samples/", b"", stat.S_IFDIR | 0o755), "expected files only, no folders"),
    "an additional file": (
        with_file("samples/images/experiment=a/part-00000.parquet"),
        "expected no file of samples/images/experiment=a/part-00000.parquet, as its manifest says, found 1 bytes",
    ),
    "a missing file": (without(ROWS), f"bytes of {ROWS}, as its manifest says, found no file"),
    "no manifest": (without(MANIFEST), "expected a bundle of bench, with manifest.json, found none"),
    "no record": (with_manifest(lambda m: m["files"].pop(RECORD)), "expected no file of run.json"),
    "a zip bomb": (compressed, "expected files that are neither compressed nor encrypted"),
    "a name twice": (twice, "expected files in the order of their names, each once, found 'run.json'"),
    "another order": (unsorted, "expected files in the order of their names"),
    "encrypted": (with_bytes(encrypted), "expected files that are neither compressed nor encrypted"),
    "too many files": (with_bytes(many_files), "expected at most 10,000 files, found 60,000"),
    "hidden data": (hidden_data, "expected nothing between its files, found 6 further bytes"),
    "a second list": (second_list, "expected a zip file as bench bundle writes it, found one of the format zip64"),
    "data in front": (with_bytes(lambda content: b"#!/bin/sh\n" + content), "found something else, or only a part"),
    "data behind": (with_bytes(lambda content: content + b"more"), "found something else, or only a part"),
    "truncated": (with_bytes(lambda content: content[:-1000]), "found something else, or only a part"),
    "one byte": (with_bytes(lambda content: content[:1]), "found a file that is too short"),
    "empty": (with_bytes(lambda _: b""), "found a file that is too short"),
    "an empty archive": (lambda _, file: write([], file), "with manifest.json, found none"),
    "no archive": (with_bytes(lambda _: b"rows " * 1000), "found something else, or only a part"),
    "a changed byte": (with_bytes(changed_byte), "expected a bundle of bench, found Bad CRC-32"),
    "a wrong hash": (
        with_manifest(lambda m: m["files"][ROWS].update(sha256="0" * 64)),
        f"expected {ROWS} as its manifest says, found one that was damaged or changed",
    ),
    "a wrong size": (with_manifest(lambda m: m["files"][ROWS].update(size=1)), "expected 1 bytes of samples/"),
    "a newer format": (with_manifest(lambda m: m.update(format=2)), "found 2; install a newer bench"),
    "no format": (with_manifest(lambda m: m.pop("format")), "expected a manifest of format 1, found None"),
    "a manifest of another form": (with_manifest(lambda m: m.update(files=[])), "files: expected a table"),
    "a suite that is a path": (with_manifest(lambda m: m.update(suite="../..")), "expected the name of a suite, found"),
    "another suite": (with_manifest(lambda m: m.update(suite="paper")), "to agree, found another suite"),
    "other weights": (with_manifest(lambda m: m["weights"].clear()), "to agree, found another weights"),
    "a number of many digits": (
        lambda bundle, file: write(
            [
                (i, b'{"format": 1' + b"0" * 100_000 + b"}" if i.filename == MANIFEST else c)
                for i, c in entries_of(bundle)
            ],
            file,
        ),
        "expected a bundle of bench, found a whole number of too many digits; get the bundle again",
    ),
    "a manifest that is no JSON": (
        lambda bundle, file: write(
            [(info, b"{" if info.filename == MANIFEST else content) for info, content in entries_of(bundle)], file
        ),
        "expected a bundle of bench, found",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_anything_else_is_refused(bundle: Path, tmp_path: Path, kind: str) -> None:
    make, message = HOSTILE[kind]
    file = tmp_path / "in" / "b.zip"
    file.parent.mkdir()
    make(bundle, file)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StorageError) as caught, open_bundle(file):
        pass
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{file}: ")
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match="expected a bundle, found none; bench bundle RUN makes one"),
        open_bundle(tmp_path / "b.zip"),
    ):
        pass
    with pytest.raises(StorageError, match="expected a bundle, found a folder"), open_bundle(tmp_path):
        pass


def test_a_large_file_is_not_read(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "LARGEST_BUNDLE", 1000)
    monkeypatch.setattr(bundles, "LARGEST_JSON", 1000)
    with pytest.raises(StorageError, match="expected a bundle of at most 1,000 bytes, found"), open_bundle(bundle):
        pass


@pytest.mark.parametrize("field", ["files", "status", "only", "schema"])
def test_a_record_that_says_something_else_is_refused(bundle: Path, tmp_path: Path, field: str) -> None:
    values: dict[str, Any] = {"files": {}, "status": "running", "only": ("a",), "schema": 3}

    def change(folder: Path) -> None:
        change_record(folder, **{field: values[field]})

    if field == "files":
        with open_bundle(bundle) as opened:
            copy = Path(shutil.copytree(opened.folder, tmp_path / "run"))
        change(copy)
        file = tmp_path / "b.zip"
        bundles.pack(copy, file)
    else:
        file = forged(bundle, tmp_path / "b.zip", change)
    expected = r"expected (a run of a whole suite|manifest.json and run.json to agree)"
    with pytest.raises(StorageError, match=expected), open_bundle(file):
        pass


def test_the_record_and_tables_of_a_bundle_are_checked_like_those_of_any_run(bundle: Path, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        change_value(folder / ROWS, "cos_self", 0, 1.5)

    file = forged(bundle, tmp_path / "b.zip", change)
    found = rf"^{file}/samples/verification: cos_self: expected .*, found 1\.5"
    with pytest.raises(StorageError, match=found), open_bundle(file) as opened:
        RunResults(opened.folder).samples("verification")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bundles_are_opened_or_refused_with_one_error(
    bundle: Path, tmp_path: Path, data: st.DataObject
) -> None:
    content = bytearray(bundle.read_bytes())
    # The list of entries and its end are where the structure is; elsewhere, checksums notice a change.
    start = data.draw(st.sampled_from([0, content.rindex(b"PK\1\2"), len(content) - 22, content.index(b"PK\1\2")]))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(start, min(len(content), start + 200) - 1))
        content[at] = data.draw(st.integers(0, 255))
    file = tmp_path / "damaged.zip"
    file.write_bytes(bytes(content))
    with contextlib.suppress(StorageError), open_bundle(file) as found, open_bundle(bundle) as original:
        # What is opened in spite of the change is not changed by it.
        assert files_of(found.folder) == files_of(original.folder)


# ---- the record of a verification ------------------------------------------------------------------------------------


def verification(bundle: Path) -> Verification:
    cells = (RecomputedCell(cell="a", rows=40, largest=0.0),)
    return Verification(
        sha256=file_sha256(bundle), ok=True, bench="0.1.0", date="now", seed=1, recomputable=3, cells=cells
    )


def test_a_verification_is_read_again(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(bundle, tmp_path))
    assert read_verification(copy, file_sha256(copy)) is None
    assert write_verification(copy, verification(copy)) == tmp_path / "golden.zip.verified.json"
    assert read_verification(copy, file_sha256(copy)) == verification(copy)


@pytest.mark.parametrize(
    "change",
    [
        {"differences": ("a number",)},
        {"unchecked": ("the weights",)},
        {"recomputable": 0},
        {"tolerance": -1.0},
        {"cells": (RecomputedCell(cell="a", rows=-3, largest=0.0),)},
    ],
)
def test_a_verification_that_contradicts_itself_is_none(change: dict[str, Any], bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(bundle, tmp_path))
    write_verification(copy, replace(verification(copy), **change))
    with pytest.raises(StorageError, match="found one that contradicts itself"):
        read_verification(copy, file_sha256(copy))


def test_a_verification_counts_only_for_its_bundle(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(bundle, tmp_path))
    write_verification(copy, verification(copy))
    copy.write_bytes(copy.read_bytes() + b" ")
    assert read_verification(copy, file_sha256(copy)) is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"sha256": 1}', '{"ok": "yes"}', '{"a": NaN}'])
def test_a_verification_of_another_form_is_an_error(bundle: Path, tmp_path: Path, text: str) -> None:
    copy = Path(shutil.copy(bundle, tmp_path))
    verification_file(copy).write_text(text)
    with pytest.raises(StorageError, match="expected the record of a verification, found none"):
        read_verification(copy, file_sha256(copy))


@pytest.mark.parametrize("name", ["mine.toml", "mine", "a\nb.zip", "b\x1b.zip"])
def test_a_bundle_has_a_printable_name_that_ends_in_zip(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError, match=r"expected a name that ends in \.zip"):
        require_bundle_file(tmp_path / name)


def test_a_bundle_has_a_name_before_its_ending(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"^-o: '\.zip': expected a name before \.zip; choose another$"):
        require_bundle_file(tmp_path / ".zip")


def test_no_other_file_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "notes.zip"
    require_bundle_file(file)
    file.write_text("my notes")
    with pytest.raises(StorageError, match="found another file; move it away"):
        require_bundle_file(file)
    assert file.read_text() == "my notes"
    file.write_bytes(b"PK\3\4 and so on")
    require_bundle_file(file)

"""Text files as programs of Windows write them. See `kinds_of_input`."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from kinds_of_input import KindOfInput, check, outcome

from bench.core.parsing import decode_text
from bench.store.run_record import read_record
from bench.suite.paper_tables import parse_claims, read_claims
from bench.suite.suite import read

SUITE = """# Gesichter: Ähnlichkeit ≥ 顔
[suite]
name = "encoded"
title = "Ähnlich ≥ 顔"

[[experiment]]
name = "one"
datasets = ["synth-lfw"]
authorised = ["zoo-resnet"]
evaluated = ["zoo-resnet"]
defenses = ["identity"]
pairs = 8
"""
WINDOWS = SUITE.replace("\n", "\r\n")
LATIN = SUITE.replace(" ≥ 顔", "")
CLAIMS = "dataset,defense,row,column,value,unit\nLFW,pmt,Größe,b,93.5,%\n"


def suite(data: bytes) -> Callable[[Path], str]:
    """Return a function that reads a suite from a file of these bytes and tells its title and what follows it."""

    def read_it(folder: Path) -> str:
        (folder / "suite.toml").write_bytes(data)

        def title() -> str:
            found = read(folder / "suite.toml").tables
            return f"{found.suite.title}, {found.experiment[0].pairs} pairs"

        return outcome(title, folder)

    return read_it


def claims(data: bytes) -> Callable[[Path], str]:
    """Return a function that reads published numbers from a file of these bytes."""

    def read_them(folder: Path) -> str:
        (folder / "claims.csv").write_bytes(data)
        return outcome(lambda: str(parse_claims(read_claims(folder / "claims.csv", "claims"))), folder)

    return read_them


def record(data: bytes) -> Callable[[Path], str]:
    """Return a function that reads a ``run.json`` of these bytes."""

    def read_it(folder: Path) -> str:
        (folder / "run.json").write_bytes(data)
        return outcome(lambda: read_record(folder).suite.title, folder)

    return read_it


RECORD = json.dumps({"schema": 4, "suite": {"name": "encoded", "title": "Ähnlich ≥ 顔"}}, ensure_ascii=False, indent=1)
READ = "Ähnlich ≥ 顔, 8 pairs"
NUMBERS = "{('LFW', 'pmt', 'Größe', 'b'): 0.935}"
REFUSED = "refused: suite.toml: expected a suite file in UTF-8, found "
KINDS = [
    KindOfInput(kind="a suite in UTF-8", expected=READ, happened=suite(SUITE.encode())),
    KindOfInput(
        kind="a suite with a byte order mark", expected=READ, happened=suite(codecs.BOM_UTF8 + WINDOWS.encode())
    ),
    KindOfInput(kind="a suite with line ends of Windows", expected=READ, happened=suite(WINDOWS.encode())),
    KindOfInput(
        kind="a suite with line ends of old Macs", expected=READ, happened=suite(SUITE.replace("\n", "\r").encode())
    ),
    KindOfInput(
        kind="a suite that PowerShell redirected (UTF-16, little endian)",
        expected=READ,
        happened=suite(codecs.BOM_UTF16_LE + WINDOWS.encode("utf-16-le")),
    ),
    KindOfInput(
        kind="a suite in UTF-16, big endian",
        expected=READ,
        happened=suite(codecs.BOM_UTF16_BE + SUITE.encode("utf-16-be")),
    ),
    KindOfInput(
        kind="a suite in UTF-32", expected=READ, happened=suite(codecs.BOM_UTF32_LE + SUITE.encode("utf-32-le"))
    ),
    KindOfInput(
        kind="a suite in Latin-1",
        expected=REFUSED
        + "the byte 0xC4 in line 1, as a file in Latin-1 or Windows-1252 has it; save the file as UTF-8",
        happened=suite(LATIN.encode("latin-1")),
    ),
    KindOfInput(
        kind="a suite in UTF-16 without a byte order mark",
        expected=REFUSED + "...; save the file as UTF-8",
        happened=suite(SUITE.encode("utf-16-le")),
    ),
    KindOfInput(
        kind="plain ASCII in UTF-16 without a byte order mark",
        expected=REFUSED + "bytes that are zero, as a file in UTF-16...; save the file as UTF-8",
        happened=suite('[suite]\nname = "plain"\n'.encode("utf-16-be")),
    ),
    KindOfInput(
        kind="half a character behind a byte order mark of UTF-16",
        expected=REFUSED + "a byte order mark of UTF-16 and bytes in another encoding; save the file as UTF-8",
        happened=suite(codecs.BOM_UTF16_LE + SUITE.encode("utf-16-le") + b"x"),
    ),
    KindOfInput(
        kind="published numbers with a byte order mark",
        expected=NUMBERS,
        happened=claims(codecs.BOM_UTF8 + CLAIMS.replace("\n", "\r\n").encode()),
    ),
    KindOfInput(
        kind="published numbers in UTF-16",
        expected=NUMBERS,
        happened=claims(codecs.BOM_UTF16_LE + CLAIMS.encode("utf-16-le")),
    ),
    KindOfInput(
        kind="published numbers in Latin-1",
        expected="refused: claims: ...: expected published numbers in UTF-8, found the byte 0xF6 in line 2...",
        happened=claims(CLAIMS.encode("latin-1")),
    ),
    KindOfInput(
        kind="a record that an editor of Windows saved",
        expected="Ähnlich ≥ 顔",
        happened=record(codecs.BOM_UTF8 + RECORD.replace("\n", "\r\n").encode()),
    ),
    KindOfInput(
        kind="a record in UTF-16",
        expected="Ähnlich ≥ 顔",
        happened=record(codecs.BOM_UTF16_LE + RECORD.encode("utf-16-le")),
    ),
    KindOfInput(
        kind="a record in Latin-1",
        expected="refused: run.json: expected the record of a run, found none (...UTF-8...0xC4 in line...",
        happened=record(RECORD.replace(" ≥ 顔", "").encode("latin-1")),
    ),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_kinds_of_text_files(kind: KindOfInput, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    check(kind, tmp_path, record_property)


def test_the_line_of_a_wrong_byte_is_counted() -> None:
    with pytest.raises(ValueError, match="0xE9 in line 3"):
        decode_text(b"one\r\ntwo\r\ncaf\xe9\r\n")

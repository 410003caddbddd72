"""Malformed files of every format, and a runner that reads them all in one process.

``python faceset_corpus.py FOLDER`` prints JSON: for every file how reading it ended, the seconds of the slowest, and
the process's peak memory. Every one must end in one `BenchError`.
"""

from __future__ import annotations

import json
import signal
import struct
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import faceset_files as files
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from faceset_corpus_sets import Case, bins, mats, pair_files, score, train

from bench import BenchError

SECONDS = 20  #: for one file


def records() -> Iterator[Case]:
    people = [(k // 2, files.png(f"{k}")) for k in range(4)]

    def changed(change: Callable[[bytes], bytes], name: str = "train.rec") -> Callable[[Path], None]:
        def case(folder: Path) -> None:
            files.write_rec(folder, people)
            path = folder / name
            path.write_bytes(change(path.read_bytes()))
            train(folder)

        return case

    for share in (0, 0.05, 0.3, 0.6):
        yield f"rec-cut-{share}", changed(lambda d, s=share: d[: int(s * len(d))])
    yield "rec-magic", changed(lambda d: b"\0\0\0\0" + d[4:])
    yield "rec-length", changed(lambda d: d[:4] + b"\xff\xff\xff\x1f" + d[8:])
    yield "rec-short", changed(lambda d: d[:4] + b"\x04\0\0\0" + d[8:])
    yield "rec-part-2", changed(lambda d: d[:4] + struct.pack("<I", 2 << 29 | 40) + d[8:])
    yield "rec-part-1", changed(lambda d: d[:4] + struct.pack("<I", 1 << 29 | 8) + d[8:])
    yield "rec-flag", changed(lambda d: d[:8] + b"\xff\xff\xff\xff" + d[12:])
    yield "rec-text", changed(lambda d: b"no records here" * 100)
    for name, text in {
        "empty": b"",
        "words": b"zero one\n",
        "one": b"0\n",
        "three": b"0 0 0\n",
        "negative": b"1\t-5\n",
        "twice": b"1\t0\n1\t8\n",
        "beyond": b"1\t99999999\n",
        "far": b"1\t999999999999999999\n",
        "long": b"1\t" + b"9" * 40 + b"\n",
        "off": b"1\t3\n",
        "binary": bytes(range(256)),
        "float": b"1\t0.5\n",
    }.items():
        yield f"idx-{name}", changed(lambda _, t=text: t, "train.idx")
    for name, label in {"negative": -1, "half": 0.5, "nan": float("nan"), "inf": float("inf"), "huge": 1e30}.items():
        yield f"rec-label-{name}", lambda folder, v=label: train(files.write_rec(folder, [(v, files.png("x"))]).parent)
    for name, data in {"none": b"", "text": b"not an image", "cut": files.png("x")[:60]}.items():
        yield f"rec-image-{name}", lambda folder, d=data: train(files.write_rec(folder, [(0, d)]).parent)
    yield "rec-alone", lambda folder: train(files.put(folder / "train.rec", b"x"))


def parquets() -> Iterator[Case]:
    def table(columns: dict[str, Any]) -> Callable[[Path], None]:
        def case(folder: Path) -> None:
            pq.write_table(pa.table(columns), folder / "x.parquet")
            score(folder / "x.parquet")

        return case

    images = [files.png(f"{k}") for k in range(4)]
    pair = {"number": 0, "right": 1, "same": True, "fold": 0}
    other = {"number": 1, "right": 2, "same": False, "fold": 0}

    def pairs(*found: dict[str, Any]) -> dict[str, Any]:
        return {"image": images, "pairs": [list(found), [], [], []]}

    for name, columns in {
        "no-image": {"x": [1]},
        "numbers": {"image": [1, 2]},
        "texts": {"image": ["a", "b"]},
        "empty": {"image": pa.array([], pa.binary())},
        "no-people": {"image": images},
        "nulls": {**pairs(pair, other), "image": [None] * 4},
        "not-images": {**pairs(pair, other), "image": [b"x"] * 4},
        "labels": {"image": images, "label": [0.5] * 4},
        "half": {"image": images, "subject": ["a", None, "b", "c"]},
        "few": {"image": images, "subject": list("abcd")},
        "ids": {**pairs(pair, other), "id": ["a"] * 4},
        "path": {"image": [{"path": "x.png"}] * 4},
        "pairs-text": {"image": images, "pairs": ["x"] * 4},
        "pairs-none": {"image": images, "pairs": pa.array([[]] * 4, pa.list_(pa.int64()))},
        "beyond": pairs(pair, {**other, "right": 4}),
        "negative": pairs(pair, {**other, "right": -1}),
        "fold": pairs(pair, {**other, "fold": 10}),
        "twice": pairs(pair, {**other, "number": 0}),
        "gap": pairs(pair, {**other, "number": 5}),
        "one-kind": pairs(pair),
        "no-label": pairs({**pair, "same": None}, other),
        "no-right": pairs({"number": 0, "same": True}),
        "struct": {"image": [{"data": b"x"}]},
    }.items():
        yield f"parquet-{name}", table(columns)

    def changed(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
        def case(folder: Path) -> None:
            pq.write_table(pa.table(pairs(pair, other)), folder / "x.parquet")
            path = folder / "x.parquet"
            path.write_bytes(change(path.read_bytes()))
            score(path)

        return case

    for share in (0, 0.01, 0.5, 0.9, 0.999):
        yield f"parquet-cut-{share}", changed(lambda d, s=share: d[: int(s * len(d))])
    yield "parquet-magic", changed(lambda d: d[:-4] + b"PARX")
    yield "parquet-footer", changed(lambda d: d[:-8] + b"\xff\xff\xff\x7fPAR1")
    yield "parquet-footer-0", changed(lambda d: d[:-8] + b"\0\0\0\0PAR1")
    yield "parquet-noise", changed(lambda d: b"PAR1" + np.random.default_rng(0).bytes(3000) + b"\x40\0\0\0PAR1")
    yield "parquet-pages", changed(lambda d: d[:4] + b"\xff" * (len(d) - 2000) + d[4 + len(d) - 2000 :])
    yield "parquet-text", changed(lambda _: b"not a parquet file")


def pictures() -> Iterator[Case]:
    def holding(data: bytes, name: str = "0.png") -> Callable[[Path], None]:
        def case(folder: Path) -> None:
            root = files.write_folder(folder / "set", {f"p{k}": 2 for k in range(20)})
            for person in root.iterdir():
                files.put(person / name, data)
            score(root)

        return case

    from PIL import Image

    pixels = files.picture("x")
    for kind in ("png", "jpeg", "bmp", "webp"):
        whole = files.encoded(pixels, kind)
        for share in (0.02, 0.3, 0.6):
            yield f"image-cut-{kind}-{share}", holding(whole[: int(share * len(whole))])
    frames = [Image.fromarray(files.picture(f"{k}")) for k in range(3)]
    for kind in ("png", "webp"):
        out = BytesIO()
        frames[0].save(out, kind, save_all=True, append_images=frames[1:])
        yield f"image-animated-{kind}", holding(out.getvalue())
    out = BytesIO()
    frames[0].save(out, "eps")  # Pillow would start Ghostscript for it
    yield "image-eps", holding(out.getvalue())
    for name, size in {"wide": (1, 65000), "square": (9000, 9000)}.items():
        yield f"image-{name}", holding(files.encoded(np.zeros(size, np.uint8)))
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    yield "image-bomb", holding(b"\x89PNG\r\n\x1a\n" + chunk + b"\0" * 100)
    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    yield "image-bomb-2", holding(b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT" + b"\0" * 100)
    yield "image-16-bits", holding(files.encoded(np.zeros((112, 112), np.uint16)))
    yield "image-empty", holding(b"")
    yield "image-text", holding(b"<svg/>")
    yield "image-pickle", holding(b"cos\nsystem\n(S'x'\ntR.", "0.png")
    yield "image-size", holding(files.encoded(files.picture("x", (96, 112))))
    yield "image-ppm", holding(b"P6 112 112 255\n" + b"\0" * 10)
    yield "image-ppm-huge", holding(b"P6 99999999 99999999 255\n" + b"\0" * 10)
    yield "folder-empty", lambda folder: score(folder)
    yield "folder-few", lambda folder: score(files.write_folder(folder, {"a": 2, "b": 2}))
    yield "folder-text", lambda folder: score(files.put(folder / "a" / "readme.txt", "x").parent.parent)
    yield "folder-kind", lambda folder: score(files.put(folder / "x.mat", "x"))
    yield "folder-none", lambda folder: score(folder / "nothing")


def archives() -> Iterator[Case]:
    from bench_facesets.readers.archives import unpack

    def zipped(*members: tuple[str, int], change: Callable[[bytes], bytes] = bytes) -> Callable[[Path], None]:
        def case(folder: Path) -> None:
            with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                for name, mode in members:
                    info = zipfile.ZipInfo(name)
                    info.external_attr = mode << 16
                    archive.writestr(info, "contents" * 50)
            path = folder / "x.zip"
            path.write_bytes(change(path.read_bytes()))
            unpack(path, folder / "out")

        return case

    def tarred(kind: bytes, name: str = "x", link: str = "") -> Callable[[Path], None]:
        def case(folder: Path) -> None:
            with tarfile.open(folder / "x.tar", "w") as archive:
                info = tarfile.TarInfo(name)
                info.type, info.linkname = kind, link
                archive.addfile(info)
            unpack(folder / "x.tar", folder / "out")

        return case

    for name in ("../x", "a/../../x", "/etc/x", "..", "C:/x", "a/../../../../x", "\\\\x\\y", "..\\x"):
        yield f"zip-slip-{name}", zipped((name, 0))
        yield f"tar-slip-{name}", tarred(tarfile.REGTYPE, name)
    for name, mode in {"link": 0o120777, "device": 0o020666, "pipe": 0o010666, "socket": 0o140666}.items():
        yield f"zip-{name}", zipped(("x", mode))
    for name, kind in {
        "symlink": tarfile.SYMTYPE,
        "link": tarfile.LNKTYPE,
        "device": tarfile.CHRTYPE,
        "block": tarfile.BLKTYPE,
        "fifo": tarfile.FIFOTYPE,
    }.items():
        yield f"tar-{name}", tarred(kind, link="/etc/passwd")
    yield "zip-under-file", zipped(("a", 0), ("a/b", 0))
    for share in (0.2, 0.5, 0.9):
        yield f"zip-cut-{share}", zipped(("a", 0), ("b", 0), change=lambda d, s=share: d[: int(s * len(d))])
    yield "zip-damaged", zipped(("a", 0), change=lambda d: d[:33] + bytes(8) + d[41:])
    yield "archive-text", lambda folder: unpack(files.put(folder / "x.zip", "text"), folder / "out")
    yield "archive-none", lambda folder: unpack(folder / "x.zip", folder / "out")


def cases() -> Iterator[Case]:
    """Return all malformed files: a name, and a function that makes the file in a folder and reads it."""
    for family in (bins, records, pair_files, mats, parquets, pictures, archives):
        yield from family()


def main(folder: Path) -> None:
    """Read all malformed files and print the results."""

    def late(*_: object) -> None:
        raise TimeoutError(f"took more than {SECONDS} seconds")

    signal.signal(signal.SIGALRM, late)
    ends, slowest = {}, ("", 0.0)
    for number, (name, case) in enumerate(cases()):
        place = folder / str(number)
        place.mkdir(parents=True)
        start = time.monotonic()
        signal.alarm(SECONDS)
        try:
            case(place)
            ends[name] = "was read"
        except BenchError as error:
            ends[name] = f"{type(error).__name__}: {error}"
        except BaseException as error:
            ends[name] = f"traceback: {type(error).__name__}: {error}"
        finally:
            signal.alarm(0)
        slowest = max(slowest, (name, time.monotonic() - start), key=lambda s: s[1])
    # Not ru_maxrss: it starts with the peak of the process that started this one.
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1024
    json.dump({"ends": ends, "slowest": slowest, "peak_mb": peak}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

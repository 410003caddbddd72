"""Malformed sets for `faceset_corpus`: pickles, pair files and .mat files; and functions that read a whole set."""

from __future__ import annotations

import pickle
import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import faceset_files as files
import numpy as np

PAIRS = files.protocol_pairs(10, 1)
Case = tuple[str, Callable[[Path], Any]]
FORBIDDEN = (
    "os.system",
    "posix.system",
    "nt.system",
    "subprocess.Popen",
    "subprocess.check_output",
    "builtins.eval",
    "builtins.exec",
    "builtins.getattr",
    "builtins.open",
    "__builtin__.eval",
    "importlib.import_module",
    "pickle.loads",
    "operator.attrgetter",
    "functools.partial",
    "codecs.decode",
    "numpy.load",
    "torch.load",
    "shutil.rmtree",
    "numpy.core.multiarray.fromfile",
    "_codecs.decode",
    "io.open",
    "socket.socket",
    "ctypes.CDLL",
    "runpy.run_path",
)


def score(path: Path, layout: str = "auto") -> None:
    """Read a set, choose pairs, decode everything."""
    from bench_facesets import FaceSet

    faces, _ = FaceSet(path=str(path), layout=layout).evaluation(10**6, None)  # type: ignore[arg-type]
    for start in range(0, len(faces.images), 64):
        faces.images[start : start + 64]


def train(path: Path) -> None:
    """Read a training set and decode everything."""
    from bench_facesets import FaceSetTraining

    training = FaceSetTraining(path=str(path))
    training.images(np.arange(len(training.labels())))


def _bin(data: bytes) -> Callable[[Path], None]:
    return lambda folder: score(files.put(folder / "x.bin", data))


def bins() -> Iterator[Case]:
    names, same = files.names_and_labels(PAIRS)
    images = [files.png(n) for n in names]
    for protocol in (0, 2, 4, 5):
        whole = pickle.dumps((images, same), protocol=protocol)
        for share in (0, 0.001, 0.1, 0.5, 0.9, 0.999):
            yield f"bin-cut-{protocol}-{share}", _bin(whole[: int(share * len(whole))])
        yield f"bin-more-{protocol}", _bin(b"\x80\x04" + b"(" + whole[2:])
    for path in FORBIDDEN:
        module, _, name = path.rpartition(".")
        yield f"bin-global-{path}", _bin(f"c{module}\n{name}\n(S'true'\ntR.".encode())
        strings = b"".join(b"\x8c" + bytes([len(s)]) + s.encode() for s in (module, name))
        yield f"bin-stack-global-{path}", _bin(b"\x80\x04" + strings + b"\x93\x8c\x04true\x85R.")
    array = np.zeros
    values: dict[str, Any] = {
        "dict": {"images": images},
        "text": "images",
        "one": (images,),
        "three": (images, same, 1),
        "none": None,
        "odd": (images[:-1], same),
        "labels-short": (images, same[:-1]),
        "labels-text": (images, ["1"] * len(same)),
        "labels-two": (images, [2] * len(same)),
        "labels-none": (images, [None] * len(same)),
        "labels-number": (images, 7),
        "labels-float": (images, [1.0] * len(same)),
        "empty": ([], []),
        "numbers": (list(range(len(images))), same),
        "texts": (["image"] * len(images), same),
        "nested": ([images], same),
        "images-none": (None, same),
        "float-arrays": ([array(9, "f4")] * len(images), same),
        "pixels": ([array((112, 112, 3), "u1")] * 20, [True] * 10),
        "objects": ([array(2, object)] * 20, same),
        "wide": ([array(9, "u2")] * len(images), same),
        "empty-images": ([b""] * len(images), same),
        "not-images": ([b"no image here"] * len(images), same),
        "cut-images": ([i[: len(i) // 2] for i in images], same),
        "one-kind": (images, [True] * len(same)),
        "small": ([files.encoded(files.picture("a", (64, 64)))] * len(images), same),
        "set": {1, 2},
        "float": 1.5,
        "labels-array": (images, array(len(same), "f8")),
        "labels-long": (images, same * 2),
    }
    for name, value in values.items():
        yield f"bin-{name}", _bin(pickle.dumps(value, protocol=4))
    rng = np.random.default_rng(0)
    for k in range(8):
        yield f"bin-noise-{k}", _bin(rng.bytes(4000))
    bombs = {
        "declared-8": b"\x80\x04]\x8e" + struct.pack("<Q", 2**62) + b"x",
        "declared-4": b"\x80\x04]B\xff\xff\xff\xffx",
        "declared-text": b"\x80\x04\x8d" + struct.pack("<Q", 2**40),
        "declared-array": b"\x80\x05\x96\xff\xff\xff\xff\0\0\0\0",
        "negative": b"\x80\x02T\xff\xff\xff\xff",
        "memo": b"\x80\x04Nr\xff\xff\xff\x7f.",
        "marks": b"(" * 5_000_000,
        "nest": b"N" + b"\x85" * 5_000_000 + b".",
        "lists": b"]" * 5_000_000,
        "nest-lists": b"(" + b"]a" * 10 + b".",
        "storm": b"](" + b"N" * 6_000_000 + b"e.",
        "storms": b"]" + (b"(" + b"U\0" * 1000 + b"e") * 4000 + b".",
        "memos": b"N" + b"".join(b"r" + struct.pack("<I", k) for k in range(3_100_000)) + b".",
        "itself": b"]q\0h\0a.",
        "twice": b"]q\0" + b"(h\0h\0l" * 2_000_00 + b"e.",
        "unknown-memo": b"h\x05.",
        "persistent": b"Pfile\n.",
        "extension": b"\x82\x01.",
        "instance": b"(ios\nsystem\n.",
        "object": b"(cos\nsystem\no.",
        "newobj": b"\x80\x02cos\nsystem\n)\x81.",
        "build": b"]}b.",
        "reduce": b"NNR.",
        "append": b"NNa.",
        "frame": b"\x80\x04\x95",
        "only-stop": b".",
        "long": b"L" + b"9" * 100_000 + b"L\n.",
        "long4": b"\x8b\xff\xff\xff\x7f.",
        "no-line": b"S'" + b"x" * 9999,
        "encode": b"\x80\x02c_codecs\nencode\nX\1\0\0\0xX\4\0\0\0utf8\x86R.",
        "dup": b"N" + b"2" * 1000 + b".",
        "encode-list": b"\x80\x02c_codecs\nencode\n]X\6\0\0\0latin1\x86R.",
        "buffer": b"\x80\x05\x97.",
    }
    for name, data in bombs.items():
        yield f"bin-bomb-{name}", _bin(data)


def pair_files() -> Iterator[Case]:
    def lfw(text: str | bytes) -> Callable[[Path], None]:
        def case(folder: Path) -> None:
            files.write_lfw(folder / "lfw", PAIRS)
            files.put(folder / "lfw" / "pairs.txt", text)
            score(folder / "lfw", "lfw")

        return case

    a, b = PAIRS[0][0].rsplit("_", 1)[0], PAIRS[1][0].rsplit("_", 1)[0]
    line = f"1\t1\n{a}\t1\t2\n"
    for name, text in {
        "empty": "",
        "header": "ten\t300\n",
        "header-zero": "0\t0\n",
        "header-three": "1 2 3\n",
        "header-many": "11\t1\n",
        "header-huge": "999999999\t999999999\n",
        "few": line,
        "many": line + f"{a}\t1\t{b}\t1\n" * 3,
        "two": f"{line}{a}\t1\n",
        "five": f"{line}{a}\t1\t{b}\t1\t2\n",
        "word": f"{line}{a}\tone\t{b}\t1\n",
        "zero": f"{line}{a}\t0\t{b}\t1\n",
        "negative": f"{line}{a}\t-1\t{b}\t1\n",
        "large": f"{line}{a}\t10000\t{b}\t1\n",
        "unknown": f"{line}Nobody\t1\t{b}\t1\n",
        "parent": f"{line}../../{a}\t1\t{b}\t1\n",
        "absolute": f"{line}/etc/passwd\t1\t{b}\t1\n",
        "binary": bytes(range(256)),
        "drive": f"{line}C:\\windows\t1\t{b}\t1\n",
        "nul": f"{line}{a}\0\t1\t{b}\t1\n",
        "unicode": f"{line}{a}\t\u0661\t{b}\t1\n",
        "one-kind": f"1\t1\n{a}\t1\t2\n{a}\t2\t1\n",
        "parents": f"{line}..\t1\t{b}\t1\n",
        "zip": b"PK\3\4" * 100,
    }.items():
        yield f"lfw-{name}", lfw(text)

    def calfw(text: str) -> Callable[[Path], None]:
        def case(folder: Path) -> None:
            files.write_calfw(folder / "calfw", PAIRS)
            files.put(folder / "calfw" / "pairs_CALFW.txt", text)
            score(folder / "calfw", "calfw")

        return case

    good = f"{a}_0001.jpg 1\n{a}_0002.jpg 1\n"
    for name, text in {
        "empty": "",
        "odd": good + f"{a}_0001.jpg 0\n",
        "tokens": f"{a}_0001.jpg 1\n{a}_0002.jpg 2\n",
        "token": "x.jpg y\nx.jpg y\n",
        "eleven": f"{a}_0001.jpg 11\n{a}_0002.jpg 11\n",
        "alone": f"{a}_0001.jpg\n{a}_0002.jpg\n",
        "unknown": "x.jpg 0\ny.jpg 0\n",
        "parent": "../../x.jpg 0\n../../y.jpg 0\n",
        "absolute": "/etc/passwd 0\n/etc/passwd 0\n",
        "one-kind": good,
        "minus": "x -1\ny -1\n",
    }.items():
        yield f"calfw-{name}", calfw(text)

    pairs = [(f"{k:03d}/01", f"{k:03d}/02", True, k) for k in range(10)]
    pairs += [(f"{k:03d}/01", f"{(k + 1) % 10:03d}/01", False, k) for k in range(10)]

    def cfp(place: str, text: str) -> Callable[[Path], None]:
        def case(folder: Path) -> None:
            files.write_cfp(folder / "cfp", pairs)
            files.put(folder / "cfp" / "Protocol" / place, text)
            score(folder / "cfp", "cfp-ff")

        return case

    for name, text in {
        "empty": "",
        "number": "one ../Data/Images/001/frontal/01.jpg\n",
        "alone": "1\n",
        "zero": "0 ../Data/x/y/z.jpg\n",
        "parent": "1 ../../../etc/frontal/01.jpg\n",
        "absolute": "1 /etc/frontal/01.jpg\n",
        "unknown": "1 ../Data/Images/999/frontal/01.jpg\n",
    }.items():
        yield f"cfp-list-{name}", cfp("Pair_list_F.txt", text)
    for name, text in {
        "empty": "",
        "one": "1\n",
        "three": "1,2,3\n",
        "word": "a,b\n",
        "zero": "0,1\n",
        "beyond": "1,9999\n",
        "minus": "-1,2\n",
    }.items():
        yield f"cfp-split-{name}", cfp("Split/FF/04/same.txt", text)


def mats() -> Iterator[Case]:
    from scipy.io import savemat

    pairs = [(f"{k}_Actor{k}_20_f", f"{k}_Actor{k}_50_f", True, k) for k in range(10)]
    pairs += [(f"{k}_Actor{k}_20_f", f"{(k + 1) % 10}_Actor{(k + 1) % 10}_50_f", False, k) for k in range(10)]

    def changed(change: Callable[[bytes], bytes], compress: bool = False) -> Callable[[Path], None]:
        def case(folder: Path) -> None:
            files.write_agedb(folder / "AgeDB", pairs, compress)
            path = folder / "AgeDB" / "04_FINAL_protocol_30_years.mat"
            path.write_bytes(change(path.read_bytes()))
            score(folder / "AgeDB", "agedb30")

        return case

    for compress in (False, True):
        for share in (0, 0.01, 0.05, 0.3, 0.7, 0.95):
            yield f"mat-cut-{share}-{compress}", changed(lambda d, s=share: d[: int(s * len(d))], compress)
    yield "mat-hdf5", changed(lambda d: b"\x89HDF\r\n\x1a\n" + d)
    yield "mat-73", changed(lambda d: b"MATLAB 7.3" + d[10:])
    yield "mat-endian", changed(lambda d: d[:126] + b"MI" + d[128:])
    yield "mat-text", changed(lambda d: b"x" * 5000)
    yield "mat-zeros", changed(lambda d: d[:128] + b"\0" * 5000)
    yield "mat-noise", changed(lambda d: d[:128] + np.random.default_rng(0).bytes(5000))
    yield "mat-dims", changed(lambda d: d.replace(struct.pack("<ii", 2, 2), struct.pack("<ii", 2**30, 2**30)))
    yield "mat-dims-2", changed(lambda d: d.replace(struct.pack("<ii", 10, 1), struct.pack("<ii", 2**20, 2)))
    yield "mat-bomb", changed(lambda d: d[:128] + _element(15, zlib.compress(bytes(200 * 2**20), 9), pad=False))

    def nested(d: bytes) -> bytes:
        inner = b""
        for _ in range(20_000):
            flags = (
                _element(6, struct.pack("<II", 1, 0)) + _element(5, struct.pack("<ii", 1, 1)) + _element(1, b"splits")
            )
            inner = _element(14, flags + inner)
        return d[:128] + inner

    yield "mat-nested", changed(nested)

    def holding(values: dict[str, Any]) -> Callable[[bytes], bytes]:
        out = BytesIO()
        savemat(out, values)
        return lambda _: out.getvalue()

    one = files.cell([{"path": "0_Actor0_20_f", "age": 20.0}] * 2, (2, 1))
    label = np.array([[1.0]])
    for name, values in {
        "none": {"other": 1.0},
        "number": {"splits": 1.0},
        "text": {"splits": "x"},
        "empty": {"splits": files.cell([], (0, 0))},
        "cells": {"splits": files.cell([1.0, 2.0], (2, 1))},
        "labels": {"splits": files.cell([{"p": one, "l": label * 5}], (1, 1))},
        "many-labels": {"splits": files.cell([{"p": one, "l": np.ones((1, 7))}], (1, 1))},
        "alone": {"splits": files.cell([{"p": one}], (1, 1))},
        "no-name": {"splits": files.cell([{"p": files.cell([1.0, 2.0], (2, 1)), "l": label}], (1, 1))},
        "unknown": {"splits": files.cell([{"p": files.cell(["x", "y"], (2, 1)), "l": label}], (1, 1))},
        "parent": {"splits": files.cell([{"p": files.cell(["../../x", "/etc/passwd"], (2, 1)), "l": label}], (1, 1))},
        "eleven": {"splits": files.cell([{"p": one, "l": label}] * 11, (11, 1))},
        "one-kind": {"splits": files.cell([{"p": one, "l": label}], (1, 1))},
    }.items():
        yield f"mat-{name}", changed(holding(values))


def _element(kind: int, data: bytes, pad: bool = True) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + (b"\0" * (-len(data) % 8) if pad else b"")

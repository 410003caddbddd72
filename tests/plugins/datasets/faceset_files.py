"""Writers for every format that bench_facesets reads; none of them uses the plugin's code.

A person's pictures are random pixels, different for every name, so that a picture in the wrong place is seen.
"""

from __future__ import annotations

import functools
import hashlib
import io
import pickle
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Pair = tuple[str, str, bool, int]  # two pictures, genuine or not, fold


def picture(name: str, size: tuple[int, int] = (112, 112)) -> Pixels:
    """Pixels ``(h, w, 3)`` of a picture of that name: a few blocks of colour, so that files are small."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    rows, columns = (np.arange(n) * 8 // n for n in size)
    return blocks[rows][:, columns]


def encoded(pixels: Pixels, kind: str = "png", **options: Any) -> bytes:
    """An image file of pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


@functools.cache
def png(name: str) -> bytes:
    """The picture of that name as a PNG."""
    return encoded(picture(name))


def put(path: Path, data: bytes | str) -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(data, str):
        data = data.encode()
    path.write_bytes(data)
    return path


def names_and_labels(pairs: Sequence[Pair]) -> tuple[list[str], list[bool]]:
    """The pictures of a ``.bin`` in its order, and its labels."""
    return [name for left, right, *_ in pairs for name in (left, right)], [same for _, _, same, _ in pairs]


def write_bin(path: Path, pairs: Sequence[Pair], protocol: int = 4, arrays: bool = False) -> Path:
    """What Python 3 programs write: ``pickle.dump((images, same))``."""
    names, same = names_and_labels(pairs)
    images: list[Any] = [png(name) for name in names]
    if arrays:
        images = [np.frombuffer(image, dtype=np.uint8) for image in images]
    return put(path, pickle.dumps((images, same), protocol=protocol))


def write_python2_bin(path: Path, pairs: Sequence[Pair]) -> Path:
    """What Python 2's cPickle writes with protocol 2: byte strings as STRING, remembered one by one."""
    names, same = names_and_labels(pairs)
    out, number = [b"\x80\x02]q\x00("], 1
    for name in names:
        data = png(name)
        out.append(b"T" + struct.pack("<i", len(data)) + data + b"r" + struct.pack("<I", number))
        number += 1
    out.append(b"e]r" + struct.pack("<I", number) + b"(" + b"".join(b"\x88" if s else b"\x89" for s in same) + b"e")
    out.append(b"\x86r" + struct.pack("<I", number + 1) + b".")
    return put(path, b"".join(out))


def protocol_pairs(folds: int = 10, per: int = 2) -> list[Pair]:
    """Pairs in the order of LFW: in every fold the genuine ones first. Names are ``Person_0001``-like."""
    pairs: list[Pair] = []
    for fold in range(folds):
        people = [f"Person_{'ABCDEFGHIJ'[fold]}{chr(97 + k)}" for k in range(2 * per)]
        pairs += [(f"{p}_0001", f"{p}_0002", True, fold) for p in people[:per]]
        pairs += [(f"{p}_0001", f"{people[(k + 1) % per]}_0002", False, fold) for k, p in enumerate(people[per:])]
    return pairs


def write_lfw(root: Path, pairs: Sequence[Pair], others: Sequence[str] = (), folds: int = 10) -> Path:
    """``Name/Name_0001.jpg`` and ``pairs.txt``."""
    lines = [f"{folds}\t{len(pairs) // folds // 2}"]
    for left, right, same, _ in pairs:
        (one, i), (other, j) = left.rsplit("_", 1), right.rsplit("_", 1)
        lines.append(f"{one}\t{int(i)}\t{int(j)}" if same else f"{one}\t{int(i)}\t{other}\t{int(j)}")
    for name in {*names_and_labels(pairs)[0], *others}:
        put(root / name.rsplit("_", 1)[0] / f"{name}.png", png(name))
    put(root / "pairs.txt", "\n".join(lines) + "\n")
    return root


def write_calfw(root: Path, pairs: Sequence[Pair]) -> Path:
    """``aligned images/Name_0001.jpg``; two lines per pair, genuine ones first."""
    ordered = sorted(pairs, key=lambda p: not p[2])
    lines = [f"{name}.jpg {fold + 1 if same else 0}" for *names, same, fold in ordered for name in names]
    for name in set(names_and_labels(pairs)[0]):
        put(root / "aligned images" / f"{name}.jpg", png(name))
    put(root / "pairs_CALFW.txt", "\n".join(lines) + "\n")
    return root


def write_cfp(root: Path, pairs: Sequence[Pair]) -> Path:
    """``Data/Images/001/frontal/01.jpg``; a numbered list, and pairs of numbers by fold. Names are ``001/01``."""
    names = sorted(set(names_and_labels(pairs)[0]))
    number = {name: k for k, name in enumerate(names, 1)}
    path = {name: f"Data/Images/{name.split('/')[0]}/frontal/{name.split('/')[1]}.jpg" for name in names}
    for name in names:
        put(root / path[name], png(name))
        put(root / path[name].replace("frontal", "profile"), png(name + " from the side"))
    put(root / "Protocol" / "Pair_list_F.txt", "".join(f"{number[n]} ../{path[n]}\n" for n in names))
    for fold in range(10):
        for file, label in (("same", True), ("diff", False)):
            lines = [f"{number[a]},{number[b]}" for a, b, same, f in pairs if same == label and f == fold]
            put(root / "Protocol" / "Split" / "FF" / f"{fold + 1:02d}" / f"{file}.txt", "\n".join(lines) + "\n")
    return root


def cell(values: Sequence[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """A MATLAB cell, in column order."""
    out = np.empty(len(values), dtype=object)
    for k, value in enumerate(values):
        out[k] = value
    return out.reshape(shape, order="F")


def write_agedb(root: Path, pairs: Sequence[Pair], compress: bool = True) -> Path:
    """``03_Protocol_Images/0_Name_35_f.jpg`` and the splits as scipy writes them."""
    from scipy.io import savemat

    splits = []
    for fold in range(10):
        chosen = [p for p in pairs if p[3] == fold]
        names = names_and_labels(chosen)[0]
        images = [{"path": name, "age": float(name.split("_")[2])} for name in names]
        labels = np.array([[1.0 if same else -1.0 for _, _, same, _ in chosen]])
        splits.append({"pairs": cell(images, (2, len(chosen))), "labels": labels})
    root.mkdir(parents=True, exist_ok=True)
    savemat(root / "04_FINAL_protocol_30_years.mat", {"splits": cell(splits, (10, 1))}, do_compression=compress)
    for name in set(names_and_labels(pairs)[0]):
        put(root / "03_Protocol_Images" / f"{name}.jpg", png(name))
    return root


def write_folder(root: Path, people: Mapping[str, int]) -> Path:
    """``subject/0.png``."""
    for name, count in people.items():
        for k in range(count):
            put(root / name / f"{k}.png", png(f"{name}/{k}"))
    return root


def record(data: bytes) -> bytes:
    """One record of RecordIO; where the magic number is in the data, it is split there, as dmlc does."""
    magic = struct.pack("<I", 0xCED7230A)
    cuts = [k for k in range(0, len(data) - 3, 4) if data[k : k + 4] == magic]
    parts = [data[a:b] for a, b in zip([0, *(c + 4 for c in cuts)], [*cuts, len(data)], strict=True)]
    flags = [0] if len(parts) == 1 else [1, *[2] * (len(parts) - 2), 3]
    return b"".join(
        magic + struct.pack("<I", flag << 29 | len(part)) + part + b"\0" * (-len(part) % 4)
        for flag, part in zip(flags, parts, strict=True)
    )


def write_rec(folder: Path, people: Sequence[tuple[int, bytes]], contents: bool = True, labels: int = 1) -> Path:
    """``train.rec`` and ``train.idx``, with a table of contents and records of the people after the images."""
    records = []
    if contents:
        records.append(struct.pack("<IfQQ2f", 2, 0.0, 0, 0, len(people) + 1, len(people) + 2))
    for number, (label, image) in enumerate(people, len(records)):
        if labels == 1:
            records.append(struct.pack("<IfQQ", 0, label, number, 0) + image)
        else:
            records.append(struct.pack(f"<IfQQ{labels}f", labels, 0, number, 0, label, *[0.5] * (labels - 1)) + image)
    if contents:
        records.append(struct.pack("<IfQQ2f", 2, 0.0, len(records), 0, 1, 2))
    out, index = b"", ""
    for key, data in enumerate(records):
        index += f"{key}\t{len(out)}\n"
        out += record(data)
    put(folder / "train.idx", index)
    return put(folder / "train.rec", out)

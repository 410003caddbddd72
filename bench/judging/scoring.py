"""The rows of a judgement: one for each comparison of a protected picture with an original, by one judge.

Every figure is computed from these rows, by `bench.judging.figures`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from bench.core.errors import BenchError, ContractError
from bench.judging import thresholds
from bench.judging.judges import Judge
from bench.judging.pictures import JudgedPictures, OtherPeople
from bench.judging.preprocessing import PREPROCESSINGS
from bench.metrics import lpips, recognition
from bench.metrics.arrays import Images
from bench.metrics.images import psnr, ssim
from bench.registry.discovery import discover
from bench.stages.embedding import embedded
from bench.stages.stage_inputs import network

OnProgress = Callable[[str], None]  # what is being done; empty if nothing is
OWN_PICTURE, OTHER_PICTURE = "own original", "other original"
#: The columns of the rows; `docs/your-photos.md` explains them.
SCHEMA = pa.schema(
    [
        ("judge", pa.string()),
        ("weights", pa.string()),
        ("stand_in", pa.bool_()),
        ("photo", pa.int64()),
        ("person", pa.int64()),
        ("alignment", pa.string()),
        ("preprocessing", pa.string()),
        ("compared_with", pa.string()),
        ("original", pa.int64()),
        ("face_found", pa.bool_()),
        ("cosine", pa.float64()),
        ("fmr", pa.float64()),
        ("threshold_service", pa.float64()),
        ("service_people", pa.int64()),
        ("service_impostors", pa.int64()),
        ("threshold_adversary", pa.float64()),
        ("adversary_people", pa.int64()),
        ("adversary_impostors", pa.int64()),
        ("strangers_service", pa.float64()),
        ("strangers_adversary", pa.float64()),
        ("rank", pa.int64()),
        ("rank_first", pa.float64()),
        ("rank_chance", pa.float64()),
        ("rank_other", pa.int64()),
        ("rank_other_first", pa.float64()),
        ("rank_other_chance", pa.float64()),
        ("psnr", pa.float64()),
        ("ssim", pa.float64()),
        ("lpips", pa.float64()),
    ]
)
_BATCH = 32
_MIN_PAIRS = 30  # genuine and impostor pairs, each, without which a judge is not tested


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The rows, and why there is no threshold of the service or of the adversary, in words; empty if there is one."""

    rows: pa.Table
    no_service: str
    no_adversary: str


@dataclass(kw_only=True)
class _Found:
    """What is collected while judges work."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    no_service: dict[str, None] = field(default_factory=dict)
    no_adversary: dict[str, None] = field(default_factory=dict)


def score(
    judges: list[Judge],
    pictures: JudgedPictures,
    strangers: OtherPeople | None,
    *,
    fmr: float,
    device: str,
    on_progress: OnProgress,
) -> Scores:
    """Return the rows of all judges. Raise `ContractError` for a network that does not work, or that cannot tell the
    people of the originals apart."""
    found = _Found()
    visible = _visibility(pictures, device)
    for judge in judges:
        on_progress(f"recognising with {judge.name}")
        _judge(found, judge, pictures, strangers, visible, fmr, device)
    on_progress("")
    return Scores(
        rows=pa.Table.from_pylist(found.rows, schema=SCHEMA),
        no_service="; ".join(found.no_service),
        no_adversary="; ".join(found.no_adversary),
    )


def _judge(
    found: _Found,
    judge: Judge,
    pictures: JudgedPictures,
    strangers: OtherPeople | None,
    visible: dict[str, NDArray[np.float64]],
    fmr: float,
    device: str,
) -> None:
    """Add the rows of one judge: of each preprocessing, with each alignment."""
    embed = _embedder(judge, device)
    who = np.array([pictures.people.of[name] for name in pictures.gallery], dtype=np.int64)
    c = thresholds.Compared(
        people=pictures.people,
        strangers=strangers,
        clean=embed(pictures.originals),
        who=who,
        other=None if strangers is None else embed(strangers.images),
        fmr=fmr,
    )
    _check_separates(judge, c)
    shown = np.array([pictures.people.of[name] for name in pictures.photos], dtype=np.int64)
    for preprocessing, change in PREPROCESSINGS.items():
        changed = embed(change(pictures.originals if strangers is None else strangers.images))
        service = thresholds.of_service(c, changed, shown)
        if service.reason:
            found.no_service[service.reason] = None
        for alignment, (rows, faces) in pictures.protected.items():
            probes = embed(change(faces))
            adversary = thresholds.of_adversary(c, probes, shown[rows], shown)
            if adversary.reason:
                found.no_adversary[adversary.reason] = None
            scored = _Preprocessed(judge, alignment, preprocessing, c, service, adversary)
            found.rows += scored.rows(pictures, shown, rows, probes, visible)


@dataclass(frozen=True)
class _Preprocessed:
    """One judge, one alignment and one preprocessing, with the thresholds that apply."""

    judge: Judge
    alignment: str
    preprocessing: str
    c: thresholds.Compared
    service: thresholds.PhotoThreshold
    adversary: thresholds.PhotoThreshold

    def rows(
        self,
        pictures: JudgedPictures,
        shown: NDArray[np.int64],
        having: NDArray[np.int64],
        probes: NDArray[np.float32],
        visible: dict[str, NDArray[np.float64]],
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows of all photos. ``having`` are the photos with a face, and ``probes`` their embeddings."""
        place = {name: k for k, name in enumerate(pictures.gallery)}
        own = np.array([place[name] for name in pictures.photos], dtype=np.int64)
        known = self.c.people.known
        both = np.stack([self.service.kappa, self.adversary.kappa], axis=1)
        measured = _ranks(self.c, probes, own[having], known=known)
        strangers = self.c.matched_strangers(probes, shown[having], both[having])
        cosines = np.clip(probes.astype(np.float64) @ self.c.clean.astype(np.float64).T, -1, 1)
        at = {int(photo): k for k, photo in enumerate(having)}
        for photo in range(len(pictures.photos)):
            k = at.get(photo)
            base = self._base(photo, int(shown[photo]) if known else None, k is not None)
            about = {name: _number(values[photo]) for name, values in visible.items()}
            if k is not None:
                about |= {name: _number(values[k]) for name, values in measured.items()}
                about |= {
                    "strangers_service": _number(strangers[k, 0]),
                    "strangers_adversary": _number(strangers[k, 1]),
                }
            of_own = {"compared_with": OWN_PICTURE, "original": int(own[photo]), "cosine": _at(cosines, k, own[photo])}
            yield base | of_own | about
            others = np.flatnonzero(self.c.who == shown[photo]).tolist() if known else []
            for other in (o for o in others if o != own[photo]):
                yield base | {"compared_with": OTHER_PICTURE, "original": other, "cosine": _at(cosines, k, other)}

    def _base(self, photo: int, person: int | None, face_found: bool) -> dict[str, Any]:
        return {
            "judge": self.judge.name,
            "weights": self.judge.weights,
            "stand_in": self.judge.stand_in,
            "photo": photo,
            "person": person,
            "alignment": self.alignment,
            "preprocessing": self.preprocessing,
            "face_found": face_found,
            "fmr": self.c.fmr,
            "threshold_service": _number(self.service.kappa[photo]),
            "service_people": self.service.people,
            "service_impostors": self.service.impostors,
            "threshold_adversary": _number(self.adversary.kappa[photo]),
            "adversary_people": self.adversary.people,
            "adversary_impostors": self.adversary.impostors,
        }


def _ranks(
    c: thresholds.Compared, probes: NDArray[np.float32], own: NDArray[np.int64], *, known: bool
) -> dict[str, NDArray[np.float64]]:
    """Return the rank of each probe's person among all originals, and among all but the very picture that the probe
    was made from, each with the probability of rank 1 if equal scores are ordered at random, and with its chance; NaN
    where there is no other picture of the person."""
    m, n = len(c.clean), len(probes)
    who = c.who if known else np.arange(m)
    pictures = np.bincount(who)[who[own]] if n else np.zeros(0)
    names = "rank", "rank_first", "rank_other", "rank_other_first", "rank_other_chance"
    found = {name: np.full(n, np.nan) for name in names}
    if not n:
        return found | {"rank_chance": np.zeros(0)}
    every = recognition.identified(probes, c.clean, own, who)
    found["rank"], found["rank_first"] = every.ranks.astype(np.float64), every.first
    more = np.flatnonzero(pictures > 1)
    if len(more):
        hidden = own[more, None] == np.arange(m)[None, :]
        others = recognition.identified(probes[more], c.clean, own[more], who, hidden)
        found["rank_other"][more], found["rank_other_first"][more] = others.ranks, others.first
        found["rank_other_chance"][more] = (pictures[more] - 1) / (m - 1)
    return found | {"rank_chance": pictures / m}


def _check_separates(judge: Judge, c: thresholds.Compared) -> None:
    """Raise `ContractError` if a judge is not better than guessing on the originals. With few pairs nothing is
    tested."""
    if not c.people.known:
        return
    genuine, impostor = recognition.genuine_scores(c.clean, c.who), recognition.impostor_scores(c.clean, c.who)
    if min(len(genuine), len(impostor)) < _MIN_PAIRS:
        return
    found = recognition.separation(genuine, impostor)
    if found < 0.5 + 3 * np.sqrt((1 / len(genuine) + 1 / len(impostor)) / 12):
        raise ContractError(
            f"{judge.name}: it cannot tell the people of the originals apart: a pair of one person scores higher than "
            f"a pair of two in {found:.0%} of cases, 50 % is guessing. Check the network with: bench models check; and "
            "the folders: each must hold the photos of one person"
        )


def _embedder(judge: Judge, device: str) -> Callable[[Images], NDArray[np.float32]]:
    """Return a function from images uint8 ``(n, 3, 112, 112)`` to unit embeddings ``(n, d)``."""
    component = judge.component
    try:
        net = network(component, torch.device(device))
        size = int(discover().build(component).embedding_size)
    except BenchError as error:
        raise type(error)(f"judge {judge.name}: {error}") from None

    def embed(images: Images) -> NDArray[np.float32]:
        parts = [np.zeros((0, size), np.float32)]
        with torch.inference_mode():
            for first in range(0, len(images), _BATCH):
                x = torch.from_numpy(np.ascontiguousarray(images[first : first + _BATCH])).to(device).float() / 255
                parts.append(embedded(net, x, size, f"judge {judge.name}").cpu().numpy())
        return np.concatenate(parts)

    return embed


def _visibility(pictures: JudgedPictures, device: str) -> dict[str, NDArray[np.float64]]:
    """Return PSNR, SSIM and, with its weights, LPIPS of the aligned face of each photo against its original; both are
    cut out where the face is in the original."""
    rows, faces = list(pictures.protected.values())[-1]
    place = {name: k for k, name in enumerate(pictures.gallery)}
    originals = pictures.originals[[place[pictures.photos[row]] for row in rows]]
    measured = {"psnr": psnr(faces, originals), "ssim": ssim(faces, originals)}
    if lpips.find_vgg().path is not None:
        measured["lpips"] = lpips.load(device).distance(faces, originals)
    found = {}
    for name, values in measured.items():
        found[name] = np.full(len(pictures.photos), np.nan)
        found[name][rows] = values
    return found


def _at(cosines: NDArray[np.float64], k: int | None, column: Any) -> float | None:
    return None if k is None else float(cosines[k, int(column)])


def _number(value: Any) -> float | None:
    """Return a number for a column; None for NaN and for the PSNR of equal pictures, which is infinite."""
    return float(value) if np.isfinite(value) else None

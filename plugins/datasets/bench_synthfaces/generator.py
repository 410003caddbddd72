"""Synthetic face pictures, 112x112 RGB, drawn by formulas: no downloads, no data files, no real people.

A picture is a pure function of (seed, subject, shot, age, style). Its pixels do not depend on the batch in which it is
rendered, so pictures can be rendered lazily, in any order and by any number of workers.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._identity import Style, draw_person, draw_shot, subject_labels
from ._render import photograph

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
GENDERS = ("woman", "man")
GROUPS = ("group-a", "group-b", "group-c", "group-d", "group-e", "group-f")
IMAGE_SIZE = 112
CHUNK = 32  #: Every matrix product has this many samples, so rounding does not depend on the batch.

__all__ = ["EMOTIONS", "GENDERS", "GROUPS", "IMAGE_SIZE", "Rendered", "Style", "render", "subject_labels"]


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A set of n pictures and their labels."""

    images: Tensor  # uint8 (n, 3, 112, 112), RGB
    subjects: Tensor  # int64 (n,)
    age: Tensor  # float32 (n,), years
    gender: Tensor  # int64 (n,), index into GENDERS
    emotion: Tensor  # int64 (n,), index into EMOTIONS
    group: Tensor  # int64 (n,), index into GROUPS


def _vector(values: Tensor | NDArray[np.int64], name: str) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected a vector of integers, got shape {array.shape} of {array.dtype}")
    return array.astype(np.int64)


@torch.no_grad()
def render(
    seed: int,
    subjects: Tensor | NDArray[np.int64],
    shots: Tensor | NDArray[np.int64],
    *,
    age: Tensor | None = None,
    style: Style = "wild",
    device: str | torch.device = "cpu",
) -> Rendered:
    """Draw picture `shots[i]` of subject `subjects[i]`, for every i.

    Args:
        seed: the random seed; other seeds have other people.
        subjects: int64 (n,), any identity numbers.
        shots: int64 (n,), the number of the picture within its subject.
        age: float (n,) in years; None, or NaN for one picture: within 6 years of the subject's usual age.
        style: "wild" (pose, light and quality vary), "frontal" (small yaw, mild light), "plain" (studio) or "outdoor"
            (a worse camera, harder light and more colourful surroundings than in "wild").
        device: the device of the result; drawing itself runs on the CPU, so that it is reproducible.

    Raises:
        ValueError: the vectors do not have the same length, or the style is unknown.
    """
    who, which = _vector(subjects, "subjects"), _vector(shots, "shots")
    if who.shape != which.shape or (age is not None and tuple(age.shape) != who.shape):
        raise ValueError(f"subjects, shots and age: expected equal lengths, got {len(who)} and {len(which)}")
    if style not in get_args(Style):
        raise ValueError(f"style: expected one of {', '.join(get_args(Style))}, got {style!r}")
    n = len(who)
    images = torch.empty((n, 3, IMAGE_SIZE, IMAGE_SIZE), dtype=torch.uint8)
    ages, emotions = torch.empty(n), torch.empty(n, dtype=torch.int64)
    for start in range(0, n, CHUNK):
        rows = np.minimum(np.arange(start, start + CHUNK), n - 1)  # The last chunk is filled with its last sample.
        stop = min(start + CHUNK, n)
        person = draw_person(seed, who[rows])
        chunk_age = None if age is None else age.detach().cpu().float()[rows]
        shot = draw_shot(seed, who[rows], which[rows], person, chunk_age, style)
        images[start:stop] = photograph(person, shot)[: stop - start]
        ages[start:stop], emotions[start:stop] = shot.age[: stop - start], shot.emotion[: stop - start]
    gender, group = subject_labels(seed, who)
    made = Rendered(
        images=images,
        subjects=torch.from_numpy(who),
        age=ages,
        gender=torch.from_numpy(gender),
        emotion=emotions,
        group=torch.from_numpy(group),
    )
    return Rendered(**{f.name: getattr(made, f.name).to(device) for f in fields(Rendered)})

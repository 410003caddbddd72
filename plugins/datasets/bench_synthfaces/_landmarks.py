"""Where the landmarks of a drawn face are: the true positions, from the formulas that draw it."""

from __future__ import annotations

import torch
from torch import Tensor

from ._fields import SIZE
from ._identity import Person, Shot


def landmarks(person: Person, shot: Shot) -> Tensor:
    """Return the middle of both eyes, the tip of the nose and both corners of the mouth, ``(n, 5, 2)``.

    Coordinates are x and y in pixels of the finished picture, 0 for the centre of the first pixel; points that are left
    in the picture come first.
    """
    g, au = person.geometry, shot.units
    smile, jaw = au["smile"], au["jaw"].clamp(min=0)
    wider = 0.16 * au["stretch"] + 0.13 * smile.clamp(min=0) - 0.22 * jaw * (1 - smile.clamp(0, 1))
    lift = g["corner"] + 0.060 * smile - 0.010 * ((shot.age - 32) / 43).clamp(0, 1.15) * person.ageing[:, 0]
    mouth_x, mouth_y = g["mouth_w"] * (1 + wider), g["mouth_y"] - 0.65 * lift
    x = torch.stack([-g["eye_x"], g["eye_x"], torch.zeros_like(mouth_x), -mouth_x, mouth_x], dim=1)
    y = torch.stack([g["eye_y"], g["eye_y"], g["nose_y"], mouth_y, mouth_y], dim=1)
    return _in_pixels(*_turned(x, y, person, shot))


def _turned(x: Tensor, y: Tensor, person: Person, shot: Shot) -> tuple[Tensor, Tensor]:
    """Return where points ``(n, k)`` of the head seen from the front lie after `bench_synthfaces._render.turn`, whose
    formulas this inverts."""
    yaw, pitch, roll = (shot.pose[:, i, None] for i in range(3))
    tip, tip_y = person.geometry["tip_h"][:, None] * 1.4, person.geometry["nose_y"][:, None]
    dome = (1 - x * x * 1.25 - (y - 0.05) ** 2 * 0.55).clamp(min=-0.3) * 0.55
    depth = dome + tip / (1 + (x / 0.10) ** 2 + ((y - tip_y + 0.05) / 0.20) ** 2) - 0.40
    rx, ry = x * yaw.cos() + depth * yaw.sin(), y * pitch.cos() + depth * pitch.sin()
    px, py = rx * roll.cos() - ry * roll.sin(), ry * roll.cos() + rx * roll.sin()
    scale = torch.exp(shot.place[:, 0, None])
    return px * scale + shot.place[:, 1, None], py * scale + shot.place[:, 2, None]


def _in_pixels(x: Tensor, y: Tensor) -> Tensor:
    """Return coordinates of the canonical face as pixels (see `bench_synthfaces._fields`)."""
    across, down = (x + 1) * SIZE / 2 - 0.5, ((y + 0.10) / 1.12 + 1) * SIZE / 2 - 0.5
    return torch.stack([across, down], dim=-1)

"""The relief of a face: outline, height field and shading, computed with a few large matrix products.

A field is a tensor (n, 112, 112); `column(v)` reshapes a per-sample scalar so that it broadcasts over fields.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ._identity import Person, Shot

SIZE = 112
AXIS = (torch.arange(SIZE).float() + 0.5) * (2.0 / SIZE) - 1.0  # The coordinates of pixel centres.
ROWS = AXIS * 1.12 - 0.10  # Rows run from -1.22 to 1.02, which leaves room above the canonical face.
X = AXIS.view(1, 1, SIZE)
Y = ROWS.view(1, SIZE, 1)
SOFT = 0.016  #: The half width of an antialiased edge.


def column(v: Tensor) -> Tensor:
    """Reshape (n,) to (n, 1, 1)."""
    return v[:, None, None]


def edge(distance: Tensor, soft: float = SOFT) -> Tensor:
    """Return a smooth step function of a distance: 0 well below zero, 1 well above."""
    return torch.sigmoid(distance * (2.2 / soft))


def sag(person: Person, shot: Shot) -> Tensor:
    """Return how much ageing has changed the face, (n,): 0 for young people, about 1 at 75."""
    return ((shot.age - 32) / 43).clamp(0, 1.15) * person.ageing[:, 0]


def half_width(person: Person, shot: Shot) -> Tensor:
    """Return the half width of the face in each row, (n, 112, 1)."""
    g, age = person.geometry, column(sag(person, shot))
    low = column(g["face_low"] + 0.055 * shot.units["jaw"].clamp(min=0)) + 0.015 * age
    down = (Y / low).clamp(0, 1)
    power = 2.3 + column(g["jaw_y"] - 0.54) * 12 + column(g["jaw_w"] - 0.78) * 5 + 0.25 * age
    exponent = (0.58 - column(g["chin_w"] - 0.46) * 1.5 - column(g["jaw_w"] - 0.78) * 1.2).clamp(0.34, 0.85)
    lower = (1 - down ** power.clamp(1.6, 4.5)).clamp(min=0) ** exponent
    up = ((-Y - 0.10) / 0.88).clamp(0, 1)
    upper = (1 - up**2.7).sqrt() * (1 - column(1 - g["temple_w"]) * torch.sin(up * 3.1))
    waves = torch.zeros(())
    for k in range(5):
        waves = waves + column(person.outline[:, k]) * torch.cos((1.1 + 0.9 * k) * math.pi * (Y + 0.3 * k))
    beyond = (down >= 1).float() + (up >= 1).float()
    return column(g["face_w"]) * lower * upper * (1 + 0.014 * waves) - 0.1 * beyond


Bump = tuple[Tensor | float, Tensor | float, Tensor | float, Tensor | float, Tensor | float]


def _bumps(person: Person, shot: Shot) -> list[Bump]:
    """Return (x, y, x-scale, y-scale, height) of the anatomical bumps; each is mirrored in x."""
    g, au, age = person.geometry, shot.units, sag(person, shot)
    eye_x, eye_y, nose_y, mouth_y = g["eye_x"], g["eye_y"], g["nose_y"], g["mouth_y"]
    lifted = 0.02 * au["cheek"].clamp(min=0)
    low = g["face_low"]
    wrinkle = au["wrinkle"].clamp(min=0)
    return [
        (eye_x, g["brow_y"] + 0.05, 0.19, 0.065, g["brow_ridge"]),
        (eye_x - 0.04, eye_y, 0.15, 0.10, -g["socket"] - 0.01 * age),
        (eye_x, eye_y, 0.11, 0.07, 0.030),
        (0.0, g["bridge_y"], g["bridge_w"], 0.17, g["bridge_h"]),
        (0.0, eye_y - 0.03, 0.05, 0.09, 0.4 * g["bridge_h"]),
        (0.0, nose_y, g["tip_w"], 0.075, g["tip_h"]),
        (0.0, nose_y - 0.08, 0.055, 0.12, 0.6 * g["tip_h"]),
        (g["nose_w"] * 0.82, nose_y + 0.025, 0.042, 0.048, g["ala_h"] + 0.01 * wrinkle),
        (g["nose_w"] + 0.05, nose_y - 0.03, 0.05, 0.10, -0.018),
        (0.0, 0.5 * (nose_y + mouth_y) + 0.01, 0.022, 0.055, -g["philtrum"]),
        (g["cheek_x"], g["cheek_y"] - lifted, 0.15, 0.12, g["cheek_h"] + lifted),
        (0.44, 0.40, 0.12, 0.17, g["hollow"] - 0.016 * age),
        (0.0, mouth_y, g["mouth_w"] * 1.1, 0.12, 0.045),
        (0.0, mouth_y - 0.03, g["mouth_w"] * 0.7, 0.030, 0.016),
        (0.0, mouth_y + 0.04, g["mouth_w"] * 0.6, 0.032, 0.022),
        (0.0, mouth_y + 0.135, 0.13, 0.045, -g["groove"]),
        (0.0, low - 0.135, 0.14, 0.085, g["chin_h"]),
        (0.0, low - 0.11, 0.022, 0.05, -g["cleft"]),
        (g["mouth_w"] + 0.11, mouth_y + 0.16, 0.08, 0.12, 0.030 * age),
        (g["mouth_w"] + 0.05, mouth_y + 0.09, 0.028, 0.10, -0.022 * age),
        (0.24, -0.47, 0.16, 0.12, g["boss"]),
        (0.52, -0.30, 0.09, 0.16, g["temple_h"] - 0.012 * age),
        (0.0, g["brow_y"] + 0.02, 0.07, 0.07, g["glabella"]),
        (eye_x, eye_y + 0.125, 0.10, 0.035, 0.016 * age * person.ageing[:, 1]),
        (eye_x - 0.01, eye_y + 0.170, 0.11, 0.022, -0.016 * age * person.ageing[:, 1]),
        (0.022, g["brow_y"] + 0.01, 0.012, 0.05, -0.012 * (0.7 * age - au["brow_in"]).clamp(min=0)),
    ]


def _gaussians(axis: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    return torch.exp(-0.5 * ((axis - centre) / scale) ** 2)


def separable(bumps: list[Bump], n: int) -> Tensor:
    """Return the sum of mirrored Gaussian bumps, (n, 112, 112), as one batched matrix product."""
    parts = [torch.stack([torch.as_tensor(b[i], dtype=torch.float32).expand(n) for b in bumps], 1) for i in range(5)]
    along_x = _gaussians(AXIS.abs().view(1, SIZE, 1), parts[0][:, None], parts[2][:, None])
    along_y = _gaussians(ROWS.view(1, SIZE, 1), parts[1][:, None], parts[3][:, None]) * parts[4][:, None]
    return torch.bmm(along_y, along_x.transpose(1, 2))


_GRID_X = _gaussians(AXIS.view(SIZE, 1), torch.linspace(-0.54, 0.54, 7), torch.tensor(0.10))
_GRID_Y = _gaussians(ROWS.view(SIZE, 1), torch.linspace(-0.55, 0.80, 7), torch.tensor(0.12))
BUMP_HEIGHT = 0.023


def _wrinkles(person: Person, shot: Shot) -> Tensor:
    """Return the height of forehead lines, crow's feet and the folds between nose and mouth, (n, 112, 112)."""
    g, au, a = person.geometry, shot.units, person.ageing
    age = ((shot.age - 28) / 47).clamp(0, 1.1)
    x = X.abs()
    raised = au["brow_in"].clamp(min=0) + au["brow_out"].clamp(min=0)
    lines = torch.cos((Y + 0.04 * X * X) * column(38 + 14 * a[:, 5]) + column(a[:, 4]) * 9)
    window = torch.exp(-((Y + 0.50) ** 2) / 0.018) * torch.exp(-(X**2) / 0.13)
    z = column(0.0042 * age * a[:, 2] * (1 + raised) + 0.0015 * raised) * lines * window
    out, down = x - column(g["eye_x"] + g["eye_w"] + 0.055), Y - column(g["eye_y"])
    fan = torch.cos(torch.atan2(down, out + 0.12) * 13) * torch.exp(-(out**2) / 0.005) * torch.exp(-(down**2) / 0.005)
    smile = au["smile"].clamp(min=0)
    z = z + column(0.0065 * age * a[:, 3] * (0.8 + smile)) * fan
    along = (Y - column(g["nose_y"])) / column(g["mouth_y"] - g["nose_y"] + 0.03)
    fold_x = column(g["nose_w"] + 0.035) + column(g["mouth_w"] - g["nose_w"] + 0.03 + 0.03 * smile) * along
    fold = torch.exp(-(((x - fold_x) / 0.024) ** 2)) * torch.exp(-(((along - 0.5) / 0.5) ** 2))
    return z - column(0.017 * age * a[:, 4] + 0.008 * smile + 0.002) * fold


def height(person: Person, shot: Shot, width: Tensor) -> Tensor:
    """Return the relief of the face, (n, 112, 112), in half image widths."""
    roundness = (1.03 - (X / width.clamp(min=0.40)) ** 2).clamp(min=0.02).sqrt() * 0.46
    chin = (Y - column(person.geometry["face_low"]) + 0.16).clamp(min=0)
    crown = (-0.62 - Y).clamp(min=0)
    dome = roundness - 0.20 * (Y - 0.05) ** 2 - 1.9 * chin**2 - 1.6 * crown**2
    z = dome + separable(_bumps(person, shot), dome.shape[0]) + _wrinkles(person, shot)
    return z + BUMP_HEIGHT * (_GRID_Y @ person.bumps @ _GRID_X.T)


def shading(relief: Tensor, shot: Shot) -> tuple[Tensor, Tensor]:
    """Return the diffuse and the specular light on the relief, each (n, 112, 112)."""
    scale = SIZE / 4.0
    gx = (relief.roll(-1, 2) - relief.roll(1, 2)) * scale
    gy = (relief.roll(-1, 1) - relief.roll(1, 1)) * (scale / 1.12)
    inverse = torch.rsqrt(1 + gx * gx + gy * gy)
    lx, ly, lz = (column(shot.light[:, i]) for i in range(3))
    diffuse = ((lz - lx * gx - ly * gy) * inverse).clamp(min=0)
    half = shot.light + torch.tensor([0.0, 0.0, 1.0])
    half = half / half.norm(dim=1, keepdim=True)
    hx, hy, hz = (column(half[:, i]) for i in range(3))
    glint = ((hz - hx * gx - hy * gy) * inverse).clamp(min=0) ** 2
    glint = glint * glint
    return diffuse, glint * glint * glint


def _waves(axis: Tensor) -> Tensor:
    return torch.cos(torch.arange(8).float().view(1, 8) * (axis.view(SIZE, 1) * 0.75 + 0.5) * (math.pi * 1.05))


_WAVES_X, _WAVES_Y = _waves(AXIS), _waves(ROWS)


def complexion(person: Person) -> Tensor:
    """Return the identity's skin texture: the relative change of red, green and blue, (n, 3, 112, 112)."""
    c = person.albedo
    mixed = torch.stack([c[:, 0] + c[:, 1], c[:, 0] - 0.7 * c[:, 1], c[:, 0] - 0.5 * c[:, 1] - c[:, 2]], dim=1)
    return _WAVES_Y @ mixed @ _WAVES_X.T

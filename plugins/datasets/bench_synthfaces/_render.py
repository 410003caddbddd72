"""Rendering of traits and conditions to pixels: compose the canonical face, rotate it, and simulate a camera."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ._features import (
    EYES,
    FOLD,
    beard_density,
    brow_mask,
    occlusion,
    paint,
    paint_eyes,
    paint_glasses,
    paint_mouth,
    skin_details,
)
from ._fields import AXIS, SIZE, X, Y, column, complexion, edge, half_width, height, shading
from ._identity import Person, Shot
from ._rng import crops, noise_tile


def _hair_colour(person: Person, shot: Shot) -> Tensor:
    """Return the hair colour (n, 3): the pigment, greyed by age from a personal onset."""
    grey = ((shot.age - person.grey_onset) / 22).clamp(0, 0.92) * person.ageing[:, 1].clamp(max=1)
    silver = torch.tensor([0.70, 0.69, 0.68])
    return torch.lerp(person.hair * torch.exp(0.22 * shot.extra[:, :1]), silver.expand_as(person.hair), grey[:, None])


def _hair_masks(person: Person, shot: Shot, width: Tensor) -> tuple[Tensor, Tensor]:
    """Return the masks of the hair behind the head and of the hair over the face, each (n, 112, 112)."""
    s, h, man = person.style, person.hairline, person.gender.float()
    loose = 1 + 0.05 * column(shot.extra[:, 1])
    receded = ((shot.age - 35) / 40).clamp(0, 1) * (0.25 + 0.75 * man) * (person.ageing[:, 3] - 0.45)
    crown = column(1.00 + s["top"] * (1 + 0.1 * shot.extra[:, 1]))
    up = shot.tied * s["long"]
    side = column(torch.where(up > 0, 0.02 + 0.25 * s["side"], s["side"]))
    length = torch.where(up > 0, -0.10 + 0.15 * s["length"], s["length"])
    burn = torch.where(up > 0, -0.15 + 0.2 * s["sideburn"], s["sideburn"])
    outer = (column(person.geometry["face_w"]) + side) * loose
    cap = (1 - ((Y + 0.12).clamp(max=0) / (crown - 0.12)).abs() ** 2.8).clamp(min=0).sqrt() * outer
    waves = column(s["wave"]) * torch.sin(column(s["wave_f"]) * Y + column(h[:, 5]))
    fall = column(s["flare"]) * (Y + 0.12).clamp(min=0) + waves
    reach = torch.maximum(cap, (width + 0.4 * side) * (Y < 0.2)) + fall * (Y > -0.8) - 0.1 * (cap <= 0)
    present = column(1 - s["bald"])
    tips = column(length) + 0.02 * torch.sin(X * 21 + column(h[:, 4]) * 3)
    back = edge(reach - X.abs(), 0.03) * edge(tips - Y, 0.05) * present
    low = column(-0.60 + 0.055 * h[:, 0] + 0.20 * s["fringe"] - 0.20 * receded - 0.9 * s["bald"])
    bend = column(0.10 + 0.16 * h[:, 1]) * (X * X - 0.12) + column(0.09 * h[:, 2]) * X
    widow = column(0.07 * h[:, 3].clamp(min=-0.6) + 0.06 * receded) * torch.exp(-((X / 0.16) ** 2))
    corner = column(0.045 * h[:, 4] - 0.16 * receded) * torch.exp(-(((X.abs() - 0.36) / 0.14) ** 2))
    teeth = column(s["jag"]) * torch.sin(X * column(17 + 2.5 * h[:, 5]) + column(3 * h[:, 4]))
    parting = column(0.11 * s["fringe"]) * ((X - column(s["part"])).abs() - 0.35)
    front = edge(low + bend + widow + corner + teeth + parting - Y, 0.028)
    locks = edge(X.abs() - width * column(s["lock"]), 0.03) * edge(column(burn) - Y, 0.10)
    over = torch.maximum(front, locks * edge(Y + 0.75, 0.1)) * edge(reach - X.abs(), 0.03) * present
    return back, over


def _strands(person: Person, shot: Shot, grain: Tensor) -> Tensor:
    """Return the brightness of the hair, (n, 112, 112), about 1: strands, a sheen and its shadow side."""
    s = person.style
    lean = (X - column(s["part"])) * (1.25 + 0.75 * (Y + 1).clamp(0, 2) * column(s["long"] - 0.7))
    phase = lean * column(s["streak"]) + column(s["wave"]) * 40 * torch.sin(column(s["wave_f"]) * Y)
    strands = torch.sin(phase) * 0.10 + torch.sin(phase * 2.3 + 1.3) * 0.07
    sheen = torch.exp(-(((Y + 0.66 + 0.25 * X * X) / 0.10) ** 2)) * 0.38
    side = column(shot.light[:, 0]) * X * 0.25
    return 0.86 + strands * (1 - 0.7 * column(s["buzz"])) + sheen + side + 0.035 * grain


def _background(shot: Shot) -> Tensor:
    """Return a soft coloured backdrop, (n, 3, 112, 112)."""
    waves = torch.cos(torch.arange(4).float().view(1, 4) * (AXIS.view(SIZE, 1) * 0.5 + 0.5) * math.pi)
    c = shot.backdrop
    mixed = torch.stack([c[:, 0] + c[:, 1], c[:, 0] - 0.5 * c[:, 1] + 0.3 * c[:, 2], c[:, 0] - c[:, 2]], dim=1)
    return (0.52 + 0.55 * (waves @ mixed @ waves.T)).clamp(0.06, 0.97)


@lru_cache(maxsize=4)
def _smooth_tile(width: int) -> Tensor:
    return F.avg_pool2d(noise_tile(), width, 1, width // 2)


def canonical(person: Person, shot: Shot) -> Tensor:
    """Return the lit head seen from the front, with its coverage as fourth channel, (n, 4, 112, 112)."""
    g = person.geometry
    n = len(person.gender)
    tile = noise_tile()
    grain = crops(tile[:1], shot.offsets, SIZE)[:, 0]
    width = half_width(person, shot)
    diffuse, glint = shading(height(person, shot, width), shot)
    old = ((shot.age - 30) / 45).clamp(0, 1.1)
    skin = person.skin[:, :, None, None] * (1 + complexion(person))
    blotch = crops(_smooth_tile(5)[1:2], person.freckles[:, :2], SIZE)[:, 0]
    skin *= 1 - (blotch * column(old * person.ageing[:, 5]) * 0.12)[:, None]
    skin_details(skin, person, crops(_smooth_tile(3)[2:3], person.freckles[:, :2], SIZE)[:, 0] * 2.6)
    hair = _hair_colour(person, shot)
    paint(skin, beard_density(person, grain) * 0.9, hair * 0.75)
    brows = brow_mask(person, shot, grain)
    paint(skin[:, :, EYES], brows * column(person.style["brow_dark"]), hair * 0.52)
    shade = column(shot.ambient) + 0.68 * diffuse
    face = skin * (shade * occlusion(person, shot))[:, None]
    face += (glint * column(shot.shine * (1 - 0.3 * old)))[:, None]
    face *= shot.colour[:, :, None, None]
    paint_eyes(face, person, shot, diffuse)
    paint_mouth(face, person, shot, diffuse)
    cover = edge(width - X.abs(), 0.022)
    rim = 1 - 0.25 * torch.exp(-(((width - X.abs()).clamp(min=0) / 0.06) ** 2))
    face *= rim[:, None]
    lit_hair = hair[:, :, None, None] * (_strands(person, shot, grain) * column(0.62 + shot.ambient))[:, None]
    lit_hair *= shot.colour[:, :, None, None]
    back, over = _hair_masks(person, shot, width)
    lit_skin = person.skin * shot.colour
    head = lit_hair * 0.72
    shoulder = edge(Y - 0.97 + 0.10 * (1 - (X / 0.9) ** 2), 0.03)
    neck_width = 0.36 + 0.04 * column(person.gender.float()) + 0.3 * (Y - 0.8).clamp(min=0)
    neck = edge(neck_width - X.abs(), 0.03) * edge(Y - 0.45, 0.05)
    alpha = torch.maximum(back, torch.maximum(neck, shoulder))
    paint(head, neck, lit_skin * 0.55)
    paint(head, shoulder, shot.shirt * shot.colour)
    ear_x = (FOLD - column(g["face_w"]) - 0.25 * column(g["ear_out"])) / column(g["ear_out"])
    ear_y = (Y - column(g["ear_y"])) / column(g["ear_h"])
    ear_d = ear_x**2 + ear_y**2
    ear = edge(1 - ear_d, 0.25)
    paint(head, ear, lit_skin[:, :, None, None] * (0.82 - 0.30 * torch.exp(-(((ear_d - 0.35) / 0.25) ** 2)))[:, None])
    alpha = torch.maximum(alpha, torch.maximum(ear, cover))
    paint(head, cover, face)
    paint_glasses(head, person, shot)
    hair_shadow = F.pad(over, (0, 0, 5, 0))[:, :SIZE] * cover
    head *= 1 - 0.22 * (hair_shadow * (1 - over))[:, None]
    paint(head, over, lit_hair)
    return torch.cat([head, torch.maximum(alpha, over)[:, None]], dim=1).view(n, 4, SIZE, SIZE)


def turn(picture: Tensor, person: Person, shot: Shot) -> Tensor:
    """Rotate the head (n, 4, 112, 112) by parallax of its relief: two fixed-point steps, then one bilinear look-up."""
    yaw, pitch, roll = (column(shot.pose[:, i]) for i in range(3))
    scale = torch.exp(column(shot.place[:, 0]))
    px, py = (X - column(shot.place[:, 1])) / scale, (Y - column(shot.place[:, 2])) / scale
    rx = px * roll.cos() + py * roll.sin()
    ry = py * roll.cos() - px * roll.sin()
    tip, tip_y = column(person.geometry["tip_h"]) * 1.4, column(person.geometry["nose_y"])
    x, y = rx, ry
    for _ in range(2):
        dome = (1 - x * x * 1.25 - (y - 0.05) ** 2 * 0.55).clamp(min=-0.3) * 0.55
        nose = tip / (1 + (x / 0.10) ** 2 + ((y - tip_y + 0.05) / 0.20) ** 2)
        depth = dome + nose - 0.40
        x = (rx - depth * yaw.sin()) / yaw.cos()
        y = (ry - depth * pitch.sin()) / pitch.cos()
    grid = torch.stack([x.expand_as(y), ((y + 0.10) / 1.12).expand_as(x)], dim=-1)
    return F.grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _cosine_matrix() -> Tensor:
    k, i = torch.arange(8).float().view(8, 1), torch.arange(8).float().view(1, 8)
    rows = torch.cos((2 * i + 1) * k * math.pi / 16) * torch.where(k == 0, 0.5**0.5, 1.0) * 0.5
    return torch.kron(rows, rows)


_DCT = _cosine_matrix()
_STEPS = (1 + torch.arange(8).view(8, 1) + torch.arange(8).view(1, 8)).float().view(64) ** 0.9


def compress(images: Tensor, step: Tensor) -> Tensor:
    """Quantise the 8x8 DCT blocks of images, like JPEG: (n, 3, 112, 112) in 0-255, `step` (n,) in grey levels."""
    n = images.shape[0]
    blocks = images.view(n, 3, 14, 8, 14, 8).transpose(3, 4).reshape(n, -1, 64)
    table = step[:, None, None] * _STEPS / 2.5
    spectrum = ((blocks - 128.0) @ _DCT.T / table).round_() * table
    blocks = spectrum @ _DCT + 128.0
    return blocks.view(n, 3, 14, 14, 8, 8).transpose(3, 4).reshape(n, 3, SIZE, SIZE)


def _blur_matrix() -> Tensor:
    taps = torch.tensor([1.0, 6, 15, 20, 15, 6, 1]) / 64
    rows = torch.arange(SIZE)
    matrix = torch.zeros(SIZE, SIZE)
    for offset, tap in enumerate(taps.tolist()):
        matrix[rows, (rows + offset - 3).clamp(0, SIZE - 1)] += tap
    return matrix


_BLUR = _blur_matrix()


def _soften(images: Tensor, amount: Tensor) -> Tensor:
    """Blend images with their 7-tap binomial blur; `amount` (n,) in [0, 1]."""
    return torch.lerp(images, _BLUR @ images @ _BLUR.T, amount[:, None, None, None])


def photograph(person: Person, shot: Shot) -> Tensor:
    """Return the finished pictures, uint8 (n, 3, 112, 112)."""
    turned = turn(canonical(person, shot), person, shot)
    scene = torch.lerp(_background(shot) * shot.colour[:, :, None, None], turned[:, :3], turned[:, 3:])
    scene = _soften(scene, shot.blur) * 1.08
    shoulder = (scene / 1.08) ** 2
    scene = scene * torch.rsqrt(torch.sqrt(1 + shoulder * shoulder))  # Bright parts are compressed, not clipped.
    grain = crops(noise_tile(), shot.offsets.flip(1), SIZE)
    scene = (scene + grain * shot.noise[:, None, None, None]).clamp_(0, 1)
    return compress(scene * 255.0, shot.quality).round_().clamp_(0, 255).to(torch.uint8)

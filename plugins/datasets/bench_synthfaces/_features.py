"""Facial features painted on the relief: skin details, brows, eyes, mouth, beard and glasses.

The painting functions change a canvas (n, 3, 112, 112) in place; they compute only the rows that they can change.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ._fields import AXIS, ROWS, SIZE, X, Y, column, edge, sag, separable
from ._identity import Person, Shot

EYES = slice(34, 78)  #: The rows that eyes, brows and glasses can cover.
MOUTH = slice(68, 110)  #: The rows that the mouth can cover.
SIDE = torch.sign(AXIS).view(1, 1, SIZE)
FOLD = AXIS.abs().view(1, 1, SIZE)


def paint(canvas: Tensor, mask: Tensor, colour: Tensor) -> None:
    """Blend a colour (n, 3) or (n, 3, h, w) into the canvas where the mask (n, h, w) is 1."""
    if colour.dim() == 2:
        colour = colour[:, :, None, None]
    canvas.lerp_(colour.expand_as(canvas), mask[:, None])


def skin_details(skin: Tensor, person: Person, tile: Tensor) -> None:
    """Paint moles, freckles (from a personal crop `tile` (n, 112, 112)), blush and dark rings on the albedo."""
    m = person.moles
    along_x = torch.exp(-0.5 * ((AXIS.view(1, SIZE, 1) - m[:, None, :, 0]) / m[:, None, :, 2]) ** 2)
    along_y = torch.exp(-0.5 * ((ROWS.view(1, SIZE, 1) - m[:, None, :, 1]) / m[:, None, :, 2]) ** 2)
    spots = torch.bmm(along_y * m[:, None, :, 3], along_x.transpose(1, 2)).clamp(max=0.75)
    band = torch.exp(-(((Y - 0.10) / 0.26) ** 2)) * torch.exp(-((X / 0.55) ** 2))
    spots = spots + (tile - 0.7).clamp(0, 1.2) * band * column(person.freckles[:, 2]) * 0.36
    skin *= 1 - spots[:, None] * torch.tensor([0.62, 0.78, 0.80]).view(1, 3, 1, 1)
    g = person.geometry
    n, blush = len(skin), 0.03 + 0.12 * person.style["blush"]
    shadow = separable([(g["cheek_x"], g["cheek_y"] + 0.02, 0.106, 0.092, blush)], n)
    rings = separable([(g["eye_x"], g["eye_y"], 0.12, 0.078, 0.10)], n)
    tint = torch.stack([shadow * 0.1 + rings, shadow + rings * 1.1, shadow * 0.9 + rings * 0.9], dim=1)
    skin *= 1 - tint


def occlusion(person: Person, shot: Shot) -> Tensor:
    """Return the factor (n, 112, 112) that darkens the nostrils, the skin under the nose, and its sides."""
    g = person.geometry
    y = g["nose_y"] + 0.075 - 0.35 * (g["nostril_up"] - 0.045)
    hole = (g["nose_w"] * 0.47, y, g["nostril"] * 0.88, g["nostril_up"] * 0.30, 0.72)
    under = (0.0, y + 0.02, g["nose_w"] * 0.71, 0.025, 0.16)
    side = (g["nose_w"] + 0.01, y - 0.045, 0.016, 0.036, 0.20)
    return 1 - separable([hole, under, side], len(y)).clamp(max=0.85)


def brow_mask(person: Person, shot: Shot, grain: Tensor) -> Tensor:
    """Return the mask (n, rows of EYES, 112) of the eyebrows: 1 inside."""
    g, au = person.geometry, shot.units
    y, grain = Y[:, EYES], grain[:, EYES]
    u = (FOLD - column(g["brow_x"])) / column(g["brow_w"])
    lift_in, lift_out = 0.055 * au["brow_in"], 0.05 * au["brow_out"]
    centre = column(g["brow_y"] + 0.012 * sag(person, shot)) + column(g["brow_tilt"] * 0.16) * u
    centre = centre - column(g["brow_arch"]) * (1 - u * u) - column(lift_in) * (0.5 - 0.5 * u)
    centre = centre - column(lift_out) * (0.5 + 0.5 * u)
    thick = column(g["brow_t"]) * (1 - column(g["brow_taper"]) * u).clamp(0.25, 1.8) * (1 - u.clamp(-1.2, 1.2) ** 4)
    mask = edge(thick - (y - centre).abs()) * edge(1.02 - u.abs(), 0.12)
    return mask * (0.88 + 0.10 * grain).clamp(0, 1)


def paint_eyes(canvas: Tensor, person: Person, shot: Shot, shade: Tensor) -> None:
    """Paint lids, lashes, eyeball, iris, pupil and highlight on the lit canvas."""
    g, au, s = person.geometry, shot.units, person.style
    view, y, light = canvas[:, :, EYES], Y[:, EYES], shade[:, EYES]
    old = sag(person, shot)
    u = (FOLD - column(g["eye_x"])) / column(g["eye_w"])
    v = (y - column(g["eye_y"])) / column(g["eye_w"]) - column(g["eye_tilt"]) * u
    arc = (1 - u * u).clamp(min=0)
    bow = arc.sqrt() * 0.35 + arc * 0.65
    opening = g["eye_open"] * (1 + 0.45 * au["open"]) * (1 - 0.10 * old) - 0.07 * au["squint"].clamp(min=0)
    upper = -column(opening.clamp(min=0.10)) * bow * (1 + column(g["eye_skew"]) * 0.5 * u)
    floor = (g["eye_low"] * (1 - 0.6 * au["squint"].clamp(-1, 1))).clamp(0.05, 0.8)
    lower = column(floor) * bow * 0.75 * (1 - column(g["eye_skew"]) * 0.3 * u)
    inside = edge(v - upper, 0.11) * edge(lower - v, 0.11) * edge(1 - u.abs(), 0.10)
    lid = torch.exp(-(((v - upper + column(g["crease"])) / 0.11) ** 2)) * edge(1.05 - u.abs(), 0.2)
    dark = torch.tensor([0.16, 0.10, 0.09]).expand(len(old), 3)
    paint(view, lid * 0.42, person.skin * 0.38)
    shadow = edge(v - upper + column(g["crease"] + 0.25), 0.3) * edge(upper - v, 0.15) * edge(1.1 - u.abs(), 0.3)
    paint(view, shadow * column(s["makeup"]) * 0.6, person.skin * torch.tensor([0.62, 0.42, 0.52]))
    white = torch.tensor([0.93, 0.91, 0.89]).view(1, 3, 1, 1) * (0.45 + 0.5 * light)[:, None]
    white = white * (1 - 0.35 * torch.exp(-(((v - upper) / 0.22) ** 2)))[:, None]
    paint(view, inside, white)
    gaze_u, gaze_v = SIDE * column(shot.gaze[:, 0]), column(shot.gaze[:, 1]) + 0.02
    radius = column(g["iris_r"])
    d = ((u - gaze_u) ** 2 + (v - gaze_v) ** 2).sqrt()
    glow = (0.75 + 0.5 * (d / radius) * (v + 0.4).clamp(0, 1)) * (1 - 0.5 * edge(d - radius * 0.84, 0.10))
    iris = person.iris[:, :, None, None] * (glow * (0.55 + 0.45 * light))[:, None]
    paint(view, inside * edge(radius - d, 0.10), iris)
    paint(view, inside * edge(radius * 0.42 - d, 0.10), dark * 0.25)
    spark = (u - gaze_u - SIDE * column(shot.light[:, 0]) * 0.30) ** 2 + (v - gaze_v + 0.17) ** 2
    paint(view, inside * torch.exp(-spark / 0.012) * 0.9, torch.ones_like(dark))
    line = torch.exp(-(((v - upper + 0.02) / column(0.085 + 0.05 * s["makeup"])) ** 2)) * edge(1.08 - u.abs(), 0.12)
    paint(view, line * column(0.68 + 0.25 * s["makeup"]), dark)
    below = torch.exp(-(((v - lower - 0.04) / 0.08) ** 2)) * edge(1.0 - u.abs(), 0.2)
    paint(view, below * 0.35, person.skin * 0.42)


def paint_mouth(canvas: Tensor, person: Person, shot: Shot, shade: Tensor) -> None:
    """Paint lips, the line between them, teeth and the open mouth on the lit canvas."""
    g, au = person.geometry, shot.units
    view, y, light = canvas[:, :, MOUTH], Y[:, MOUTH], shade[:, MOUTH]
    old = sag(person, shot)
    smile, jaw, press = au["smile"], au["jaw"].clamp(min=0), au["press"].clamp(0, 1)
    wider = 0.16 * au["stretch"] + 0.13 * smile.clamp(min=0) - 0.22 * jaw * (1 - smile.clamp(0, 1))
    u = X / column(g["mouth_w"] * (1 + wider))
    u2 = (u * u).clamp(max=1.6)
    lift = g["corner"] + 0.060 * smile - 0.010 * old
    middle = column(g["mouth_y"] + 0.35 * lift) - column(lift) * u2
    arc = (1 - u2).clamp(min=0)
    gap = column(0.14 * (jaw - 0.10).clamp(min=0)) * arc.sqrt()
    thin = (1 - 0.45 * press) * (1 - 0.18 * old) * (1 - 0.12 * smile.clamp(0, 1))
    bow = 1 - column(g["cupid"].clamp(-0.1, 0.7)) * torch.exp(-u2 / 0.03)
    top = column(g["lip_up"] * thin) * arc**0.75 * bow
    low = column(g["lip_low"] * thin) * arc**0.6
    up_edge, low_edge = middle - 0.35 * gap, middle + 0.65 * gap
    inner = edge(y - up_edge, 0.012) * edge(low_edge - y, 0.012) * edge(gap - 0.012, 0.01)
    upper_lip = edge(y - up_edge + top, 0.014) * edge(up_edge - y, 0.012) * edge(top - 0.004, 0.008)
    lower_lip = edge(low_edge + low - y, 0.016) * edge(y - low_edge, 0.012) * edge(low - 0.004, 0.008)
    lit = (0.30 + 0.70 * light)[:, None] * shot.colour[:, :, None, None]
    made_up = torch.tensor([0.72, 0.16, 0.22]) * column(person.style["makeup"] * 0.7)[:, 0]
    tone = person.lips * (1 - 0.55 * person.style["makeup"][:, None]) + made_up
    tone = tone[:, :, None, None]
    paint(view, upper_lip * 0.85, tone * 0.86 * lit)
    gloss = torch.exp(-(((y - low_edge - 0.42 * low) / 0.016) ** 2)) * torch.exp(-u2 / 0.25)
    paint(view, lower_lip * 0.85, tone * lit * (1 + 0.16 * gloss)[:, None])
    paint(view, inner, torch.tensor([0.22, 0.07, 0.07]).expand(len(old), 3))
    tongue = torch.exp(-u2 / 0.25) * edge(y - low_edge + 0.35 * gap, 0.03)
    paint(view, inner * tongue * 0.6, torch.tensor([0.60, 0.26, 0.26]).expand(len(old), 3))
    teeth = inner * edge(up_edge + column(0.055 * au["teeth"].clamp(0, 1)) - y, 0.014) * edge(0.88 - u.abs(), 0.1)
    enamel = torch.tensor([0.93, 0.91, 0.86]) * (1 - torch.tensor([0.04, 0.07, 0.16]) * old[:, None])
    stripes = 1 - 0.07 * torch.cos(X * 88).clamp(min=0)
    paint(view, teeth, enamel[:, :, None, None] * (0.55 + 0.42 * light * stripes)[:, None])
    line = torch.exp(-(((y - middle) / 0.013) ** 2)) * edge(1.06 - u.abs(), 0.06) * edge(0.02 - gap, 0.01)
    paint(view, line * 0.72, person.lips * 0.34)


def beard_density(person: Person, grain: Tensor) -> Tensor:
    """Return the share (n, 112, 112) of the skin that the beard covers, 0 to 1."""
    g, s = person.geometry, person.style
    low, mouth = column(g["face_low"]), column(g["mouth_y"])
    x = FOLD
    hang = (x / column(g["mouth_w"] + 0.06)) ** 2
    moustache = torch.exp(-(((Y - mouth + 0.085 - 0.07 * hang) / 0.036) ** 2)) * edge(1.15 - hang, 0.3)
    chin = edge(0.22 - x, 0.06) * edge(Y - low + 0.25, 0.03) + edge(Y - mouth - 0.125, 0.03) * edge(0.085 - x, 0.03)
    ring = edge(0.085 - (x - column(g["mouth_w"] + 0.055)).abs(), 0.03) * edge(Y - mouth + 0.03, 0.05)
    line = 0.30 + 0.55 * (0.62 - x).clamp(0, 0.4) + 0.06 * column(s["part"])
    from_mouth = ((x - 0.10) ** 2 + (Y - mouth - 0.01) ** 2 * 3).sqrt()
    cheeks = edge(Y - line, 0.05) * edge(from_mouth - column(g["mouth_w"] + 0.015), 0.04)
    shape = torch.maximum(column(s["moustache"]) * moustache, column(s["goatee"]) * (chin.clamp(max=1)))
    shape = torch.maximum(shape, column(s["goatee"] * s["moustache"]) * ring)
    shape = torch.maximum(shape, column(s["cheeks"]) * cheeks)
    shape = shape + column(s["stubble"]) * torch.maximum(cheeks, moustache) * 0.7
    return (shape * (0.88 + 0.10 * grain)).clamp(0, 0.95)


def paint_glasses(canvas: Tensor, person: Person, shot: Shot) -> None:
    """Paint glasses, frames with a bridge and temples, in the shots that have them."""
    g, s = person.geometry, person.style
    view, y = canvas[:, :, EYES], Y[:, EYES]
    u = (FOLD - column(g["eye_x"] + 0.012)) / column(s["frame_w"])
    v = (y - column(g["eye_y"] + s["frame_y"])) / column(s["frame_h"])
    round_d = u * u + v * v
    square_d = (u**4 + v**4 + 1e-9).sqrt()
    d = torch.lerp(square_d, round_d, column(s["frame_round"]))
    rim = torch.exp(-(((d - 1) / column(0.10 + s["frame_t"])) ** 2))
    bridge = edge(0.016 - (y - column(g["eye_y"] - 0.02)).abs(), 0.016)
    bridge = bridge * edge(column(g["eye_x"] - s["frame_w"]) + 0.02 - FOLD)
    arm = edge(0.014 - (y - column(g["eye_y"] - 0.03)).abs(), 0.014) * edge(u - 1.02, 0.06)
    mask = torch.maximum(rim, torch.maximum(bridge, arm)) * column(shot.glasses)
    hue = column(s["frame_hue"])[:, 0]
    colour = torch.lerp(torch.tensor([0.08, 0.07, 0.08]), torch.tensor([0.42, 0.22, 0.14]), hue)
    paint(view, edge(1 - d, 0.1) * column(shot.glasses) * 0.10, torch.ones_like(colour))
    paint(view, mask * 0.92, colour)

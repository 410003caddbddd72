"""The random draws: the traits of a person (per subject) and the conditions of a picture (per shot).

Lengths are in half image widths: x runs from -1 (left) to 1, y from -1 (top) to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._rng import Stream, combine

Style = Literal["wild", "frontal", "plain", "outdoor"]

#: Geometry: name -> (mean, standard deviation between subjects, shift from woman to man in deviations).
GEOMETRY: dict[str, tuple[float, float, float]] = {
    "face_w": (0.655, 0.036, 0.10),
    "face_low": (0.90, 0.034, 0.15),
    "jaw_w": (0.78, 0.055, 0.35),
    "chin_w": (0.46, 0.075, 0.35),
    "jaw_y": (0.54, 0.055, 0.0),
    "temple_w": (0.92, 0.035, 0.0),
    "eye_x": (0.298, 0.026, 0.0),
    "eye_y": (-0.085, 0.030, 0.0),
    "eye_w": (0.142, 0.014, -0.20),
    "eye_open": (0.46, 0.085, -0.20),
    "eye_tilt": (-0.06, 0.11, 0.0),
    "eye_skew": (0.0, 0.32, 0.0),
    "eye_low": (0.42, 0.13, 0.0),
    "crease": (0.30, 0.12, -0.15),
    "iris_r": (0.47, 0.045, 0.0),
    "brow_y": (-0.285, 0.036, 0.30),
    "brow_x": (0.305, 0.030, 0.0),
    "brow_w": (0.185, 0.026, 0.0),
    "brow_t": (0.029, 0.0095, 0.35),
    "brow_tilt": (-0.05, 0.15, 0.20),
    "brow_arch": (0.055, 0.032, -0.30),
    "brow_taper": (0.30, 0.45, 0.0),
    "brow_ridge": (0.022, 0.016, 0.35),
    "socket": (0.045, 0.018, 0.0),
    "bridge_w": (0.052, 0.014, 0.0),
    "bridge_h": (0.085, 0.030, 0.10),
    "bridge_y": (0.02, 0.05, 0.0),
    "nose_y": (0.225, 0.042, 0.0),
    "nose_w": (0.118, 0.022, 0.15),
    "tip_w": (0.070, 0.015, 0.0),
    "tip_h": (0.105, 0.024, 0.0),
    "nostril": (0.024, 0.006, 0.0),
    "nostril_up": (0.045, 0.016, 0.0),
    "ala_h": (0.045, 0.014, 0.0),
    "philtrum": (0.014, 0.009, 0.0),
    "cheek_x": (0.42, 0.05, 0.0),
    "cheek_y": (0.17, 0.06, 0.0),
    "cheek_h": (0.050, 0.024, 0.0),
    "hollow": (-0.006, 0.026, 0.10),
    "mouth_y": (0.525, 0.032, 0.0),
    "mouth_w": (0.225, 0.029, 0.10),
    "lip_up": (0.050, 0.014, -0.25),
    "lip_low": (0.068, 0.017, -0.25),
    "cupid": (0.28, 0.22, 0.0),
    "corner": (0.0, 0.016, 0.0),
    "chin_h": (0.070, 0.028, 0.15),
    "cleft": (0.010, 0.014, 0.10),
    "groove": (0.035, 0.015, 0.0),
    "boss": (0.022, 0.018, 0.0),
    "temple_h": (-0.02, 0.02, 0.0),
    "glabella": (0.008, 0.014, 0.0),
    "ear_y": (0.02, 0.055, 0.0),
    "ear_h": (0.17, 0.030, 0.0),
    "ear_out": (0.070, 0.026, 0.0),
}
GROUP_SHIFT = 0.20  #: The standard deviation of a group's mean, in deviations of each geometry coefficient.
N_GROUPS = 6

#: Action units moved by each emotion (rows in deepface's order), at intensity 1.
ACTION_UNITS = (
    "brow_in", "brow_out", "open", "squint", "wrinkle", "cheek", "smile", "jaw", "stretch", "press", "teeth",
)  # fmt: skip
EMOTION_UNITS: tuple[tuple[float, ...], ...] = (
    (-1.0, 0.2, 0.25, 0.5, 0.5, 0.0, -0.5, 0.05, 0.0, 0.8, 0.0),  # angry
    (-0.5, -0.2, -0.25, 0.6, 1.0, 0.5, -0.6, 0.25, -0.1, 0.0, 0.5),  # disgust
    (0.9, 0.4, 0.8, -0.4, 0.0, 0.0, -0.25, 0.45, 0.35, 0.0, 0.3),  # fear
    (0.0, 0.1, -0.2, 0.6, 0.0, 1.0, 1.0, 0.50, 0.3, 0.0, 1.0),  # happy
    (0.8, -0.6, -0.3, 0.1, 0.0, 0.0, -0.9, 0.0, -0.1, 0.2, 0.0),  # sad
    (0.8, 1.0, 0.9, -0.3, 0.0, 0.0, 0.0, 1.0, -0.15, 0.0, 0.15),  # surprise
    (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),  # neutral
)
EMOTION_CHANCES = (0.09, 0.09, 0.09, 0.20, 0.09, 0.09, 0.35)
IDENTITY_GRID = 7  #: The number of identity bumps per side.
ALBEDO_WAVES = 8  #: The number of albedo cosines per side.


@dataclass(frozen=True, kw_only=True)
class Person:
    """Traits of n samples' subjects; scalars are (n,), colours (n, 3) in [0, 1]."""

    gender: Tensor
    group: Tensor
    usual_age: Tensor
    geometry: dict[str, Tensor]
    bumps: Tensor  # (n, 7, 7) height of identity bumps
    albedo: Tensor  # (n, 3, 8, 8) cosine coefficients: brightness, red-green, blue-yellow
    outline: Tensor  # (n, 5) waves of the face outline
    skin: Tensor
    lips: Tensor
    iris: Tensor
    hair: Tensor
    hairline: Tensor  # (n, 6) shape coefficients
    style: dict[str, Tensor]  # hair, beard, glasses, makeup
    moles: Tensor  # (n, 8, 4): x, y, radius, darkness
    freckles: Tensor  # (n, 3): two crop offsets and the strength
    grey_onset: Tensor  # years
    ageing: Tensor  # (n, 6) personal strength of each sign of age


@dataclass(frozen=True, kw_only=True)
class Shot:
    """Conditions of n pictures; scalars are (n,)."""

    age: Tensor  # years
    emotion: Tensor  # index into EMOTIONS
    units: dict[str, Tensor]  # action units
    pose: Tensor  # (n, 3) yaw, pitch, roll in radians
    place: Tensor  # (n, 3) log-scale, x and y shift
    light: Tensor  # (n, 3) unit vector towards the light
    ambient: Tensor
    colour: Tensor  # (n, 3) light colour times exposure
    shine: Tensor
    gaze: Tensor  # (n, 2)
    glasses: Tensor  # 0 or 1
    backdrop: Tensor  # (n, 3, 4, 4) cosine coefficients
    shirt: Tensor  # (n, 3)
    blur: Tensor
    noise: Tensor
    quality: Tensor  # DCT quantisation step, in grey levels of 0-255
    offsets: Tensor  # (n, 2) where to cut the noise tile
    extra: Tensor  # (n, 4) hair movement and brightness
    tied: Tensor  # 0 or 1: long hair is worn up


def subject_labels(seed: int, subjects: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return gender (0 woman, 1 man) and group (0-5) of each subject, two int64 vectors of shape (n,)."""
    labels = Stream(combine(seed, subjects)).uniform64("labels", 2)
    return (labels[:, 0] < 0.5).astype(np.int64), (labels[:, 1] * N_GROUPS).astype(np.int64)


def _blend(low: tuple[float, ...], high: tuple[float, ...], t: Tensor) -> Tensor:
    return torch.lerp(torch.tensor(low), torch.tensor(high), t[:, None])


def _geometry(stream: Stream, gender: Tensor, group: Tensor) -> dict[str, Tensor]:
    names = list(GEOMETRY)
    z = stream.normal("geometry", len(names))
    groups = np.arange(N_GROUPS, dtype=np.int64)
    shift = Stream(combine(77, groups)).normal("group-shift", len(names)) * GROUP_SHIFT
    z = z + shift[group]
    values = {}
    for column, (name, (mean, deviation, to_man)) in enumerate(GEOMETRY.items()):
        values[name] = mean + deviation * (z[:, column] + to_man * (gender.float() - 0.5))
    return values


def _hair_and_style(stream: Stream, gender: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    man = gender.float()
    hairline = stream.normal("hairline", 6)
    long = stream.chance("long", 0.78 - 0.66 * man)
    s = stream.uniform("style", 12)
    bald = stream.chance("bald", 0.07 * man)
    buzz = stream.chance("buzz", 0.18 * man) * (1 - bald)
    fringe = stream.chance("fringe", 0.33) * (1 - bald)
    beard = stream.uniform("beard", 6)
    bearded = stream.chance("bearded", 0.55 * man)
    style = {
        "long": long * (1 - bald),
        "length": torch.where(long > 0, 0.35 + 1.0 * s[:, 0], -0.12 + 0.32 * s[:, 0]),
        "top": torch.where(buzz + bald > 0, 0.02 * s[:, 1], 0.03 + 0.13 * s[:, 1]),
        "side": torch.where(long > 0, 0.07 + 0.13 * s[:, 2], 0.015 + 0.065 * s[:, 2]) * (1 - 0.6 * buzz),
        "flare": (s[:, 3] - 0.4) * 0.22 * long,
        "wave": s[:, 4] * s[:, 4] * 0.05,
        "wave_f": 6 + 12 * s[:, 5],
        "lock": torch.where(long > 0, 0.80 + 0.22 * s[:, 6], 0.93 + 0.10 * s[:, 6]),
        "sideburn": torch.where(long > 0, 0.2 + 1.0 * s[:, 7], -0.15 + 0.35 * s[:, 7] * (0.4 + man)),
        "streak": 14 + 22 * s[:, 8],
        "part": (s[:, 9] - 0.5) * 0.9,
        "fringe": fringe,
        "jag": s[:, 10] * 0.035 * (0.3 + fringe),
        "bald": bald,
        "buzz": buzz,
        "beard": bearded,
        "moustache": bearded * (beard[:, 0] < 0.72).float() * (0.45 + 0.55 * beard[:, 1]),
        "goatee": bearded * (beard[:, 2] < 0.70).float() * (0.45 + 0.55 * beard[:, 3]),
        "cheeks": bearded * (beard[:, 4] < 0.45).float() * (0.35 + 0.65 * beard[:, 5]),
        "stubble": man * (1 - bearded) * 0.35 * beard[:, 1],
        "brow_dark": 0.55 + 0.4 * s[:, 11],
        "makeup": (1 - man) * stream.one("makeup") * 0.6,
        "blush": stream.one("blush") * 0.9,
        "habit": stream.chance("habit", 0.25) * 0.45 + 0.06,
        "frame_w": stream.one("frame_w", 0.165, 0.215),
        "frame_h": stream.one("frame_h", 0.10, 0.165),
        "frame_y": stream.one("frame_y", 0.0, 0.05),
        "frame_t": stream.one("frame_t", 0.05, 0.16),
        "frame_round": stream.one("frame_round"),
        "frame_hue": stream.one("frame_hue"),
    }
    return hairline, style


def _moles(stream: Stream) -> Tensor:
    u = stream.uniform("moles", 32).view(-1, 8, 4)
    x = (u[..., 0] - 0.5) * 1.05
    y = -0.45 + 1.25 * u[..., 1]
    radius = 0.015 + 0.013 * u[..., 2]
    dark = torch.where(u[..., 3] < 0.5, torch.zeros(()), 0.25 + 0.9 * (u[..., 3] - 0.5))
    return torch.stack([x, y, radius, dark], dim=-1)


def draw_person(seed: int, subjects: NDArray[np.int64]) -> Person:
    """Draw the traits of each subject in `subjects` (n,); equal subjects give equal rows."""
    stream = Stream(combine(seed, subjects))
    labels = subject_labels(seed, subjects)
    gender, group = torch.from_numpy(labels[0]), torch.from_numpy(labels[1])
    tone = torch.tensor([-0.10, -0.06, -0.02, 0.02, 0.06, 0.10])[group]
    melanin = (0.34 + tone + 0.14 * stream.normal("melanin", 1)[:, 0]).clamp(0.02, 0.85)
    skin = _blend((0.97, 0.765, 0.655), (0.48, 0.30, 0.205), melanin)
    skin = skin * (1 + 0.015 * stream.normal("undertone", 3))
    lip_tint = stream.uniform("lips", 3)
    lips = skin * torch.tensor([0.86, 0.56, 0.56]) * (0.86 + 0.28 * lip_tint[:, :1])
    lips = lips + torch.tensor([0.06, -0.02, 0.02]) * lip_tint[:, 1:2]
    hue = stream.uniform("iris", 3)
    brown = _blend((0.16, 0.09, 0.05), (0.46, 0.29, 0.12), hue[:, 0])
    pale = _blend((0.22, 0.42, 0.24), (0.30, 0.50, 0.68), hue[:, 0])
    iris = torch.where(hue[:, 1:2] < 0.55, brown, pale) * (0.8 + 0.4 * hue[:, 2:3])
    fair = stream.uniform("hair", 3)
    dark_hair = _blend((0.10, 0.075, 0.065), (0.31, 0.20, 0.12), fair[:, 0])
    warm_hair = _blend((0.34, 0.17, 0.09), (0.60, 0.44, 0.25), fair[:, 0])
    hair = torch.where(fair[:, 1:2] < 0.70, dark_hair, warm_hair)
    hairline, style = _hair_and_style(stream, gender)
    waves = torch.arange(ALBEDO_WAVES).float()
    frequency = (waves[:, None] ** 2 + waves[None, :] ** 2).sqrt()
    spectrum = torch.where(frequency > 0.5, 1.0 / (1.0 + 0.22 * frequency), torch.zeros(()))
    channels = torch.tensor([0.041, 0.012, 0.009]).view(1, 3, 1, 1)
    bumps = stream.normal("bumps", 49).view(-1, 7, 7)
    bumps = 0.75 * bumps + 0.4 * (bumps + bumps.flip(-1))
    freckles = stream.uniform("freckles", 3)
    freckles[:, 2] = (freckles[:, 2] - 0.35).clamp(min=0) * 1.5
    return Person(
        gender=gender,
        group=group,
        usual_age=stream.one("age", 20.0, 64.0),
        geometry=_geometry(stream, gender, group),
        bumps=bumps,
        albedo=stream.normal("albedo", 192).view(-1, 3, 8, 8) * spectrum * channels,
        outline=stream.normal("outline", 5),
        skin=skin,
        lips=lips.clamp(0.05, 1),
        iris=iris,
        hair=hair,
        hairline=hairline,
        style=style,
        moles=_moles(stream),
        freckles=freckles,
        grey_onset=stream.one("grey", 34.0, 62.0),
        ageing=stream.uniform("ageing", 6, 0.55, 1.3),
    )


def _light_and_pose(stream: Stream, style: Style) -> dict[str, Tensor]:
    z = stream.normal("pose", 6)
    u = stream.uniform("camera", 8)
    wide = {"wild": 1.0, "frontal": 0.28, "plain": 0.0, "outdoor": 1.3}[style]
    turn = torch.where(u[:, 0] < 0.75, z[:, 0] * 0.15, (u[:, 0] - 0.875) * 8 * 0.42)
    pose = torch.stack([turn * wide, z[:, 1] * 0.09 * max(wide, 0.3) * (style != "plain"),
                        z[:, 2] * 0.05 * max(wide, 0.5) * (style != "plain")], dim=1)  # fmt: skip
    place = z[:, 3:6] * torch.tensor([0.022, 0.018, 0.018]) * (style != "plain")
    mild = {"wild": 1.0, "frontal": 0.6, "plain": 0.15, "outdoor": 1.35}[style]
    angle = (u[:, 1] - 0.5) * 3.0 * mild
    height = 0.35 + 0.55 * (u[:, 2] - 0.5) * mild
    light = torch.stack([torch.sin(angle) * 0.8, -height, 0.45 + 0.55 * torch.cos(angle)], dim=1)
    w = stream.normal("white", 4)
    exposure = torch.exp(0.14 * mild * w[:, :1])
    colour = exposure * (1 + torch.tensor([0.055, 0.016, 0.070]) * mild * w[:, 1:4])
    conditions = {
        "pose": pose,
        "place": place,
        "light": light / light.norm(dim=1, keepdim=True),
        "ambient": 0.43 + 0.16 * (u[:, 3] - 0.5),
        "colour": colour,
        "shine": 0.03 + 0.15 * u[:, 4] * u[:, 4],
    }
    if style == "outdoor":  # The camera looks down, the light is bluish and dim, and shadows are darker.
        conditions["pose"] = pose + torch.tensor([0.0, 0.06, 0.0])
        conditions["ambient"] = 0.35 + 0.20 * (u[:, 3] - 0.5)
        conditions["colour"] = 0.88 * colour * torch.tensor([0.94, 1.0, 1.08])
        conditions["shine"] = 0.08 + 0.18 * u[:, 4]
    return conditions


def _camera(style: Style, u: Tensor) -> dict[str, Tensor]:
    """Return blur, noise and quantisation step of n pictures for uniform numbers `u` (n, 10)."""
    rare = 0.4 if style in ("frontal", "plain") else 1.0
    blurred = (u[:, 3] < 0.18).float() * rare
    noisy = (u[:, 4] < 0.15).float() * rare
    if style == "outdoor":
        return {
            "blur": 0.25 + 0.30 * u[:, 5] + 0.45 * blurred * u[:, 6],
            "noise": (2.7 + 3.5 * u[:, 7] + 6.0 * noisy * u[:, 8]) / 255.0,
            "quality": 6.0 + 14.0 * u[:, 9],
        }
    return {
        "blur": 0.10 + 0.15 * u[:, 5] + 0.65 * blurred * u[:, 6],
        "noise": (1.2 + 1.5 * u[:, 7] + 6.0 * noisy * u[:, 8]) / 255.0,
        "quality": 3.0 + 11.0 * u[:, 9] * u[:, 9],
    }


def _backdrop(stream: Stream, style: Style) -> Tensor:
    """Return the cosine coefficients (n, 3, 4, 4) of the background: brightness, red-green, blue-yellow."""
    waves, mean = [0.10, 0.03, 0.03], [0.5, 0.12, 0.12]
    if style == "outdoor":
        waves, mean = [0.17, 0.09, 0.09], [0.45, 0.28, 0.28]
    backdrop = stream.normal("backdrop", 48).view(-1, 3, 4, 4) * torch.tensor(waves).view(1, 3, 1, 1)
    backdrop[:, :, 0, 0] = stream.uniform("backdrop0", 3, -1, 1) * torch.tensor(mean)
    return backdrop


def draw_shot(seed: int, subjects: NDArray[np.int64], shots: NDArray[np.int64], person: Person,
              age: Tensor | None, style: Style) -> Shot:  # fmt: skip
    """Draw the conditions of each picture (subject, shot); `age` (n,) in years replaces the drawn age unless it is
    NaN."""
    stream = Stream(combine(seed ^ 0x5EED, subjects, shots))
    u = stream.uniform("shot", 10)
    edges = torch.tensor(np.cumsum(EMOTION_CHANCES[:-1]))
    emotion = torch.searchsorted(edges, u[:, 0].double().contiguous())
    intensity = 0.55 + 0.45 * u[:, 1]
    table = torch.tensor(EMOTION_UNITS)[emotion] * intensity[:, None]
    table = table + 0.10 * stream.normal("units", len(ACTION_UNITS))
    drawn = (person.usual_age + 12.0 * (u[:, 2] - 0.5)).clamp(16, 80)
    return Shot(
        age=drawn if age is None else torch.where(age.isnan(), drawn, age),
        emotion=emotion,
        units={name: table[:, i] for i, name in enumerate(ACTION_UNITS)},
        **_light_and_pose(stream, style),
        gaze=stream.normal("gaze", 2) * torch.tensor([0.10, 0.05]),
        glasses=stream.chance("glasses", person.style["habit"].double().float()),
        backdrop=_backdrop(stream, style),
        shirt=stream.uniform("shirt", 3, 0.12, 0.8),
        **_camera(style, u),
        offsets=stream.uniform("offsets", 2),
        extra=stream.normal("extra", 4),
        tied=stream.chance("tied", 0.4),
    )

"""The figures of a judgement, computed from its rows alone: shares with intervals, and the worst of all
preprocessings.

Each preprocessing is tried with each alignment. The best for the adversary is chosen on the same photos, which makes
its share a little too high rather than too low: it answers how bad it can get, not what one adversary will get. Its
interval, and the chance of so large a share, are corrected for this choice (`bench.judging.choice`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from bench.judging.choice import best_interval, by_chance, effective_photos
from bench.judging.preprocessing import AS_RECEIVED
from bench.judging.scoring import OTHER_PICTURE, OWN_PICTURE
from bench.metrics.clustering import pair_interval

Cluster = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share of ``n`` samples of ``people`` people: its value in [0, 1] and its 95 % interval, which holds for people
    as clusters; None if nothing is known about it. ``effective`` is the number of samples that count as independent."""

    value: float
    n: int
    people: int
    interval: tuple[float, float] | None
    effective: int

    @property
    def count(self) -> int:
        """The number of samples that it stands for."""
        return round(self.value * self.n)


@dataclass(frozen=True, kw_only=True)
class PreprocessingFigures:
    """What one judge finds after one preprocessing, with one alignment; None where it cannot be said.

    - ``service``, ``adversary``: the share of photos that match their own original at this threshold
    - ``other_service``, ``other_adversary``: of pairs of a photo with another original of the person
    - ``strangers_service``, ``strangers_adversary``: what chance gives, the mean share of strangers that match
    - ``first``: the share of photos whose person is first among all originals, with the chance ``first_chance``;
      ``first_other``: without the very picture that a photo was made from
    - ``cosine``: the mean cosine with the own original; ``kappa_service``, ``kappa_adversary``: mean thresholds
    """

    alignment: str
    preprocessing: str
    faces: int
    service: Share | None
    adversary: Share | None
    other_service: Share | None
    other_adversary: Share | None
    strangers_service: float | None
    strangers_adversary: float | None
    first: Share
    first_chance: float
    first_other: Share | None
    first_other_chance: float | None
    cosine: float | None
    kappa_service: float | None
    kappa_adversary: float | None


_CHANCE = {
    "service": "strangers_service",
    "adversary": "strangers_adversary",
    "first": "first_chance",
    "first_other": "first_other_chance",
}


@dataclass(frozen=True, kw_only=True)
class Best:
    """The largest share of some name that one of ``ways`` preprocessings has, and which one, ``found``.

    The interval of ``share`` is corrected for the choice. ``chance`` is the mean share that chance gives after this
    preprocessing, and ``by_chance`` at most how probable it is that chance alone makes the best of all as large; None
    where this is not known, as of a single person.
    """

    found: PreprocessingFigures
    share: Share
    ways: int
    chance: float | None
    by_chance: float | None


@dataclass(frozen=True, kw_only=True)
class JudgeFigures:
    """What one judge finds: all preprocessings, in the order in which they were tried, and how thresholds were set."""

    judge: str
    weights: str
    stand_in: bool
    photos: int
    people: int
    fmr: float
    preprocessings: tuple[PreprocessingFigures, ...]
    service_people: int
    service_impostors: int
    adversary_people: int

    @property
    def expected_fmr(self) -> float:
        """The share of new pairs of strangers that is expected to match at the service's threshold: the k-th largest
        of n scores is exceeded by a new one with probability k / (n + 1). It is larger than ``fmr`` if n is small."""
        above = math.floor(self.fmr * self.service_impostors + 1e-9) + 1
        return above / (1 + self.service_impostors)

    @property
    def received(self) -> PreprocessingFigures:
        """The protected pictures as they are, with the faces that are found in them."""
        return self.preprocessings[0]

    def best(self, what: str) -> Best | None:
        """Return the first preprocessing with the largest share of some name; None if none has this share."""
        shares: list[tuple[PreprocessingFigures, Share]] = [(p, getattr(p, what)) for p in self.preprocessings]
        known = [(tried, share) for tried, share in shares if share is not None]
        if not known:
            return None
        found, share = max(known, key=lambda one: one[1].value)
        ways, chance = len(known), getattr(found, _CHANCE[what]) if what in _CHANCE else None
        if share.interval is None:
            return Best(found=found, share=share, ways=ways, chance=chance, by_chance=None)
        size = share.value, share.effective
        return Best(
            found=found,
            share=replace(share, interval=best_interval(*size, ways)),
            ways=ways,
            chance=chance,
            by_chance=None if chance is None else by_chance(*size, self._least(what, chance), ways),
        )

    def _least(self, what: str, chance: float) -> float:
        """Return what chance gives at least: strangers match with the false match rate that a threshold is set for,
        even if none did here."""
        return chance if what.startswith("first") else max(chance, self.fmr)


@dataclass(frozen=True, kw_only=True)
class Visibility:
    """How much the protected faces differ from the originals: by metric the median and the smallest and largest value,
    and the number of photos that are equal to their originals."""

    values: Mapping[str, tuple[float, float, float]]
    n: int
    equal: int


def judged(rows: pa.Table) -> list[JudgeFigures]:
    """Return the figures of all judges, in the order of the rows."""
    table = rows.to_pandas()
    return [_of_judge(str(name), part) for name, part in table.groupby("judge", sort=False)]


def _of_judge(name: str, table: pd.DataFrame) -> JudgeFigures:
    own = table[table["compared_with"] == OWN_PICTURE]
    tried = tuple(_of_preprocessing(part) for _, part in table.groupby(["alignment", "preprocessing"], sort=False))
    ordered = sorted(tried, key=lambda one: (one.alignment == "original", one.preprocessing != AS_RECEIVED))
    return JudgeFigures(
        judge=name,
        weights=str(table["weights"].iloc[0]),
        stand_in=bool(table["stand_in"].iloc[0]),
        photos=own["photo"].nunique(),
        people=len(set(_clusters(own).tolist())),
        fmr=float(table["fmr"].iloc[0]),
        preprocessings=tuple(ordered),
        service_people=int(table["service_people"].min()),
        service_impostors=int(table["service_impostors"].min()),
        adversary_people=int(table["adversary_people"].min()),
    )


def _of_preprocessing(table: pd.DataFrame) -> PreprocessingFigures:
    own = table[table["compared_with"] == OWN_PICTURE]
    others = table[table["compared_with"] == OTHER_PICTURE]
    elsewhere = own[own["rank_other_chance"].notna() | ~own["face_found"] & own["photo"].isin(others["photo"])]
    return PreprocessingFigures(
        alignment=str(table["alignment"].iloc[0]),
        preprocessing=str(table["preprocessing"].iloc[0]),
        faces=int(own["face_found"].sum()),
        service=_matched(own, "threshold_service"),
        adversary=_matched(own, "threshold_adversary"),
        other_service=_matched(others, "threshold_service"),
        other_adversary=_matched(others, "threshold_adversary"),
        strangers_service=_mean_of_all(own["strangers_service"]),
        strangers_adversary=_mean_of_all(own["strangers_adversary"]),
        first=_share(own["rank_first"].fillna(0), own),
        first_chance=_mean_of_all(own["rank_chance"]) or 0.0,
        first_other=_share(elsewhere["rank_other_first"].fillna(0), elsewhere) if len(elsewhere) else None,
        first_other_chance=_mean_of_all(elsewhere["rank_other_chance"]),
        cosine=_mean(own["cosine"]),
        kappa_service=_mean(own["threshold_service"]),
        kappa_adversary=_mean(own["threshold_adversary"]),
    )


def _matched(table: pd.DataFrame, threshold: str) -> Share | None:
    """Return the share of comparisons above a threshold; a photo in which no face was found matches nothing. None if
    there is no threshold for some photo, or no comparison."""
    if not len(table) or table[threshold].isna().any():
        return None
    return _share(table["cosine"] > table[threshold], table)


def _share(hits: pd.Series[Any], table: pd.DataFrame) -> Share:
    clusters, values = _clusters(table), hits.to_numpy(np.float64)
    interval = pair_interval(values, clusters, share=True)
    return Share(
        value=float(values.mean()),
        n=len(values),
        people=len(np.unique(clusters)),
        interval=interval,
        effective=effective_photos(clusters),
    )


def _clusters(table: pd.DataFrame) -> Cluster:
    """Return the person of each row; where people are not known, the photo."""
    return table["person"].fillna(table["photo"]).to_numpy(np.int64)


def _mean(values: pd.Series[float]) -> float | None:
    present = values.dropna()
    return float(present.mean()) if len(present) else None


def _mean_of_all(values: pd.Series[float]) -> float | None:
    """Return the mean over all photos, where one without a found face matches nobody by chance either; None if nothing
    is known of any."""
    return float(values.fillna(0).mean()) if values.notna().any() else None


def visibility(rows: pa.Table, metrics: Sequence[str] = ("psnr", "ssim", "lpips")) -> Visibility:
    """Return how much the protected faces differ from the originals."""
    table = rows.to_pandas()
    table = table[table["compared_with"] == OWN_PICTURE].sort_values("face_found", ascending=False)
    photos = table.drop_duplicates("photo")
    measured = photos[photos["ssim"].notna()]
    values = {}
    for metric in metrics:
        present = measured[metric].dropna()
        if len(present):
            values[metric] = (float(present.median()), float(present.min()), float(present.max()))
    return Visibility(values=values, n=len(measured), equal=int(measured["psnr"].isna().sum()))

"""Groups of people: those whom recognisers tell apart best, and those whom the labels of a data set describe.

The most exposed people are chosen from clean pictures alone, and never by the recogniser that is asked about them:

1. For each recogniser, a person is told apart by the mean cosine of the genuine pairs of clean pictures of the person,
   minus that of the impostor pairs that show the person. People without a genuine pair are in no group.
2. Recognisers agree by the mean of their ranks of people, within a data set.
3. Where a recogniser judges protected pictures, the ranks of all *other* recognisers decide (cross-fitting). The noise
   of its own clean scores would otherwise decide twice, and a group would look exposed that is not.

No protected picture takes part, so that the choice cannot favour any result of a defense.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bench.analysis.cells import CellRow
from bench.analysis.pooling import Floats
from bench.analysis.rows import Rows
from bench.analysis.sample_metric import RECOGNISED
from bench.analysis.verification_scores import VerificationScores
from bench.stages.partners import AGES, MOST_LABELS, MOST_MIXED

SHARE = 0.1  # of people, who are the most exposed ones
EXPOSED = "told apart best"
_BANDS = ("under 20", "20 to 39", "40 to 59", "60 and over")
_LONGEST = 60  # Characters of a label.

Members = Mapping[int, bool]


@dataclass(frozen=True, kw_only=True)
class PeopleGroup:
    """A group of people: its ``attribute`` and its ``label``.

    ``members``: for each data set and each recogniser that judges (empty for any other one), whether a person belongs
    to the group (True) or to the rest (False); a person who is missing belongs to neither.
    """

    attribute: str
    label: str
    members: Mapping[str, Mapping[str, Members]] = field(repr=False)

    @property
    def name(self) -> str:
        """The name of the group for a reader."""
        return self.label if self.attribute == EXPOSED else f"{self.attribute}: {self.label}"

    def of(self, cell: CellRow) -> Members:
        """Return who belongs to the group, and who to the rest, where the recogniser of a cell judges."""
        own = self.members.get(cell.dataset, {})
        return own.get(cell.evaluated, own.get("", {}))


def groups_of(rows: Rows) -> list[PeopleGroup]:
    """Return the groups of people of a run: the most exposed ones first, then those of each known attribute."""
    return [*most_exposed(rows), *known_groups(rows.people)]


# ---- who is told apart best ------------------------------------------------------------------------------------------


def most_exposed(rows: Rows) -> list[PeopleGroup]:
    """Return the people whom recognisers tell apart best, as one group; none if no data set has two recognisers."""
    told: dict[str, dict[str, dict[int, float]]] = defaultdict(dict)
    for (dataset, recogniser), cell in _with_clean_scores(rows).items():
        if found := told_apart(rows.scores[cell.cell]):
            told[dataset][recogniser] = found
    members = {dataset: chosen for dataset, known in told.items() if (chosen := _chosen(known))}
    return [PeopleGroup(attribute=EXPOSED, label=f"the tenth {EXPOSED}", members=members)] if members else []


def _with_clean_scores(rows: Rows) -> dict[tuple[str, str], CellRow]:
    """Return, by data set and recogniser, the cell with the most pairs in which a network as it is embeds clean
    pictures."""
    found: dict[tuple[str, str], CellRow] = {}
    for cell in rows.cells:
        if cell.status != "ok" or cell.embeds or cell.outputs not in RECOGNISED or cell.cell not in rows.scores:
            continue
        key = cell.dataset, cell.evaluated
        if key not in found or found[key].pairs < cell.pairs:
            found[key] = cell
    return found


def told_apart(scores: VerificationScores) -> dict[int, float]:
    """Return how well a recogniser tells each person apart on clean pictures: the mean cosine of genuine pairs minus
    that of impostor pairs. People without a genuine pair are missing; without an impostor pair, all such pairs count.
    """
    cosines, same = scores.cos_clean, scores.same
    known = np.isfinite(cosines)
    genuine = _means(scores.person[known & same], cosines[known & same])
    impostors = known & ~same
    if not genuine or not impostors.any():
        return {}
    both = np.concatenate([scores.person[impostors], scores.other[impostors]])
    others = _means(both, np.tile(cosines[impostors], 2))
    overall = float(cosines[impostors].mean())
    return {person: found - others.get(person, overall) for person, found in genuine.items()}


def _means(people: np.ndarray, values: Floats) -> dict[int, float]:
    known, who = np.unique(people, return_inverse=True)
    means = np.bincount(who, values) / np.bincount(who)
    return dict(zip(known.tolist(), means.tolist(), strict=True))


def _chosen(told: Mapping[str, Mapping[int, float]]) -> dict[str, Members]:
    """Return who is chosen for each recogniser that judges, by the ranks of all others, and for any other judge (empty
    name) by those of all; empty with fewer than two recognisers."""
    if len(told) < 2:
        return {}
    people = sorted(set.intersection(*(set(found) for found in told.values())))
    ranks = {name: ranked(np.array([found[p] for p in people])) for name, found in told.items()}
    chosen: dict[str, Members] = {}
    for judge in ("", *told):
        mean = np.mean([own for name, own in ranks.items() if name != judge], axis=0)
        exposed = set(np.argsort(-mean, kind="stable")[: math.ceil(SHARE * len(people))].tolist())
        chosen[judge] = {person: i in exposed for i, person in enumerate(people)}
    return chosen


def ranked(values: Floats) -> Floats:
    """Return the rank of each value ``(n,)``, from 1 for the lowest; equal values share the mean of their ranks."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    found: Floats = (last - (counts - 1) / 2)[which]
    return found


# ---- known groups ----------------------------------------------------------------------------------------------------


def known_groups(people: pd.DataFrame) -> list[PeopleGroup]:
    """Return one group for each label of each attribute of the rows of people (`known_labels`)."""
    made = []
    for attribute, by_dataset in known_labels(people).items():
        distinct = sorted({label for own in by_dataset.values() for label in own.values()})
        for label in [band for band in _BANDS if band in distinct] if attribute == "age" else distinct:
            members = {d: {"": {p: found == label for p, found in own.items()}} for d, own in by_dataset.items()}
            made.append(PeopleGroup(attribute=attribute[:_LONGEST], label=label[:_LONGEST], members=members))
    return made


def known_labels(people: pd.DataFrame) -> dict[str, dict[str, dict[int, str]]]:
    """Return the label of each person, by attribute and data set, from the rows of people: texts that all pictures of a
    person share, and mean ages in bands of 20 years.

    An attribute with one label, or with very many, makes no groups and is left out; so is one that describes pictures
    rather than people, such as an expression (`_of_pictures`).
    """
    labels: dict[str, dict[str, dict[int, str]]] = defaultdict(lambda: defaultdict(dict))
    for row in people.to_dict("records"):
        if label := _label(row):
            labels[str(row["attribute"])][str(row["dataset"])][int(row["subject"])] = label
    found = {}
    for attribute, by_dataset in labels.items():
        distinct = {label for own in by_dataset.values() for label in own.values()}
        if 1 < len(distinct) <= MOST_LABELS and not _of_pictures(people[people["attribute"] == attribute]):
            found[attribute] = {dataset: dict(own) for dataset, own in by_dataset.items()}
    return found


def _of_pictures(people: pd.DataFrame) -> bool:
    """Return True if an attribute describes pictures: it differs between the pictures of more than a tenth of the
    people with several ones."""
    several = people[people["pictures"] > 1]
    return bool((several["label"].isna() & several["value"].isna()).mean() > MOST_MIXED) if len(several) else False


def _label(row: Mapping[object, object]) -> str:
    """Return the label of a person from a row of people; empty if there is none."""
    value, label = row.get("value"), row.get("label")
    if row["attribute"] == "age" and isinstance(value, float) and math.isfinite(value):
        return _BANDS[int(np.searchsorted(AGES, value, side="right"))]
    return label if isinstance(label, str) else ""

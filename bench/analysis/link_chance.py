"""The chance level of links: how often an adversary links different people of the same known groups, such as gender.

To tell two people apart by their gender is no identity. Where groups of people are known, the chance level of links is
therefore that of pairs of two different people of the same groups: each first upload with a second one of somebody who
shares all of them. Otherwise it is that of pairs whose second upload is that of another pair, whoever it shows.
docs/design/metrics.md has the rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis.cells import CellRow
from bench.analysis.people_groups import known_labels
from bench.analysis.pooling import Floats
from bench.analysis.rows import Rows
from bench.analysis.sample_values import numbers
from bench.core.text import joined_labels

_PERMUTED = "permuted pairs, because too few people of the same groups are known"
FEWEST = 30  # pairs of different people of the same groups; a chance level of fewer is too uncertain.


@dataclass(frozen=True, kw_only=True, eq=False)
class ChancePairs:
    """The rows ``pairs (n,)`` of a cell whose column ``column`` holds scores of two different people who share the
    known ``groups``; the second ones are the people ``second (n,)``. Without groups, these are the ``permuted`` scores
    of all rows. Too few pairs share the known groups ``ignored`` as well, so that a link may rest on these. ``alone``
    first uploads show people who share the ``groups`` with nobody else, and are in no pair of chance."""

    pairs: NDArray[np.bool_]
    column: str
    second: NDArray[Any]
    groups: Sequence[str] = ()
    ignored: Sequence[str] = ()
    alone: int = 0

    @property
    def words(self) -> str:
        """What chance is, whom it leaves out, and which known groups it ignores."""
        said = _PERMUTED
        if self.groups:
            without = f"; without {self.alone} of people who share these with nobody" if self.alone else ""
            said = f"two people of the same {joined_labels(self.groups)} ({self.pairs.sum()} pairs{without})"
        return said + (f", of any {joined_labels(self.ignored)}, on which links may rest" if self.ignored else "")


def chance_pairs(rows: Rows, cell: CellRow, table: pd.DataFrame) -> ChancePairs:
    """Return the pairs by which chance is measured among the ``table`` of a cell's links.

    Each first upload has a partner who shares as many groups as possible (``alike``); rows of older versions have none,
    and there the pairs of different people count that the protocol happens to draw. Attributes are added as long as
    `FEWEST` pairs share their labels, those with the fewest labels first. People without a label are in no such pair.
    """
    left, right = (table[f"{side}_subject"].to_numpy() for side in ("left", "right"))
    different, column = ~table["same"].to_numpy(bool), "score"
    alike, second = numbers(table, "alike"), numbers(table, "alike_subject")
    if alike is not None and second is not None:
        column, different = "alike", np.isfinite(alike)
        other = np.where(different, second, left).astype(np.int64)
    else:
        other = right
    kept = different
    groups: list[str] = []
    ignored: list[str] = []
    for attribute, labels in _labels(rows, cell.dataset).items():
        shared = kept & _shared(labels, left, other)
        if shared.sum() >= FEWEST:
            kept = shared
            groups.append(attribute)
        else:
            ignored.append(attribute)
    if groups:
        alone = int((different & ~kept).sum()) if column == "alike" else 0
        return ChancePairs(pairs=kept, column=column, second=other, groups=groups, ignored=ignored, alone=alone)
    return ChancePairs(pairs=np.ones(len(table), np.bool_), column="permuted", second=right, ignored=ignored)


def _shared(labels: Mapping[int, str], left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.bool_]:
    """Return whether the two people of each pair have one label; one who is not known has none."""
    first, second = (np.array([labels.get(int(p), "") for p in side], dtype=str) for side in (left, right))
    same: NDArray[np.bool_] = (first == second) & (first != "")
    return same


def _labels(rows: Rows, dataset: str) -> Mapping[str, Mapping[int, str]]:
    """Return the label of each person of a data set, by attribute, that with the fewest labels first."""
    if "labels" not in rows.conclusions:
        rows.conclusions["labels"] = known_labels(rows.people)
    known: Mapping[str, Mapping[str, Mapping[int, str]]] = rows.conclusions["labels"]
    found = {name: of[dataset] for name, of in known.items() if dataset in of}
    return dict(sorted(found.items(), key=lambda item: (len(set(item[1].values())), item[0])))


def second_people(rows: Rows, cell: CellRow, table: pd.DataFrame) -> NDArray[Any]:
    """Return the second person of each pair of `chance_pairs`."""
    return chance_pairs(rows, cell, table).second


def linked_by_chance(rows: Rows, cell: CellRow, table: pd.DataFrame) -> Floats | None:
    """Return 1 for each pair of `chance_pairs` whose score exceeds the adversary's threshold, 0 for those that do not,
    and NaN for all other pairs."""
    chosen = chance_pairs(rows, cell, table)
    scores, kappa = numbers(table, chosen.column), numbers(table, "kappa")
    if scores is None or kappa is None:
        return None
    return np.where(chosen.pairs & np.isfinite(scores) & np.isfinite(kappa), scores > kappa, np.nan)


def in_words(rows: Rows, cells: Sequence[CellRow]) -> str:
    """Return by which pairs the chance level of links was measured, data set by data set, as a sentence."""
    said: dict[str, dict[str, None]] = {}
    for cell in cells:
        if len(table := rows.links_of(cell)):
            said.setdefault(chance_pairs(rows, cell, table).words, {})[cell.dataset] = None
    found = [words + (f" ({joined_labels(list(of))})" if len(said) > 1 else "") for words, of in said.items()]
    return f"Chance: {'; '.join(found)}." if found else ""

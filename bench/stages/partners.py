"""Which pairs of uploads of different people stand for chance: of anybody, or of the same known groups. No torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.api.types import Faces

MOST_LABELS = 12  # An attribute with more labels, such as a name, describes people rather than groups.
MOST_MIXED = 0.1  # The share of people whose pictures may differ in an attribute that describes people.
AGES = (20.0, 40.0, 60.0)  # where bands of ages end


def other_pairs(
    left: ArrayLike, right: ArrayLike, order: ArrayLike, groups: tuple[ArrayLike, ArrayLike] | None = None
) -> NDArray[np.int64]:
    """Return for each pair the index of another pair whose right person is not its left person; -1 if there is none.

    ``left (n,)`` and ``right (n,)`` are the people of each pair, and ``order (n,)`` is a permutation of the pairs: the
    partner of a pair is the next one in this order that shows somebody else. With the ``groups`` of the left and of the
    right people, int ``(n, k)`` each, the most important attribute first and -1 where unknown, it is the next one of
    those that share most: the first attribute if possible, then the second, and so on.
    """
    who, whom, places = np.asarray(left), np.asarray(right), np.asarray(order)
    first, second = (np.zeros((len(who), 0), np.int64),) * 2 if groups is None else map(np.asarray, groups)
    weights = 2.0 ** -np.arange(first.shape[1])
    partner = np.full(len(who), -1, np.int64)
    for position, pair in enumerate(places.tolist()):
        following = np.roll(places, -position - 1)
        fitting = following[whom[following] != who[pair]]
        if len(fitting):
            shared = (second[fitting] == first[pair]) & (first[pair] >= 0)
            partner[pair] = fitting[np.argmax(shared @ weights)]
    return partner


def groups_of_faces(faces: Faces) -> NDArray[np.int64]:
    """Return the known groups of the person of each face ``(n, k)``, the attribute with the fewest groups first; -1
    where the pictures of a person differ or are not labelled.

    Groups are labels of text, and ages in bands of 20 years by the mean of a person. Attributes with one label or very
    many, and those that differ between the pictures of many people, make no groups.
    """
    people, person, pictures = np.unique(faces.subjects, return_inverse=True, return_counts=True)
    columns: list[NDArray[np.int64]] = []
    for name in sorted(faces.attributes):
        own = [faces.attributes[name][person == k] for k in range(len(people))]
        group = np.array([_group(labels, age=name == "age") for labels in own], dtype=object)
        known = sorted({str(label) for label in group if label is not None})
        mixed = np.array([label is None for label in group])[pictures > 1]
        if 1 < len(known) <= MOST_LABELS and not (len(mixed) and mixed.mean() > MOST_MIXED):
            columns.append(np.array([-1 if label is None else known.index(label) for label in group])[person])
    columns.sort(key=lambda column: int(column.max()))
    return np.stack(columns, axis=1) if columns else np.zeros((len(person), 0), np.int64)


def _group(labels: NDArray[np.generic], *, age: bool) -> str | None:
    """Return the label that all pictures of a person share, or the band of their mean age; None if there is none."""
    if labels.dtype.kind in "fiu":
        numbers = labels[np.isfinite(labels)]
        return str(int(np.searchsorted(AGES, numbers.mean(), side="right"))) if age and len(numbers) else None
    found = {str(label) for label in labels.tolist() if label is not None and str(label)}
    return found.pop() if len(found) == 1 else None

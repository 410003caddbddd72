"""What attacks estimated of attributes in one cell, from its rows: scores as arrays, and answers sample by sample."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.analysis.pooling import Floats


@dataclass(frozen=True, kw_only=True)
class AttributeScores:
    """The scores of one attribute in one cell, as arrays of shape ``(n,)``.

    ``people`` are the persons shown, ``value`` is the similarity or the difference of the attribute, ``permuted`` the
    same for the answers on other people, and ``baseline`` for a constant answer; None where the run has no such column.
    """

    people: NDArray[Any]
    value: Floats
    permuted: Floats | None
    baseline: Floats | None


@dataclass(frozen=True)
class AttributeEstimate:
    """An attribute that an attack estimated for a sample: its name, and the answers on what the attack sees and on the
    original."""

    attribute: str
    predicted: str
    original: str


def by_attribute(table: pa.Table | None) -> Mapping[str, AttributeScores]:
    """Return the scores in the rows of a cell, by the name of the attribute."""
    if table is None or "value" not in table.column_names:
        return {}

    def floats(name: str) -> Floats:
        return np.array(table[name].cast(pa.float64()).to_numpy())

    names = table["attribute"].combine_chunks().dictionary_encode()
    codes, people, value = np.array(names.indices), np.array(table["subject"].to_numpy()), floats("value")
    baselines = {name: floats(name) for name in ("permuted", "baseline") if name in table.column_names}
    found = {}
    for code, name in enumerate(names.dictionary.to_pylist()):
        own = codes == code
        permuted, baseline = (baselines[b][own] if b in baselines else None for b in ("permuted", "baseline"))
        found[str(name)] = AttributeScores(people=people[own], value=value[own], permuted=permuted, baseline=baseline)
    return found


def by_sample(table: pa.Table | None) -> Mapping[str, Sequence[AttributeEstimate]]:
    """Return the answers in the rows of a cell, by the id of the sample."""
    found: dict[str, list[AttributeEstimate]] = defaultdict(list)
    if table is not None:
        columns = (map(str, table[name].to_pylist()) for name in ("sample_id", "attribute", "predicted", "original"))
        for sample, *answers in zip(*columns, strict=True):
            found[sample].append(AttributeEstimate(*answers))
    return found

"""The scores of simulated rows of links, by the functions that the report calls."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.chance_tests import AgainstChance
from bench.analysis.measures import metric_named
from bench.analysis.pooling import Pool, SampleScores
from bench.analysis.sample_values import OperatingPoint
from bench.metrics.linkage import pair_auc

_AT = OperatingPoint()
_CELL: Any = SimpleNamespace(dataset="set", people_of="set", repeat=0)


def with_areas(table: pd.DataFrame) -> pd.DataFrame:
    """Return rows with the share of pairs of different people that each pair of one person exceeds, as a run has it."""
    score, same = table["score"].to_numpy(), table["same"].to_numpy(bool)
    return table.assign(auc=np.where(same, pair_auc(score, score[~same]), np.nan))


def scores_of(name: str, table: pd.DataFrame, labels: Mapping[str, Mapping[int, str]] | None = None) -> SampleScores:
    """Return the scores of a metric of links in some rows; ``labels`` are the known groups of people by attribute."""
    known = {attribute: {"set": of} for attribute, of in (labels or {}).items()}
    rows: Any = SimpleNamespace(
        conclusions={"labels": known}, links_of=lambda cell: table, repeats_of=lambda cell: (cell.repeat,)
    )
    found = metric_named(name).scores(rows, _CELL, _AT)
    assert found is not None, f"the rows have no {name}"
    return found


def against_chance(
    name: str, table: pd.DataFrame, labels: Mapping[str, Mapping[int, str]] | None = None
) -> AgainstChance:
    """Return the comparison of a metric of links with its chance level."""
    metric = metric_named(name)
    found, chance = (Pool([scores_of(of, table, labels)]) for of in (name, f"{name}-chance"))
    return AgainstChance(found=found, chance=chance, share=metric.share, sampled=metric.sampled)

"""Maps tables of schemas 2 and 3 to today's schema; `run_record` does the same for ``run.json``.

Schemas 2 and 3 joined the labels of several models, and the names of several split points, by ``+``. They did not
record the role of a component, the metric of a score, or the stage that failed first, and called baselines floors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from bench.store import schema

# The columns of cells: today's, in which labels and names were joined to one text.
CELLS = pa.schema([pa.field(f.name, pa.string() if pa.types.is_list(f.type) else f.type) for f in schema.CELLS])
TABLES: Mapping[str, str] = {"baselines": "floors"}  # Today's name of a table of samples: the old one.
COLUMNS: Mapping[str, Mapping[str, str]] = {"attributes": {"baseline": "floor"}}  # Table: today's name: the old one.
_FEATURES = "features at "
# The first words of the names of score stages, by the metric that they computed.
_SCORES = {
    "verification of ": "verification",
    "image similarity of ": "images",
    "floors of the image metrics on ": "baselines",
}


def today(table: str) -> str:
    """Return today's name of a table of samples."""
    return next((name for name, old in TABLES.items() if old == table), table)


def stage_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of a stage with the metric of its score; None for ``up`` and ``attributes``, whose names are too
    similar."""
    name = str(row.get("name", ""))
    metric = next((metric for words, metric in _SCORES.items() if name.startswith(words)), None)
    return {"failed_stage": None, **row, "metric": row.get("metric") or metric}


def add_failed_stages(rows: Sequence[dict[str, Any]]) -> None:
    """Set ``failed_stage`` in rows of failed stages that lack it: the key of the stage that failed by itself.

    The reason of a failure began with the name of that stage, and every stage that needed its artifact had the same
    reason.
    """
    failed = [row for row in rows if row.get("status") != "ok" and not row.get("failed_stage")]
    first = first_failures(failed)
    for row in failed:
        row["failed_stage"] = first.get(str(row.get("reason")))


def first_failures(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the keys of the stages that failed by themselves, by their reasons."""
    found: dict[str, str] = {}
    for row in rows:
        if str(row.get("reason")).startswith(f"{row.get('name')}: "):
            found.setdefault(str(row["reason"]), str(row["key"]))
    return found


def cells(frame: pd.DataFrame, stages: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the rows of cells with today's columns. ``stages`` are the rows of the stages of the run."""
    parts: dict[str, list[dict[str, Any]]] = {}
    for text in frame["components"].dropna().unique():
        parts[text] = with_roles(json.loads(text))
    authorised = [
        tuple(part["label"] for part in parts[text] if part["role"] == "authorised") if text in parts else _split(label)
        for text, label in zip(frame["components"], frame["authorised"], strict=True)
    ]
    stand_ins = zip(authorised, frame["authorised_stand_in_for"], strict=True)
    first = first_failures(stages)
    return frame.assign(
        authorised=_column(frame, authorised),
        authorised_stand_in_for=_column(frame, [_names_of(models, text) for models, text in stand_ins]),
        surrogates=_column(frame, [()] * len(frame)),  # These versions knew none.
        splits=_column(frame, [_splits(text) for text in frame["upload"]]),
        failed_stage=_column(frame, [first.get(str(reason)) for reason in frame["reason"]]),
        components=_column(frame, [json.dumps(parts[t]) if t in parts else None for t in frame["components"]]),
    )


def with_roles(parts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return components with their roles, which follow from their order: data set, authorised models, defense, attack,
    evaluated model, and the attack that ran before the attack."""
    found: list[dict[str, Any]] = []
    for part in parts:
        before = {str(one["kind"]) for one in found}
        kind = str(part["kind"])
        if kind == "model":
            role = "evaluated" if "defense" in before else "authorised"
        else:
            role = "via" if kind == "attack" and "attack" in before else kind
        found.append({**part, "role": role})
    return found


def _names_of(models: Sequence[str], text: object) -> tuple[str, ...]:
    """Return the paper's names of models, or their labels if the joined names cannot be separated."""
    names = (text,) if len(models) == 1 and isinstance(text, str) else _split(text)
    return names if len(names) == len(models) else tuple(models)


def _splits(upload: object) -> tuple[str, ...]:
    features = isinstance(upload, str) and upload.startswith(_FEATURES)
    return _split(str(upload).removeprefix(_FEATURES)) if features else ()


def _split(text: object) -> tuple[str, ...]:
    return tuple(part for part in text.split("+") if part) if isinstance(text, str) else ()


def _column(frame: pd.DataFrame, values: Sequence[Any]) -> pd.Series[Any]:
    return pd.Series(values, index=frame.index, dtype=object)

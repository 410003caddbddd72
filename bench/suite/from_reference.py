"""Which defenses of a suite are read from its reference run, so that they need not be computed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.core.errors import SuiteError
from bench.core.text import shortened, spelling
from bench.store.reference import defense_tables
from bench.store.run_record import RunRecord
from bench.suite.added_defenses import AddedDefense, as_table, asks, spelt
from bench.suite.expand import full_references
from bench.suite.version import questions


def same_questions(raw: Mapping[str, Any], reference: RunRecord) -> bool:
    """Return True if a suite asks of defenses what the suite of a reference run asks, whatever the defenses are."""
    return without_defenses(raw) == without_defenses(reference.suite.raw)


def without_defenses(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a suite asks of any defense: its questions without the defenses. What has not the form of an
    experiment stays as it is."""
    found = questions(raw)
    tables = found.get("experiment")
    if isinstance(tables, list):
        found["experiment"] = [
            {name: value for name, value in table.items() if name != "defenses"}
            if isinstance(table, Mapping)
            else table
            for table in tables
        ]
    return found


def leave_out(raw: dict[str, Any], reference: RunRecord, named: Sequence[AddedDefense]) -> None:
    """Remove from the experiments of a suite the defenses that the reference run has, except those that the command
    line names."""
    known = defense_tables(reference)
    for table in raw.get("experiment", ()):
        read = [as_table(d) for d in known.get(table["name"], ())]
        table["defenses"] = [
            d for d in table["defenses"] if as_table(d) not in read or any(asks(one, d) for one in named)
        ]


def require_own_labels(raw: Mapping[str, Any], reference: RunRecord) -> None:
    """Raise `SuiteError` if a defense of a suite has the label of another defense of the reference run, whose rows,
    such as those of a control, could then not be shown beside it."""
    known = defense_tables(reference)
    for i, table in enumerate(raw.get("experiment", ())):
        for j, own in enumerate(table["defenses"]):
            others = [d for d in known.get(table["name"], ()) if as_table(d) != as_table(own)]
            labels = [full.label for d in others for full in full_references("defense", d, "")]
            if taken := [label for label in labels if spelling(label) in spelt(own, "")]:
                raise SuiteError(
                    f"experiment[{i}].defenses[{j}]: the reference run of {reference.suite.version} calls another "
                    f"defense {shortened(taken[0])!r}; give this one another label"
                )


def take_over(raw: dict[str, Any], reference: RunRecord) -> None:
    """Add the defenses of the reference run to the experiments of a suite, so that they are computed."""
    known = defense_tables(reference)
    for table in raw.get("experiment", ()):
        own = [as_table(d) for d in table["defenses"]]
        table["defenses"] += [d for d in known.get(table["name"], ()) if as_table(d) not in own]

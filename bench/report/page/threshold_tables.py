"""The tables of thresholds in the section "What was run": of the deployed service, and of the adversary."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from bench.analysis.cells import CellRow
from bench.analysis.rows import Rows
from bench.analysis.threshold_words import percent, rule_of
from bench.analysis.verification_scores import Threshold
from bench.report.page.run_facts import Grid

_RATE, _CELL = "impostor_match_adversary", "cell"


@dataclass(frozen=True, kw_only=True)
class ThresholdTable:
    """A table of thresholds with its title and caption; it has no rows if the run has no such thresholds."""

    title: str
    grid: Grid
    about: str


def deployed(rows: Rows) -> ThresholdTable:
    """Return the calibrated threshold of each model on each data set, and the false match rate that it realises."""
    known = [(c, found) for c in rows.cells if (found := rows.scores.threshold(c.cell)) is not None]
    several = len(rows.results.runs) > 1
    rules = list(dict.fromkeys(rule_of(t) for _, t in known))
    values: dict[tuple[str, str, str], dict[str, Threshold]] = defaultdict(dict)
    for cell, found in known:
        values[cell.dataset, rule_of(found), cell.run][cell.evaluated] = found
    models = list(dict.fromkeys(c.evaluated for c, _ in known))
    made = []
    for (dataset, rule, run), own in values.items():
        label = ", ".join([dataset, *([rule] if len(rules) > 1 else []), *([run] if several else [])])
        made.append([label, *(_shown(own[m]) if m in own else "–" for m in models)])
    found_ones = [t for _, t in known]
    size = _span([t.impostors for t in found_ones]) or "no"
    people = _span([t.people for t in found_ones if t.people is not None])
    of = f"{people} people" if people else "people"
    about = (
        f"Calibrated threshold κ of each model, as a deployed service would set it: {'; '.join(rules) or 'none'}. In "
        f"brackets the false match rate (FMR) that it realises on the {size} impostor scores of {of} who are not "
        "scored. Utility is measured at it."
    )
    return ThresholdTable(title="Thresholds of the service", grid=_grid(["data set", *models], made), about=about)


def adversaries(rows: Rows) -> ThresholdTable:
    """Return the range of the thresholds that adversaries set, by data set and defense, with the false match rate that
    they realise on the people who are scored."""
    found: dict[tuple[str, str, str], dict[str, list[CellRow]]] = defaultdict(lambda: defaultdict(list))
    thresholds: dict[str, Threshold] = {}
    for cell in rows.cells:
        threshold = rows.scores.threshold(cell.cell)
        if threshold is not None and threshold.adversary is not None:
            thresholds[cell.cell] = threshold
            found[cell.dataset, cell.defense, cell.run][cell.evaluated].append(cell)
    realised = _realised(rows, thresholds)
    several = len(rows.results.runs) > 1
    models = list(dict.fromkeys(m for own in found.values() for m in own))
    made = []
    for (dataset, defense, run), own in found.items():
        shown = (_of_cells(own.get(m, ()), thresholds, realised) for m in models)
        made.append([", ".join([dataset, defense, *([run] if several else [])]), *shown])
    people = _span([t.adversary_people for t in thresholds.values() if t.adversary_people is not None])
    size = _span([t.adversary_impostors for t in thresholds.values() if t.adversary_impostors is not None])
    rates = " or ".join(dict.fromkeys(f"{100 * t.fmr:g} %" for t in thresholds.values()))
    rules = dict.fromkeys(t.adversary_rule or "scored" for t in thresholds.values())
    notes = dict.fromkeys(f" {c.dataset}: {c.threshold_note}." for c in rows.cells if c.threshold_note)
    about = (
        f"Threshold κ that an adversary sets for an FMR of {rates}, on {size} impostor scores of {people} people: what "
        f"he ends with (uploads or reconstructions) against clean originals of other people. {_whose(list(rules))}"
        "From the lowest to the highest of all attacks; in brackets the FMR that they realise on the people who are "
        f"scored, which is the chance level of a match. Leakage is measured at it.{''.join(notes)}"
    )
    return ThresholdTable(
        title="Thresholds of adversaries", grid=_grid(["data set, defense", *models], made), about=about
    )


_SCORED = (
    "Nobody takes part in the threshold that is applied to him: people are divided into up to ten groups, and the "
    "first one is shown. "
)
_STRANGERS = (
    "He ends with pictures of people of the calibration split, who are protected and attacked like the scored ones, "
    "and compares them with the originals of the scored ones. "
)


def _whose(rules: Sequence[str]) -> str:
    """Return on whom adversaries set their thresholds, as sentences."""
    if rules == ["calibration"]:
        return _STRANGERS
    return (
        f"{_STRANGERS}Where that is not possible, all pictures show scored people. {_SCORED}"
        if len(rules) > 1
        else _SCORED
    )


def _shown(threshold: Threshold) -> str:
    rate = "not recorded" if threshold.realised is None else percent(threshold.realised)
    return f"{threshold.kappa:.3f} ({rate})"


def _of_cells(cells: Sequence[CellRow], thresholds: Mapping[str, Threshold], realised: Mapping[str, float]) -> str:
    kappas = [k for c in cells if (k := thresholds[c.cell].adversary) is not None]
    rates = [realised[c.cell] for c in cells if c.cell in realised]
    if not kappas:
        return "–"
    low, high = f"{min(kappas):.3f}", f"{max(kappas):.3f}"
    mean = percent(sum(rates) / len(rates)) if rates else "–"
    return f"{low if low == high else f'{low} to {high}'} ({mean})"


def _realised(rows: Rows, wanted: Collection[str]) -> Mapping[str, float]:
    """Return the mean false match rate at the adversary's threshold by cell, read without the other columns."""
    if not wanted:
        return {}
    sums: dict[str, tuple[float, int]] = {}
    for part in rows.results.batches("verification", columns=[_CELL, _RATE]):
        grouped = part.groupby(_CELL, sort=False)[_RATE]
        for cell, total, count in zip(grouped.sum().index, grouped.sum(), grouped.count(), strict=True):
            before = sums.get(str(cell), (0.0, 0))
            sums[str(cell)] = before[0] + float(total), before[1] + int(count)
    return {cell: total / n for cell, (total, n) in sums.items() if n and cell in wanted}


def _span(numbers: Sequence[int]) -> str:
    """Return the lowest and the highest of some numbers as text; empty if there are none."""
    if not numbers:
        return ""
    low, high = f"{int(min(numbers)):,}", f"{int(max(numbers)):,}"
    return low if low == high else f"{low} to {high}"


def _grid(columns: Sequence[str], made: Sequence[Sequence[str]]) -> Grid:
    return Grid(columns=columns, rows=made, numbers=frozenset(range(1, len(columns))))

"""The questions that every defense is asked, the one metric that answers each, and the cells that count.

The verdict, the ladder and ``bench diff`` take them from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from bench.analysis.cells import CellRow
from bench.analysis.sample_metric import RECOGNISED
from bench.analysis.tables.goals import PURPOSES
from bench.analysis.tables.row_layout import Sides
from bench.core.domain import Goal, channel

Question = Literal["utility", "leakage", "appearance", "attributes", "reference"]

# - utility: do the authorised models still recognise what is uploaded (Equation 10, calibrated threshold)? For a goal
#   whose utility is the picture itself, what does the upload keep of the original (`bench.analysis.tables.goals`)?
# - leakage: do held-out recognisers match it, or what an attack makes of it, at the adversary's threshold?
# - appearance: how similar are its pixels to those of the original?
# - attributes: how much nearer is each estimated attribute to the estimate on the original than answers that are
#   permuted over people? This is a family of metrics, one for each attribute.
# - reference: do models recognise faces without protection? The answer is no result of a defense.
PRIMARY: Mapping[Question, str] = {
    "utility": "accuracy",
    "leakage": "fmr-match",
    "appearance": "ssim",
    "attributes": "excess",
    "reference": "accuracy",
}


def is_upload(cell: CellRow) -> bool:
    """Return True if the evaluated model recognises what was uploaded as it is, and no attack changed either."""
    return cell.outputs == "recognition" and not cell.via and not cell.embeds


def by_design(cell: CellRow, goal: Goal | None = None) -> bool:
    """Return True if the authorised service itself recognises or links, and the ``goal`` (by default that of the
    defense) wants it to recognise: what this insider finds is no leak."""
    return cell.insider and PURPOSES[goal or cell.goal].served and channel(cell.outputs) in ("recognition", "linkage")


def leaks_to(cell: CellRow, sides: Sides, goal: Goal | None = None) -> bool:
    """Return True if what the attack of a cell finds counts as leakage of a defense with this ``goal`` (by default its
    own): pictures that held-out recognisers match, links that they make, and attributes if the goal hides them."""
    if cell.leaky or by_design(cell, goal):
        return False
    if channel(cell.outputs) == "attributes":
        return PURPOSES[goal or cell.goal].hides_attributes
    return sides.judges(cell, goal)


def asked(question: Question, cell: CellRow, sides: Sides, goal: Goal | None = None) -> bool:
    """Return True if a cell answers a question, whether the cell has a protection or not.

    ``goal`` is what it is compared for, by default the goal of its defense. Attacks that learned from the evaluated
    people answer none.
    """
    if cell.leaky:
        return False
    match question:
        case "utility":
            return is_upload(cell) and (PURPOSES[goal or cell.goal].of_picture or sides.serves(cell))
        case "leakage":
            return cell.outputs in RECOGNISED and leaks_to(cell, sides, goal)
        case "appearance":
            return cell.outputs in RECOGNISED
        case "attributes":
            return cell.outputs == "attributes"
        case "reference":
            return is_upload(cell) and cell.clean

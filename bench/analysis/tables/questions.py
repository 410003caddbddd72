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
from bench.core.domain import Goal

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


def asked(question: Question, cell: CellRow, sides: Sides, goal: Goal | None = None) -> bool:
    """Return True if a cell answers a question, whether the cell has a protection or not.

    ``goal`` is what it is compared for, by default the goal of its defense. Attacks that learned from the evaluated
    people answer none. What the authorised service itself can find out is no leakage to others.
    """
    if cell.leaky or (cell.insider and question == "leakage"):
        return False
    match question:
        case "utility":
            return is_upload(cell) and (PURPOSES[goal or cell.goal].of_picture or sides.serves(cell))
        case "leakage":
            return cell.outputs in RECOGNISED and sides.judges(cell, goal)
        case "appearance":
            return cell.outputs in RECOGNISED
        case "attributes":
            return cell.outputs == "attributes"
        case "reference":
            return is_upload(cell) and cell.clean

"""The enhancements of PMT in words. The paper's Table X writes them as letters, and so do the labels of its suite."""

from __future__ import annotations

TABLE = "X"
NOTHING = "none"
_WORDS = {"A": "augmentation", "K": "kernel", "L": "layer aggregation"}


def spelled_out(label: str, table: str | None) -> str:
    """Return the label of a defense with the letters of Table X as words; a label of another table as it is.

    >>> spelled_out("A+L", "X")
    'PMT with augmentation + layer aggregation'
    """
    letters = label.split("+")
    if table != TABLE:
        return label
    if label == NOTHING:
        return "PMT with no enhancement"
    if all(letter in _WORDS for letter in letters):
        return f"PMT with {' + '.join(_WORDS[letter] for letter in letters)}"
    return label

"""The first face of a face wall: the picture of an experiment without plots, shown before the wall is opened."""

from __future__ import annotations

from dataclasses import replace

from bench.report.page.face_wall import Wall

COLUMNS = 8  # The most columns, so that they fit side by side.


def strip(wall: Wall) -> Wall:
    """Return the wall of the first face alone, without attacks that learnt from the people that are shown.

    Of more than `COLUMNS` columns, those of protections are chosen first, and of each defense the upload and the
    attacks in their order.
    """
    priority: dict[int, tuple[bool, int]] = {}
    columns_of: dict[tuple[str, str], int] = {}
    for i, column in enumerate(wall.columns):
        if column.leaky:
            continue
        point = column.defense, column.authorised
        columns_of[point] = columns_of.get(point, 0) + 1
        priority[i] = column.control or any(c.clean for c in column.cells), columns_of[point]
    chosen = sorted(sorted(priority, key=lambda i: priority[i])[:COLUMNS])
    first = wall.shelves[0]
    rows = [replace(row, faces=[row.faces[i] for i in chosen]) for row in first.rows[:1]]
    return replace(wall, columns=[wall.columns[i] for i in chosen], shelves=[replace(first, rows=rows)])

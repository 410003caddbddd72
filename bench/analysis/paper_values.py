"""The published number of the paper that belongs to a cell. Only this module knows the paper's names of rows.

A row is matched by the plugin and the effective parameters of the defense and by what its data set and its models stand
in for, never by labels, because a suite may choose any labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.analysis.cells import CellRow
from bench.analysis.rows import Rows
from bench.suite.paper_tables import canonical

_STARTS = {"noise": "Random Noise", "sort": "Random Sort", "blur": "Random Blur"}
_AUGMENTATIONS = {"mix": "Mix", "none": "None", "noise": "Random Noise", "affine": "Random Affine"}
_KERNELS = {"none": "None", "linear": "Linear Kernel", "gaussian": "Gaussian Kernel"}
_RECONSTRUCTED = {"identity": "Unprotected", "pmt-noise": "Random Noise", "pmt": "Ours"}
_ESTIMATED = {"pmt": "PMT(x)", "noise": "x+delta"}
BLOCKS: Mapping[str, Mapping[str, str]] = {"IV": {"Augmentation": "augment", "Layer Aggregation": "layers"}}
# What the paper's number measures, by the metric that it stands beside, where that is another quantity.
_PAPER_HAS: Mapping[str, str] = {
    "accuracy": "at the fixed κ",
    "up": "UP by LPIPS",
    "srra": "κ not stated",
    "srra-fixed": "κ not stated",
}


def paper_quantity(metric: str) -> str:
    """Return what the paper's number beside a metric measures, where that is another quantity; otherwise nothing.

    The paper counts Equation 10 at one fixed threshold for all models, takes LPIPS for the second term of Equation 9,
    and does not state the threshold of its SRRA.
    """
    return _PAPER_HAS.get(metric, "")


def paper_value(rows: Rows, cell: CellRow, column: str, block: str = "") -> float | None:
    """Return the number that the paper published in the row of a cell and a column; None if it published none.

    ``block`` is the name of a part of the table, where the table has several (Table IV).
    """
    claims = rows.claims.get(cell.experiment)
    if not claims:
        return None
    dataset = cell.dataset_stands_in_for or cell.dataset
    row = row_name(cell, block)
    return claims.get((dataset, cell.plugin, canonical(row), column)) if row else None


def row_name(cell: CellRow, block: str = "") -> str | None:
    """Return the paper's name of the row of a cell.

    If the paper has no such row, it is the name of the plugin in Tables VI and VIII and for a defense without
    parameters, otherwise None.
    """
    if cell.table in _BY_PARAMETERS:
        return _BY_PARAMETERS[cell.table](cell.params, block) if cell.params else cell.plugin
    if cell.table == "VI":
        return _RECONSTRUCTED.get(cell.plugin, cell.plugin)
    if cell.table == "VIII":
        return _ESTIMATED.get(cell.plugin, cell.plugin)
    return "Clean" if cell.clean else cell.authorised_stands_in_for or None


def blocks(cells: Sequence[CellRow]) -> list[tuple[str, list[str]]]:
    """Return the parts of an experiment's table with the labels of their defenses, in the suite's order.

    Most tables have one part, whose name is empty. Table IV has one part for the augmentation and one for the layer
    aggregation: a defense belongs to a part if another defense differs from it only in the parameter of that part.
    """
    known = BLOCKS.get((cells[0].table if cells else None) or "", {})
    params = {c.defense: {"plugin": c.plugin, **c.params} for c in cells}
    found = [(name, [d for d in params if _varies(params, d, switch)]) for name, switch in known.items()]
    found = [(name, labels) for name, labels in found if labels]
    placed = {label for _, labels in found for label in labels}
    rest = [label for label in params if label not in placed]
    return [*found, ("", rest)] if rest else found


def _varies(params: Mapping[str, Mapping[str, Any]], label: str, switch: str) -> bool:
    """True if another defense has another value of the parameter ``switch`` and is otherwise the same."""
    own = params[label]
    return any(
        switch in own
        and switch in other
        and _switched(own, switch) != _switched(other, switch)
        and _without(own, switch) == _without(other, switch)
        for other in params.values()
    )


_BELONGS = {"layers": ("layers", "balance", "pool", "pool_kernel")}  # Parameters that depend on another one.


def _without(params: Mapping[str, Any], switch: str) -> dict[str, Any]:
    together = _BELONGS.get(switch, (switch,))
    return {k: v for k, v in params.items() if k not in together and not k.startswith(f"{switch}_")}


def _switched(params: Mapping[str, Any], switch: str) -> object:
    return _aggregates(params) if switch == "layers" else params.get(switch)


def _aggregates(params: Mapping[str, Any]) -> bool:
    """True if the features of several layers are compared (Algorithm 2)."""
    layers = params.get("layers")
    return layers == "all" or (isinstance(layers, list | tuple) and len(layers) > 1)


def _ablated(params: Mapping[str, Any], block: str) -> str | None:
    """Return the row of Table IV, whose two parts have rows of the same name; None if the table lacks it."""
    if block == "Augmentation":
        name = _AUGMENTATIONS.get(str(params.get("augment")))
    else:
        name = "Yes" if _aggregates(params) else "No"
    return f"{block}: {name}" if block and name else None


def _switches(params: Mapping[str, Any], block: str) -> str | None:
    """Return the row of Table X: augmentation / translation-invariant kernel / layer aggregation."""
    on = (params.get("augment") != "none", params.get("kernel") != "none", _aggregates(params))
    return "/".join("✔" if switch else "✘" for switch in on)


def _kernel(params: Mapping[str, Any], block: str) -> str | None:
    """Return the row of Table V; None for a kernel longer than 1, which only Figure 4 shows."""
    length = params.get("kernel_length", 1)
    return _KERNELS.get(str(params.get("kernel"))) if length == 1 or params.get("kernel") == "none" else None


_BY_PARAMETERS: Mapping[str | None, Callable[[Mapping[str, Any], str], str | None]] = {
    "III": lambda params, _: _STARTS.get(str(params.get("init"))),
    "IV": _ablated,
    "V": _kernel,
    "X": _switches,
}

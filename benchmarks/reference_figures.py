"""The figures of docs/design/standard.md, from the rows of the reference run, with pandas alone.

    python benchmarks/reference_figures.py [FOLDER OF A RUN OF THE STANDARD SUITE]

No code of bench takes part, so that this is a second calculation of what its report and exports say: Equation 10 of
every recogniser that is not authorised, the share of faces that are matched to the very photo, and the area under the
ROC curve of links.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

FOLDER = Path(__file__).resolve().parent.parent / "bench" / "reference" / "standard-1"
DEFENSES = (
    "PMT",
    "MR-PMT",
    "Noise 0.3",
    "blur",
    "pixelation",
    "block-permutation",
    "known-break",
    "oblivion",
    "identity",
)


def rows(folder: Path, table: str) -> pd.DataFrame:
    """Return the rows of a table of samples of all experiments, with the role of the recogniser of their cell."""
    cells = pd.read_parquet(folder / "cells.parquet", columns=["cell", "role", "insider"])
    parts = []
    for file in sorted((folder / "samples" / table).glob("*/*.parquet")):
        parts.append(pd.read_parquet(file).assign(experiment=file.parent.name.removeprefix("experiment=")))
    return pd.concat(parts, ignore_index=True).merge(cells, on="cell")


def equation_10(of: pd.DataFrame) -> pd.Series:
    """Return for each pair whether the recogniser decides as Equation 10 asks: the upload is the person of the photo,
    and the other picture is the same person if and only if it is."""
    kappa = of["kappa_calibrated"]
    return (of["cos_self"] > kappa) & ((of["cos_cross"] > kappa) == of["same"])


def same_photo(of: pd.DataFrame) -> pd.Series:
    """Return for each pair whether the upload is matched to its own photo at the adversary's threshold."""
    return of["cos_self"] > of["kappa_adversary"]


def link_auc(of: pd.DataFrame) -> float:
    """Return the share of genuine and impostor pairs that are in the right order; equal scores count half."""
    genuine, impostor = (of.loc[of["same"] == same, "score"].to_numpy() for same in (True, False))
    return float(np.mean((genuine[:, None] > impostor) + 0.5 * (genuine[:, None] == impostor)))


def in_order(of: pd.DataFrame) -> pd.DataFrame:
    """Return a table with a column for each defense, with those of the reference run first."""
    known = [name for name in DEFENSES if name in of]
    return of[[*known, *sorted(set(of) - set(known))]]


def by_defense(of: pd.DataFrame, values: pd.Series) -> pd.DataFrame:
    """Return means in per cent, a row for each experiment and attack and a column for each defense."""
    means = values.groupby([of["experiment"], of["attack"], of["defense"]]).mean().mul(100).unstack()
    return in_order(means)


def main() -> None:
    """Print the tables."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    verification, links = rows(folder, "verification"), rows(folder, "links")
    outside = verification[(verification["role"] != "authorised") & ~verification["insider"]]
    one = outside[outside["evaluated"] == "zoo-resnet"]
    areas = links.groupby(["attack", "defense"])[["same", "score"]].apply(link_auc).unstack()
    print("Equation 10, zoo-resnet, %")
    print(by_defense(one, equation_10(one)).drop("reconstruction", errors="ignore").round(1).to_string())
    print("\nEquation 10, all recognisers that are not authorised, %")
    print(by_defense(outside, equation_10(outside)).loc[["recognition"]].round(1).to_string())
    print("\nMatched to the very photo at the adversary's threshold, all that are not authorised, %")
    print(by_defense(outside, same_photo(outside)).loc[["recognition", "reconstruction"]].round(1).to_string())
    print("\nArea under the ROC curve of links")
    print(in_order(areas).round(4).to_string())


if __name__ == "__main__":
    main()

"""The small record that ``bench verify`` writes beside a bundle: what was recomputed, and whether it agreed.

It says what somebody found on some machine, and counts only for the bundle whose sha256 it names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.core.errors import StorageError
from bench.core.files import write_atomically
from bench.core.text import plural
from bench.core.whole_files import read_json
from bench.store.typed_json import decode


@dataclass(frozen=True, kw_only=True)
class RecomputedCell:
    """A cell that was recomputed: its id, the number of rows that were compared, and the largest difference of a
    number in them. One that failed in the same way in the bundle and here may have no row."""

    cell: str
    rows: int
    largest: float

    @property
    def exact(self) -> bool:
        """True if there are numbers and none of them differs at all."""
        return self.rows > 0 and self.largest == 0

    @property
    def agreement(self) -> str:
        """How far its numbers agree, in words."""
        if not self.rows:
            return "failed here as there, nothing to compare"
        return f"{plural(self.rows, 'row')}, " + (
            "exactly equal" if self.exact else f"numbers differ by up to {self.largest:.2g}"
        )


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What ``bench verify`` found about the bundle of this sha256.

    - ``ok``: everything agreed, and could be checked
    - ``bench``: the version of bench that verified it; ``date``: when, in UTC
    - ``cells``: those that were recomputed; ``seed``: by which they were chosen among the ``recomputable`` cells, which
      are not skipped; ``tolerance``: by which their numbers could differ
    - ``differences``: what did not agree; ``unchecked``: what could not be checked, and why
    """

    sha256: str
    ok: bool
    bench: str
    date: str
    seed: int
    recomputable: int = 0
    tolerance: float = 0.0
    cells: Sequence[RecomputedCell] = ()
    differences: Sequence[str] = ()
    unchecked: Sequence[str] = ()

    @property
    def consistent(self) -> bool:
        """False if it says that all is well and what is not, or counts what cannot be."""
        counted = len(self.cells) <= self.recomputable and all(c.rows >= 0 and c.largest >= 0 for c in self.cells)
        return counted and self.tolerance >= 0 and not (self.ok and (self.differences or self.unchecked))

    @property
    def agreement(self) -> str:
        """How far the recomputed cells agree, in words; cells without a row are told apart from equal ones."""
        full = [cell for cell in self.cells if cell.rows]
        without = len(self.cells) - len(full)
        failed = f"{without} failed here as there, " if without else ""
        if not full:
            return f"{failed}nothing to compare"
        exact = sum(cell.exact for cell in full)
        if exact == len(full):
            return f"{failed}{'the others' if without else 'all'} exactly equal"
        return f"{failed}{exact} exactly equal, the others within {self.tolerance:g}"


def verification_file(bundle: Path) -> Path:
    """Return the path of the record of verification of a bundle: ``BUNDLE.verified.json``."""
    return bundle.with_name(f"{bundle.name}.verified.json")


def write_verification(bundle: Path, found: Verification) -> Path:
    """Write the record of a verification beside its bundle, and return its path."""
    path = verification_file(bundle)
    write_atomically(path, json.dumps(asdict(found), indent=1))
    return path


def read_verification(bundle: Path, sha256: str) -> Verification | None:
    """Return the record of verification beside a bundle, whose sha256 is given; None if there is none, or if it is
    about another file.

    Raises `StorageError` if it cannot be read.
    """
    path = verification_file(bundle)
    try:
        found = decode(Verification, read_json(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, OverflowError) as error:
        raise StorageError(f"{path}: expected the record of a verification, found none ({error})") from None
    if not found.consistent:
        raise StorageError(f"{path}: expected the record of a verification, found one that contradicts itself")
    return found if found.sha256 == sha256 else None

"""A whole judgement: from two folders to rows, figures and sentences."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from bench.core.errors import DataError, SuiteError
from bench.judging import figures, thresholds, words
from bench.judging.figures import JudgeFigures, Visibility
from bench.judging.judges import Judge, chosen
from bench.judging.pictures import JudgedPictures, OtherPeople, read_both, strangers_of_dataset, strangers_of_folder
from bench.judging.private_files import write_private
from bench.judging.scoring import OnProgress, score
from bench.registry.discovery import Registry, discover

ROWS = (".parquet", ".csv")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is judged, and how. ``calibrate`` is a folder of other people or the name of a data set."""

    originals: Path
    protected: Path
    judges: Sequence[str] = ()
    calibrate: str | None = None
    fmr: float = 0.01
    aligned: bool = False
    suffix: str = ""
    one_person_each: bool = False
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What was found: the pictures and judges, the rows, and the figures computed from them."""

    wanted: Wanted
    judges: Sequence[Judge]
    pictures: JudgedPictures
    strangers: OtherPeople | None
    rows: pa.Table
    no_service: str
    no_adversary: str

    @property
    def figures(self) -> list[JudgeFigures]:
        """The figures of each judge."""
        return figures.judged(self.rows)

    @property
    def visibility(self) -> Visibility:
        """How visible the protection is."""
        return figures.visibility(self.rows)

    @property
    def notes(self) -> list[str]:
        """Sentences on what the figures rest on."""
        people = self.pictures.people
        notes = [*self.pictures.notes, *(self.strangers.notes if self.strangers else ())]
        notes.append(self._threshold_note())
        if self.no_adversary:
            notes.append(f"No threshold of an adversary: {self.no_adversary}.")
        notes.append(words.CHOSEN_HERE)
        if not people.known:
            notes.append(
                "Who the people of these photos are is not known, so each photo counts as one sample. If several show "
                "one person, the intervals are too narrow. One folder per person says who is who."
            )
        return notes

    def _threshold_note(self) -> str:
        if self.no_service:
            return (
                f"There is no threshold{'' if self.no_adversary else ' of a service'}, so no match is reported"
                f"{'' if self.no_adversary else ' at it'}. Pictures of at least "
                f"{thresholds.needed_people(self.wanted.fmr):,} other people give one: --calibrate DIR, a folder with "
                "one folder per person."
            )
        if self.strangers is not None:
            return f"Thresholds were set on {self.strangers.source}, for each preprocessing."
        return (
            "Thresholds were set on the originals themselves, for each preprocessing: on pairs of different people, "
            "and for each photo without its person."
        )

    def verdict(self) -> list[tuple[str, list[str]]]:
        """Return the heading and the sentences of each judge."""
        known = self.pictures.people.known
        return [
            (
                f"{found.judge} (weights {found.weights})",
                [*words.verdict(found, known=known, reason=self.no_service), *words.faces(found)],
            )
            for found in self.figures
        ]


def judge(wanted: Wanted, on_progress: OnProgress) -> Judgement:
    """Judge the protected pictures of a folder. Raise `BenchError` if it cannot be done; nothing is written."""
    registry = discover()
    judges = chosen(wanted.judges, registry)
    check_folders(wanted.originals, wanted.protected)
    others = _others(wanted, registry)
    on_progress("finding faces")
    pictures, found = read_both(
        wanted.originals,
        wanted.protected,
        aligned=wanted.aligned,
        suffix=wanted.suffix,
        one_person_each=wanted.one_person_each,
        others=others,
    )
    strangers = None
    if found is not None and others is not None:
        strangers = strangers_of_folder(found, others, pictures)
    elif wanted.calibrate is not None:
        strangers = strangers_of_dataset(registry, wanted.calibrate)
    scores = score(list(judges), pictures, strangers, fmr=wanted.fmr, device=wanted.device, on_progress=on_progress)
    return Judgement(
        wanted=wanted,
        judges=judges,
        pictures=pictures,
        strangers=strangers,
        rows=scores.rows,
        no_service=scores.no_service,
        no_adversary=scores.no_adversary,
    )


def _others(wanted: Wanted, registry: Registry) -> Path | None:
    """Return the folder of other people; None if thresholds are set on a data set or on the originals. Raise
    `SuiteError` for a value of ``--calibrate`` that is neither."""
    if wanted.calibrate is None:
        return None
    if Path(wanted.calibrate).is_dir():
        return Path(wanted.calibrate)
    if wanted.calibrate not in registry.names("dataset"):
        raise SuiteError(
            "--calibrate: expected a folder with one folder per person, or the name of a data set (bench data status), "
            f"found {wanted.calibrate!r}"
        )
    return None


def check_folders(originals: Path, protected: Path) -> None:
    """Raise `DataError` unless these are two folders, none of which lies in the other."""
    one, other = originals.resolve(), protected.resolve()
    if one == other or one.is_relative_to(other) or other.is_relative_to(one):
        raise DataError(
            f"{protected}: expected a folder apart from the originals in {originals}, so that they are never mixed"
        )


def write_rows(found: Judgement, path: Path, *, names: bool) -> None:
    """Write the rows to a Parquet or CSV file that only its owner may read; with ``names`` also the names of photos,
    people and originals. Raise `StorageError` if it cannot be written."""
    rows = found.rows
    if names:
        photos, gallery, people = found.pictures.photos, found.pictures.gallery, found.pictures.people.names
        for column, texts in (("photo", photos), ("original", gallery), ("person", people)):
            named = [None if row is None else texts[row] for row in rows[column].to_pylist()]
            rows = rows.append_column(f"{column}_name", pa.array(named, pa.string()))
    held = io.BytesIO()
    if path.suffix.lower() == ".csv":
        pyarrow.csv.write_csv(rows, held)
    else:
        pyarrow.parquet.write_table(rows, held)
    write_private(path, held.getvalue())


def check_rows_name(path: Path) -> None:
    """Raise `SuiteError` unless a file name ends like a table."""
    if path.suffix.lower() not in ROWS:
        raise SuiteError(f"--rows: expected a file name that ends in {' or '.join(ROWS)}, found {path.name!r}")

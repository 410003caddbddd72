"""The names of columns in Parquet and tables: which one holds the images, and which one names the person."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from bench import DataError
from bench_facesets.readers.safe_paths import shown

_OR_IMAGES = ("id", "name", "fullname")  # Columns that may name the images instead.


def plain(column: str) -> str:
    """Return the name of a column without case, spaces and punctuation."""
    return re.sub(r"[^0-9a-z]", "", column.lower())


#: The names of columns that hold encoded images, the surest first, as `plain` returns them.
IMAGE_COLUMNS = ("image", "img", "face", "picture", "photo", "images", "imagebytes", "imagedata", "jpg", "jpeg", "png")
#: The names of columns of a table that hold the path of an image, the surest first, as `plain` returns them.
FILE_COLUMNS = (
    "file", "filename", "filepath", "path", "imagepath", "imagefile", "imagename", "imgpath", "imgname", "imgfile",
    "image", "img", "images", "imageid", "imgid", "nameid", "face", "facepath", "picture", "photo", "relpath", "name",
    "id",
)  # fmt: skip
#: The names of columns that hold the person, the surest first, as `plain` returns them.
PERSON_COLUMNS = (
    "subject", "person", "identity", "subjectid", "personid", "identityid", "idperson", "pid", "sid", "celebid",
    "celebrityid", "celebrity", "subjectname", "personname", "identityname", "celebname", "individual",
    "individualid", "speaker", "speakerid", "user", "userid", "labelname", "label", "labels", "labelid", "target",
    "targets", "class", "classid", "classname", "classlabel", "name", "fullname", "id",
)  # fmt: skip


def column_of(found: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return those of the columns ``found`` that have known names, the surest first."""
    ranks = {name: rank for rank, name in enumerate(known)}
    return sorted((c for c in found if plain(c) in ranks), key=lambda c: ranks[plain(c)])


def person_column(
    found: Sequence[str], wanted: str, where: str, repeats: Callable[[str], bool]
) -> tuple[str | None, tuple[str, ...]]:
    """Return the column that names the person, or None, and notes on the choice.

    ``found``: the columns besides images and pairs; ``wanted``: the one that the user names, if any; ``repeats``: tells
    whether a value of a column occurs twice, since a column of unique values (``id``, ``name``) names images. Raises
    DataError, which starts with ``where``, if the wanted column does not exist.
    """
    if wanted:
        if wanted not in found:
            raise DataError(
                f"{where}: expected the column {wanted!r} (person_column), found {_listed(found)}; correct its name"
            )
        return wanted, ()
    able = [name for name in column_of(found, PERSON_COLUMNS) if plain(name) not in _OR_IMAGES or repeats(name)]
    if not able:
        return None, ()
    if len(able) == 1 and able[0] in ("subject", "label"):
        return able[0], ()
    note = f"people are read from the column {able[0]!r}"
    if len(able) > 1:
        note += f", and not from {_listed([repr(name) for name in able[1:]])}; person_column chooses another one"
    return able[0], (note,)


def no_person_column(found: Sequence[str]) -> str:
    """Say that no column names the person: which ones exist, and which names were looked for."""
    return (
        f"no column names the person: found {_listed(found)}; looked for {', '.join(PERSON_COLUMNS)} (also "
        f"with _ between the words); set person_column to the one that does, if there is one"
    )


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(map(shown, columns))[:600] or "none"

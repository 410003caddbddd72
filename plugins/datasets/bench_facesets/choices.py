"""What a user may choose where the files of a set leave it open who the people are."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from annotated_types import Ge, Le

RepeatedNames = Literal["auto", "joined", "apart"]


@dataclass(frozen=True, kw_only=True)
class Choices:
    """How people are read from files; the defaults find out, and ask where they cannot.

    ``person_level``: on which level below the path the folders of people are, from 1. ``person_pattern``: a regular
    expression for the path of an image below the set's path, without suffix; its first group is the person.
    ``person_column``: the column of Parquet or of a table that names the person. ``repeated_names``: whether folders
    (or labels) of one name in several parts of a set are one person (``joined``) or several (``apart``).
    """

    person_level: Annotated[int, Ge(0), Le(16)] = 0
    person_pattern: str = ""
    person_column: str = ""
    repeated_names: RepeatedNames = "auto"

    def __post_init__(self) -> None:
        """Check the pattern, and that it is not combined with a level. Raises ValueError."""
        if not self.person_pattern:
            return
        if self.person_level:
            raise ValueError("person_pattern: expected a pattern or a person_level, found both")
        try:
            groups = re.compile(self.person_pattern).groups
        except re.error as error:
            raise ValueError(f"person_pattern: expected a regular expression: {error}") from None
        if not groups:
            raise ValueError("person_pattern: expected a group in brackets around the person, as in '(.+)_[0-9]+'")

    @property
    def chosen(self) -> Choices:
        """These choices alone, of an object that has further fields."""
        return Choices(**{field.name: getattr(self, field.name) for field in fields(Choices)})


def set_by(name: str, value: str) -> str:
    """Return the words with which a message asks for a choice, as parameter and as option."""
    option = f"--{name.replace('_', '-')}"
    return f"{name} = {value} (of face-set, or {option} of bench data convert)"

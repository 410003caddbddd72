"""The base class of every TOML table of a suite."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class StrictTable(BaseModel):
    """A TOML table that accepts only the keys, types and ranges that it declares, and no infinite numbers.

    The text below a field is its description, from which the suite reference of the documentation is made.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, frozen=True, use_attribute_docstrings=True
    )

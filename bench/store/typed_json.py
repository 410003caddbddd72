"""Values from JSON checked against the types of dataclasses."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from bench.core.text import shortened_repr

T = TypeVar("T")
_SIMPLE: Mapping[Any, tuple[str, tuple[type, ...]]] = {
    str: ("a text", (str,)),
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    bool: ("true or false", (bool,)),
}


class MistypedError(ValueError):
    """A value of a wrong type: its ``place``, what was expected and what was found, in one line."""

    def __init__(self, place: str, expected: str, found: Any) -> None:
        text = "none" if found is MISSING else shortened_repr(found)
        super().__init__(f"{place}: expected {expected}, found {text}")


def why_unreadable(error: Exception) -> str:
    """Return in one line why a file of JSON cannot be read. Python's own text about a number of too many digits names
    one of its settings, which nobody should change for such a file."""
    text = " ".join(str(error).split())
    return "a whole number of too many digits" if "int_max_str_digits" in text else text


def decode(kind: type[T], value: Any, *, salvage: bool = False) -> T:
    """Make a dataclass from the object of its JSON; unknown keys are ignored and lists become tuples.

    Raises `MistypedError` for a missing key without a default and for a value of another type. ``salvage``: such a
    value is replaced by the default of its field, and left out of lists and tables, wherever that is possible.
    """
    made: T = _Decoder(salvage).dataclass(kind, value, "")
    return made


class _Decoder:
    """Decodes values by their types; ``salvage`` as in `decode`."""

    def __init__(self, salvage: bool) -> None:
        self.salvage = salvage

    def value(self, kind: Any, value: Any, place: str) -> Any:
        origin, inner = get_origin(kind), get_args(kind)
        if kind is Any:
            return value
        if is_dataclass(kind):
            return self.dataclass(kind, value, place)
        if origin in (Union, types.UnionType):
            return self.union(inner, value, place)
        if origin is Literal:
            return _require(value in inner, value, place, f"one of {', '.join(map(str, inner))}", value)
        if kind in _SIMPLE:
            words, accepted = _SIMPLE[kind]
            right = isinstance(value, accepted) and (kind is bool or not isinstance(value, bool))
            if kind is float and right:
                right = abs(value) <= sys.float_info.max  # It is False for NaN, infinity and whole numbers beyond.
            return _require(right, value, place, words, float(value) if kind is float and right else value)
        if origin is Mapping or (isinstance(origin, type) and issubclass(origin, Mapping)):
            _require(isinstance(value, dict), value, place, "a table")
            return dict(self.items(inner[1], value.items(), f"{place}."))
        _require(isinstance(value, list), value, place, "a list")
        return tuple(found for _, found in self.items(inner[0], enumerate(value), f"{place}[", "]"))

    def union(self, members: Sequence[Any], value: Any, place: str) -> Any:
        if value is None and types.NoneType in members:
            return None
        *others, last = [member for member in members if member is not types.NoneType]
        for member in others:
            try:
                return self.value(member, value, place)
            except MistypedError:
                continue
        return self.value(last, value, place)

    def dataclass(self, kind: Any, value: Any, place: str) -> Any:
        _require(isinstance(value, dict), value, place, "a table")
        hints = _hints(kind)
        found: dict[str, Any] = {}
        for field in fields(kind):
            where = f"{place}.{field.name}" if place else field.name
            optional = _has_default(field)
            if field.name not in value:
                _require(optional, MISSING, where, "a value")
                continue
            try:
                found[field.name] = self.value(hints[field.name], value[field.name], where)
            except MistypedError:
                if not (self.salvage and optional):
                    raise
        return kind(**found)

    def items(self, kind: Any, pairs: Any, before: str, after: str = "") -> list[tuple[Any, Any]]:
        found = []
        for key, value in pairs:
            try:
                found.append((key, self.value(kind, value, f"{before}{key}{after}")))
            except MistypedError:
                if not self.salvage:
                    raise
        return found


def _require(right: bool, value: Any, place: str, expected: str, result: Any = None) -> Any:
    if not right:
        raise MistypedError(place or "it", expected, value)
    return result


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


@functools.cache
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)

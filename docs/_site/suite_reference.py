"""The keys of a suite file as Markdown, from the models that check it: types, bounds, defaults, descriptions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from bench.suite.claims import ClaimTable, SideTable
from bench.suite.limits import LimitTable
from bench.suite.tables import ExperimentTable, SuiteFile, SuiteHead, TrainTable

TABLES: Mapping[str, type[BaseModel]] = {
    "The file": SuiteFile,
    "[suite]": SuiteHead,
    "[[experiment]]": ExperimentTable,
    "[[train]]": TrainTable,
    "[[claims]]": ClaimTable,
    "left and right of a claim": SideTable,
    "Limits by kind of stage": LimitTable,
}
_PLAIN = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "table",
}
_BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
_REFERENCE = [{"type": "string"}, {"additionalProperties": True, "type": "object"}]


def tables() -> str:
    """Return one section for each table of a suite file."""
    return "\n\n".join(f"## {title}\n\n{_table(model)}" for title, model in TABLES.items())


def _table(model: type[BaseModel]) -> str:
    schema = model.model_json_schema()
    required = schema.get("required", [])
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, field in schema["properties"].items():
        default = "**required**" if key in required else _default(field)
        text = model.model_fields[key].description or ""
        cells = (f"`{key}`", words(field), default, " ".join(text.split()))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([_about(model), "", *lines])


def _about(model: type[BaseModel]) -> str:
    return "\n".join(line.strip() for line in (model.__doc__ or "").splitlines())


def _default(field: Mapping[str, Any]) -> str:
    value = field.get("default")
    return "" if value is None else f"`{json.dumps(value)}`"


def words(field: Mapping[str, Any]) -> str:
    """Return what a key accepts, in words, from its JSON schema."""
    if "$ref" in field:
        return "table"
    options = field.get("anyOf") or field.get("oneOf")
    if options:
        rest = [option for option in options if option.get("type") != "null"]
        plain = [{k: v for k, v in option.items() if k not in ("title", "default")} for option in rest]
        if plain[:2] == _REFERENCE:
            more = [words(option) for option in rest[2:]]
            return " or ".join(["reference", *more])
        return " or ".join(dict.fromkeys(words(option) for option in rest))
    if "enum" in field:
        return ", ".join(f'`"{value}"`' for value in field["enum"])
    if field.get("type") == "array":
        items = field.get("items", {})
        return f"list of {words(items)}" + (", not empty" if field.get("minItems") else "")
    bounds = [f"{word} {field[key]:,}" for key, word in _BOUNDS.items() if key in field and field[key] < 2**63 - 1]
    return ", ".join([_PLAIN[field["type"]], *bounds]) + (f" of the form `{p}`" if (p := field.get("pattern")) else "")

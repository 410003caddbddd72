"""The public modules as Markdown: signatures and docstrings of classes, methods and functions."""

from __future__ import annotations

import importlib
import inspect
import json
import typing
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from bench.api import hookspecs


class _Bare(str):
    """An annotation as it is written in the source, which `inspect.Signature` would put into quotes."""

    __repr__ = str.__str__


def module(name: str) -> str:
    """Return the reference of everything that a module exports, in alphabetical order of each kind."""
    found: ModuleType = importlib.import_module(name)
    parts: dict[str, list[str]] = {"Classes": [], "Functions": [], "Errors": [], "Types and constants": []}
    for exported in sorted(set(found.__all__) - {"__version__"}, key=str.lower):
        value = getattr(found, exported)
        if inspect.isclass(value) and issubclass(value, Exception):
            parts["Errors"].append(_object("exception", exported, inspect.getdoc(value)))
        elif inspect.isclass(value):
            parts["Classes"].append(_class(exported, value))
        elif inspect.isroutine(value):
            parts["Functions"].append(_object("function", _called(exported, value), inspect.getdoc(value)))
        else:
            parts["Types and constants"].append(_object("data", exported, _constant(value)))
    head = f":::{{py:currentmodule}} {name}\n:::"
    return "\n\n".join([head, *(f"## {title}\n\n" + "\n\n".join(of) for title, of in parts.items() if of)])


def hooks() -> str:
    """Return the reference of all hooks."""
    found = {name: f for name, f in inspect.getmembers(hookspecs, inspect.isfunction) if hasattr(f, "bench_spec")}
    return "\n\n".join(_object("function", _called(name, f), inspect.getdoc(f)) for name, f in found.items())


def _class(name: str, value: type) -> str:
    members = [_member(key, each, value) for key, each in _public(value)]
    bases = ", ".join(b.__name__ for b in value.__bases__ if b.__module__.startswith("bench"))
    note = f"Bases: {bases}." if bases else ""
    return _object("class", name, inspect.getdoc(value), "\n\n".join(filter(None, [note, *members])))


def _public(value: type) -> Iterator[tuple[str, Any]]:
    """Yield the public members of a class with their values: first the annotated ones, in the order of the source."""
    own = {**dict.fromkeys(inspect.get_annotations(value), inspect.Parameter.empty), **vars(value)}
    yield from ((key, each) for key, each in own.items() if not key.startswith("_"))


def _member(name: str, value: Any, owner: type) -> str:
    if isinstance(value, property):
        returned = inspect.get_annotations(value.fget).get("return", "") if value.fget else ""
        return _object("property", name, inspect.getdoc(value), options=f":type: {returned}" if returned else "")
    plain = value.__func__ if isinstance(value, staticmethod | classmethod) else value
    if inspect.isfunction(plain):
        return _object("method", _called(name, plain, bound=True), inspect.getdoc(plain))
    annotation = inspect.get_annotations(owner).get(name)
    simple = value is None or isinstance(value, bool | int | float | str | tuple | frozenset)
    options = [f":type: {annotation}"] if annotation else []
    options += [f":value: {json.dumps(repr(value))}"] if simple and not inspect.isclass(value) else []
    return _object("attribute", name, None, options="\n".join(options))


def _called(name: str, function: Callable[..., Any], *, bound: bool = False) -> str:
    """Return a function's name with its parameters, on one line."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        return f"{name}()"
    given = [p.replace(annotation=_bare(p.annotation)) for p in signature.parameters.values()]
    given = given[1:] if bound and given and given[0].name in ("self", "cls") else given
    shown = signature.replace(parameters=given, return_annotation=_bare(signature.return_annotation))
    return f"{name}{shown}".replace("\n", " ")


def _bare(annotation: Any) -> Any:
    return _Bare(annotation) if isinstance(annotation, str) else annotation


def _constant(value: Any) -> str:
    """Return what a type alias or a constant stands for."""
    values = typing.get_args(value)
    if values and all(isinstance(v, str) for v in values):
        return "One of " + ", ".join(f"`{v}`" for v in values) + "."
    return f"`{value}`"


def _object(kind: str, signature: str, doc: str | None, inside: str = "", *, options: str = "") -> str:
    fence = "::::" if kind in ("class",) else ":::"
    body = "\n\n".join(filter(None, [options, doc, inside]))
    return f"{fence}{{py:{kind}}} {signature}\n{body}\n{fence}"

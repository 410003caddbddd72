"""Checks what the class of a component declares against the types that its base class in `bench.api` gives. No torch.

A declaration is a class variable of a base class, such as ``needs`` of `bench.Defense`; a plugin sets it as a class
attribute or as a property that depends on the parameters. What is allowed stands once, in the annotation of the base
class.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import math
import re
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from bench.api.metric import Metric
from bench.core.errors import DataError, PluginError, did_you_mean, error_text
from bench.core.text import shortened, shortened_repr
from bench.registry.discovery import KINDS, Plugin, Registry
from bench.registry.sources import declared_names

# Methods without arguments whose results are numbers or words that a plan uses, as declarations are.
_METHODS = ("passes", "fit_seconds", "seconds", "classes", "representation")
_LONGEST = 10_000  # characters of a text, or parts of a collection
# The least and the largest value of a declaration; of every other number, at least 0.
_BOUNDS: Mapping[str, tuple[int, float]] = {"max_authorised": (1, math.inf), "uploads": (1, 1000)}
_NEVER_EMPTY = frozenset({"protects", "sends"})  # A defense without any of them could protect or send nothing.
_NAMES = frozenset({"programs", "libraries"})  # A parameter of this name is no declaration; a single text is one name.


def check_declarations(kind: str, name: str, instance: Any) -> None:
    """Raise `PluginError` if a component declares something of a wrong type, or a word that the host does not know. The
    message names the component, the declaration, what was expected and found, and what to do.

    A declaration that cannot be known because files are missing or damaged is left out: the fingerprint says so.
    """
    where, base = _where(kind, name), KINDS[kind][1]
    _check_class(where, base, type(instance))
    for declaration, hint in _hints(base).items():
        if not (declaration in _NAMES and declaration in _parameters(type(instance))):
            _check_made(where, declaration, hint, functools.partial(getattr, instance, declaration))
    for method in _METHODS:
        if _is_defined(type(instance), base, method):
            _check_made(where, f"{method}()", _returned(base, method), functools.partial(_called, instance, method))
    if isinstance(instance, Metric):
        _check_metric(where, instance)


def problem_of(kind: str, name: str, cls: type) -> str | None:
    """Return what is wrong with the declarations of a component class; None if nothing is. Properties and methods are
    read from an instance with the default parameters, and left out if a parameter has no default."""
    try:
        _check_class(_where(kind, name), KINDS[kind][1], cls)
        try:
            instance = cls()
        except (Exception, SystemExit):  # A parameter has no default, or they do not go together: a suite names them.
            return None
        check_declarations(kind, name, instance)
    except PluginError as error:
        return str(error)
    return None


def examined(registry: Registry) -> list[Plugin]:
    """Return the plugins of a registry; one that provides a component with wrong declarations has the reason why it
    cannot be used."""
    found = []
    for plugin in registry.plugins:
        usable = [key for key in plugin.components if key in registry.components]
        problems = [text for key in usable if (text := problem_of(*key, registry.components[key].cls))]
        found.append(dataclasses.replace(plugin, reason="; ".join(problems)) if problems else plugin)
    return found


def _where(kind: str, name: str) -> str:
    words = "data set" if kind == "dataset" else kind.replace("_", " ")
    return f"{words} {name}"


def _check_class(where: str, base: type, cls: type) -> None:
    """Check what can be read from the class itself: its attributes, and that methods of the base class are methods."""
    parameters = _parameters(cls)
    for declaration, hint in _hints(base).items():
        value = inspect.getattr_static(cls, declaration)
        if declaration not in parameters and not hasattr(value, "__get__"):
            _check(where, declaration, hint, value)
    _check_names(where, base, cls)
    for method, _ in inspect.getmembers(base, inspect.isfunction):
        value = inspect.getattr_static(cls, method)
        if not (method.startswith("_") or method in parameters or callable(value) or hasattr(value, "__get__")):
            raise PluginError(
                f"{where}: {method}: expected a method, found {shortened_repr(value)}; write def {method}(self, ...) "
                "and return the value"
            )


def _check_names(where: str, base: type, cls: type) -> None:
    """Raise `PluginError` for an attribute of a class that looks like a misspelt declaration: nobody reads it. Those of
    a plugin's own begin with an underscore, or are like no declaration that the plugin leaves out."""
    own = [part for part in cls.__mro__ if part not in base.__mro__]
    left_out = {name for name in _hints(base) if not any(name in vars(part) for part in own)}
    for part in own:
        for name, value in vars(part).items():
            method = hasattr(value, "__get__") and not isinstance(value, property | functools.cached_property)
            if name.startswith("_") or method or hasattr(base, name) or name in _parameters(cls):
                continue
            if near := difflib.get_close_matches(name, left_out, n=1, cutoff=0.8):
                raise PluginError(
                    f"{where}: {shortened(name)}: expected a declaration, found a name that bench does not know; did "
                    f"you mean {near[0]!r}? Call an attribute of your own _{shortened(name)}"
                )


def _check_made(where: str, declaration: str, hint: Any, make: Callable[[], Any]) -> None:
    """Check a declaration that the code of a plugin makes."""
    try:
        value = make()
    except DataError:  # The files behind it are missing or damaged.
        return
    except (Exception, SystemExit) as error:
        failed = shortened(error_text(error))
        raise PluginError(f"{where}: {declaration}: the plugin failed with {failed}; correct it") from error
    _check(where, declaration, hint, value)


def _called(instance: Any, method: str) -> Any:
    return getattr(instance, method)()


def _check(where: str, declaration: str, hint: Any, value: Any) -> None:
    if declaration in _NAMES:
        names = declared_names(value)
        if isinstance(names, Collection):  # Anything else might not end.
            value = [str(one) if isinstance(one, Path) else one for one in names]
    elif isinstance(value, set):
        value = frozenset(value)
    if isinstance(value, Collection) and len(value) > _LONGEST:
        raise PluginError(
            f"{where}: {declaration}: expected at most {_LONGEST:,} characters or parts, found {len(value):,}"
        )
    try:
        _adapter(declaration, hint).validate_python(value)
    except ValidationError as error:
        raise PluginError(f"{where}: {declaration}: {_problem(error, hint, value)}") from None
    least, most = _BOUNDS.get(declaration, (0, math.inf))
    if isinstance(value, int | float) and not isinstance(value, bool) and not least <= value <= most:
        wanted = f"a number from {least} to {most:,}" if most < math.inf else f"a number of at least {least}"
        raise PluginError(f"{where}: {declaration}: expected {wanted}, found {shortened_repr(value)}; correct it")
    if declaration in _NEVER_EMPTY and not value:
        raise PluginError(
            f"{where}: {declaration}: expected at least one of {', '.join(_words_of(hint))}, found none; declare one, "
            "or leave it out for the default"
        )


def _check_metric(where: str, metric: Metric) -> None:
    if not (metric.defines("compute") or metric.defines("compute_set")):
        raise PluginError(f"{where}: expected compute() or compute_set(), found neither; define one of them")
    if not metric.formula.strip():
        raise PluginError(f"{where}: formula: expected a sentence, found none; say how the metric is computed")
    if not metric.range[0] < metric.range[1]:
        raise PluginError(f"{where}: range: expected the lowest and the highest value, found {metric.range!r}")


def _problem(error: ValidationError, hint: Any, value: Any) -> str:
    """Return what was expected and found, and what to do, for the first of the mistakes in the order of their text."""
    first = min(error.errors(), key=lambda one: shortened_repr(one["input"]))
    if first["type"] == "literal_error":
        words = re.findall("'([^']*)'", first["ctx"]["expected"])
        word = first["input"] if isinstance(first["input"], str) else ""
        hint_at = did_you_mean(shortened(word), words)
        remedy = hint_at if hint_at.startswith("did") else "declare one of them"
        return f"expected one of {', '.join(words)}, found {shortened_repr(first['input'])}; {remedy}"
    return f"expected {_in_words(hint)}, found {shortened_repr(value)}; {_remedy(hint, value)}"


def _remedy(hint: Any, value: Any) -> str:
    wanted, found = typing.get_origin(hint), (value,) if isinstance(value, str) else value
    if wanted is frozenset and isinstance(found, tuple | list) and all(isinstance(one, str) for one in found):
        return f"write frozenset({{{shortened(', '.join(map(repr, found)))}}})"
    if wanted is tuple and isinstance(value, list):
        return f"write the tuple {shortened_repr(tuple(value))}"
    return "correct it, or leave it out for the default"


def _words_of(hint: Any) -> Sequence[str]:
    """Return the words out of which a set may be declared."""
    return typing.get_args(typing.get_args(hint)[0])


_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "True or False", type(None): "None"}


def _in_words(hint: Any) -> str:
    """Return a type as what an author writes for it: ``a frozenset of words out of probe, gallery, both``."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin is frozenset:
        return f"a frozenset of {_in_words(inner[0]).removeprefix('one of ')}"
    if origin is tuple and inner[-1] is not ...:
        return f"a tuple ({', '.join(map(_in_words, inner))})"
    if origin in (tuple, Sequence):
        return f"a tuple, each part {_in_words(inner[0])}"
    if origin is Mapping:
        return f"a dict, each key {_in_words(inner[0])} and each value {_in_words(inner[1])}"
    if inner:
        return " or ".join(map(_in_words, inner))
    return _WORDS.get(hint, "any value")


def _is_defined(cls: type, base: type, method: str) -> bool:
    """Return True if a plugin defines a method of the base class itself."""
    return (
        hasattr(base, method)
        and method not in _parameters(cls)
        and inspect.getattr_static(cls, method) is not inspect.getattr_static(base, method)
    )


def _parameters(cls: type) -> set[str]:
    return {f.name for f in dataclasses.fields(cls)}


@functools.cache
def _hints(base: type) -> dict[str, Any]:
    """Return the types of the declarations of a base class by name: those of its class variables."""
    hints = typing.get_type_hints(base, include_extras=True)
    return {name: typing.get_args(hint)[0] for name, hint in hints.items() if typing.get_origin(hint) is ClassVar}


@functools.cache
def _returned(base: type, method: str) -> Any:
    return typing.get_type_hints(getattr(base, method))["return"]


@functools.cache
def _adapter(declaration: str, hint: Any) -> TypeAdapter[Any]:
    """Return a strict validator; only the range of a metric may be infinite."""
    return TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=declaration == "range"))

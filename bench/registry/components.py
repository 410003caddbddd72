"""How a component is built from parameters as a suite writes them: names, types, bounds and declarations are checked.

A component that is resolved already is built by `bench.registry.discovery.Registry.build`. No torch.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import sys
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from bench.api.hookspecs import Model
from bench.api.search_paths import expand
from bench.core.content_keys import joined_digest
from bench.core.domain import Component, Kind, Origin
from bench.core.errors import BenchError, PluginError, SuiteError, UntrustedError, did_you_mean, error_text
from bench.core.packages import DISTRIBUTION
from bench.core.provenance import file_sha256
from bench.registry.declarations import check_declarations
from bench.registry.discovery import Registration, Registry
from bench.registry.sources import code_of, declared_files, declared_names, declared_programs, library_digest


def build_component(kind: str, name: str, params: Mapping[str, Any], where: str, registry: Registry) -> Any:
    """Build the component ``name`` from parameters as a suite writes them; ``where`` is their TOML path.

    Raise `PluginError` if the component cannot be used or declares something wrong, and `SuiteError` for a wrong
    parameter.
    """
    instance = instantiate(registry.find(kind, name, where).cls, params, where)
    check_declarations(kind, name, instance)
    return instance


def instantiate(cls: type, params: Mapping[str, Any], where: str) -> Any:
    """Build a dataclass from parameters as a suite writes them, after checking their names, types and bounds.

    ``where`` is the TOML path of the parameters. Raise `SuiteError` for a parameter that is unknown, missing, of a
    wrong type, out of bounds or not finite, and for what the class refuses with `ValueError` in ``__post_init__``; and
    `DataError` for a path with a variable that is not set.
    """
    adapters = _adapters(cls)
    values: dict[str, Any] = {}
    for key, value in params.items():
        if key not in adapters:
            raise SuiteError(f"{where}.{key}: unknown parameter {key!r}; {did_you_mean(key, adapters)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise SuiteError(f"{where}.{key}: expected a finite number, found {value}")
        try:
            values[key] = adapters[key].validate_python(_as_parameter(value, _hints(cls)[key], f"{where}.{key}"))
        except ValidationError as error:
            problem = _problem(error)
            raise SuiteError(f"{where}.{key}: {problem}, found {value!r}") from None
    for f in dataclasses.fields(cls):
        # A parameter without default that has the name of a method of the base class has that method as its default.
        no_default = f.default is dataclasses.MISSING or inspect.isfunction(f.default)
        if no_default and f.default_factory is dataclasses.MISSING and f.name not in values:
            raise SuiteError(f"{where}.{f.name}: expected a value ({cls.__name__} has no default for it), found none")
    try:
        return cls(**values)
    except ValueError as error:
        raise SuiteError(f"{where}: {error}") from None


def foreign_code(instance: Any) -> str | None:
    """Return which code outside the installed plugins the parameters of a component name; None if they name none."""
    name = getattr(instance, "foreign_code", None)
    return None if name is None else str(name())


def require_trust(where: str, code: Iterable[str]) -> None:
    """Raise `UntrustedError` if code outside the installed plugins is named; the message lists it and says how to
    allow it."""
    if found := list(dict.fromkeys(code)):
        lines = "\n".join(f"  {one}" for one in found)
        raise UntrustedError(
            f"{where}: expected only code of installed plugins; this would run code that it names:\n{lines}\n"
            "Read that code first; if you trust it, repeat the command with --trust"
        )


def effective_parameters(instance: Any) -> dict[str, Any]:
    """Return the parameters of a component with its defaults filled in, by name."""
    return {f.name: getattr(instance, f.name) for f in dataclasses.fields(instance)}


def parameter_names(cls: type) -> frozenset[str]:
    """Return the names of the parameters of a component class."""
    return frozenset(_adapters(cls))


def fingerprint(kind: Kind, instance: Any, where: str) -> str | None:
    """Return the digest of the weights or data behind a component, and of the files and programs that a defense or an
    attack declares; None if it has nothing of the kind.

    Raise `MissingDataError` or `DataError` as the plugin does, with ``where`` in front of its message, and
    `PluginError` if the plugin fails in another way.
    """
    try:
        if isinstance(instance, Model):
            return str(instance.fingerprint())
        if kind == "dataset":
            return str(instance.fingerprint())
        parts = list(_identified(instance))
        return joined_digest(*parts) if len(parts) > 1 else next(iter(parts), None)
    except BenchError as error:
        raise type(error)(f"{where}: {error}") from None
    except Exception as error:
        raise PluginError(f"{where}: the plugin failed with {error_text(error)}") from error


def _identified(instance: Any) -> Iterator[str]:
    """Yield what identifies the fingerprint, files and programs that a defense or an attack declares, each if there are
    any."""
    if "fingerprint" not in parameter_names(type(instance)) and (found := instance.fingerprint()) is not None:
        yield str(found)
    if files := declared_files(instance):
        yield joined_digest("weights", *(part for path, name in files for part in (name, file_sha256(path))))
    if programs := declared_programs(instance):
        yield joined_digest("programs", *map(file_sha256, programs))


def default_component(kind: Kind, name: str, registry: Registry) -> Component:
    """Return a component with its default parameters. Raise as `component_of` does."""
    return component_of(kind, name, {}, f"{kind} {name}", registry)


def component_of(kind: Kind, name: str, params: Mapping[str, Any], where: str, registry: Registry) -> Component:
    """Return a component with parameters as a suite writes them; its label is its name. Raise `PluginError` if it
    cannot be used, `SuiteError` for a wrong parameter, and `MissingDataError` or `DataError` if its files are missing
    or damaged."""
    registration = registry.find(kind, name, where)
    instance = instantiate(registration.cls, params, where)
    check_declarations(kind, name, instance)
    return Component(
        kind=kind,
        name=name,
        label=name,
        params=effective_parameters(instance),
        passed=dict(params),
        origin=origin_of(registration, instance, where),
        weights=fingerprint(kind, instance, where),
    )


def origin_of(registration: Registration, plugin: Any, where: str) -> Origin:
    """Return the origin of a component with the ``libraries`` that it declares. Raise `PluginError`, which names
    ``where``, if one of them is not installed. Those of built-in plugins have a version if they are published; one that
    is missing is named when it is needed."""
    declared = getattr(plugin, "libraries", ())
    if not declared or "libraries" in parameter_names(registration.cls):
        return registration.origin
    if registration.origin.distribution == DISTRIBUTION:
        libraries = code_of(declared_names(declared), DISTRIBUTION)
    else:
        libraries = {str(name): library_digest(str(name), where) for name in declared_names(declared)}
    return dataclasses.replace(registration.origin, libraries={**registration.origin.libraries, **libraries})


@functools.cache
def _adapters(cls: type) -> dict[str, TypeAdapter[Any]]:
    """Return a strict validator for each parameter of a component class."""
    strict = ConfigDict(strict=True)
    return {name: TypeAdapter(hint, config=strict) for name, hint in _hints(cls).items()}


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    """Return the types of a component's parameters; annotations of class variables are not evaluated."""
    hints = {}
    for f in dataclasses.fields(cls):
        owner = next(k for k in cls.__mro__ if f.name in inspect.get_annotations(k))
        holder = types.SimpleNamespace(__annotations__={f.name: f.type})
        try:
            found = typing.get_type_hints(holder, vars(sys.modules[owner.__module__]), include_extras=True)
        except Exception as error:
            raise PluginError(
                f"{cls.__module__}.{cls.__name__}: the annotation of the parameter {f.name!r} cannot be evaluated "
                f"({error}); what it names must be imported at run time"
            ) from None
        hints[f.name] = found[f.name]
    return hints


def _problem(error: ValidationError) -> str:
    """Return what pydantic expected, in the words of a suite: TOML has lists, no tuples."""
    messages = dict.fromkeys(item["msg"][0].lower() + item["msg"][1:] for item in error.errors())
    return " or ".join(messages).replace(" or input should be", " or").replace("valid tuple", "valid list")


def _as_parameter(value: Any, hint: Any, where: str) -> Any:
    """Return a value of a suite as a parameter: arrays as tuples, and the text of a path as an absolute `Path`, which
    means the same in every folder; an empty text is ``Path()``. Raise `DataError` for a variable that is not set."""
    is_path = isinstance(value, str) and (hint is Path or Path in typing.get_args(hint))
    if not is_path:
        return _tuples(value)
    return expand(value, where).absolute() if value else Path()


def _tuples(value: Any) -> Any:
    """Turn TOML arrays into tuples, so that components are hashable."""
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def parameters(cls: type) -> list[tuple[str, str, Any]]:
    """Return ``(name, type, default)`` of every parameter of a component class, for ``bench info``."""
    hints = _hints(cls)
    rows = []
    for f in dataclasses.fields(cls):
        default = None if f.default is dataclasses.MISSING else f.default
        rows.append((f.name, _type_name(hints[f.name]), default))
    return rows


def description(cls: type) -> str:
    """Return the docstring of a component class, then those of the base classes that declare parameters it inherits."""
    names = {f.name for f in dataclasses.fields(cls)}
    holders = [base for base in cls.__mro__[1:] if names & inspect.get_annotations(base).keys()]
    return "\n\n".join(text for k in (cls, *holders) if (text := inspect.cleandoc(k.__doc__ or "")))


def _type_name(hint: Any) -> str:
    """Return a type in the words of a suite: ``one of "a", "b"``, ``int``, ``list of str``."""
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(repr(a) for a in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return f"list of {_type_name(typing.get_args(hint)[0])}"
    if typing.get_origin(hint) is Annotated:
        base, *bounds = typing.get_args(hint)
        return ", ".join([_type_name(base), *(_bound(b) for b in bounds)])
    if args := typing.get_args(hint):
        return " or ".join(_type_name(a) for a in args)
    return getattr(hint, "__name__", str(hint))


def _bound(bound: Any) -> str:
    """Return a bound of `annotated_types`, such as ``Ge(ge=1)``, as ``>= 1``."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    limits = {sign: getattr(bound, name, None) for name, sign in signs.items()}
    return ", ".join(f"{sign} {limit}" for sign, limit in limits.items() if limit is not None) or str(bound)

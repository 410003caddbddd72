"""What a suite says of a component -> a `Component` with its effective parameters. Pure: no torch.

Every mistake is a `SuiteError` that names the TOML path, what was expected, what was found and what to do.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import math
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from bench.api.hookspecs import Model, Need, Sees
from bench.core.domain import Component, DataMode, Kind
from bench.core.errors import BenchError, MissingDataError, PluginError, SuiteError, did_you_mean, with_article
from bench.registry.discovery import Registry

MAX_GRID = 1000  # components that one entry of an axis may stand for

Reference = str | dict[str, Any]


def component(kind: Kind, reference: Reference, where: str, registry: Registry, data: DataMode = "auto") -> Component:
    """Resolve ``"pmt"`` or ``{plugin = "pmt", steps = 50, label = "PMT-50"}`` to a component with its defaults.

    Where the files of a data set or model are missing, ``data`` decides: its stand-in, or `MissingDataError`.
    """
    if kind == "defense" and isinstance(reference, dict) and "on_stand_ins" in reference:
        return _with_stand_in_parameters(reference, where, registry)
    asked = _asked(kind, reference, where, registry)
    registration = registry.find(kind, asked.name, where)
    instance = instantiate(registration.cls, asked.passed, where)
    _check_declarations(kind, asked.name, instance)
    if asked.via and instance.outputs != "attributes":
        raise SuiteError(
            f"{where}.via: only an attack that outputs attributes can follow a reconstruction; {asked.name} outputs "
            f"{instance.outputs} (reconstructions are recognised by the evaluated models without asking)"
        )
    stand_in: str | None = getattr(instance, "stand_in", None)
    if stand_in and data == "stand-in":
        return _stand_in(kind, stand_in, asked, "the suite asks for stand-ins", where, registry)
    try:
        weights = _fingerprint(kind, instance, where)
    except MissingDataError as error:
        if stand_in is None or data == "real":
            raise
        return _stand_in(kind, stand_in, asked, str(error).removeprefix(f"{where}: "), where, registry)
    return Component(
        kind=kind,
        name=asked.name,
        label=asked.label,
        params=_effective(instance),
        passed=asked.passed,
        origin=registration.origin,
        weights=weights,
        via=asked.via,
    )


def _with_stand_in_parameters(reference: dict[str, Any], where: str, registry: Registry) -> Component:
    """A defense that has some other parameters where it protects for models that learnt from synthetic faces."""
    rest = {k: v for k, v in reference.items() if k != "on_stand_ins"}
    other = reference["on_stand_ins"]
    if not isinstance(other, dict) or not other:
        raise SuiteError(f"{where}.on_stand_ins: expected a table of parameters, found {other!r}")
    if wrong := sorted(set(other) & {"plugin", "label", "grid", "on_stand_ins"}):
        raise SuiteError(f"{where}.on_stand_ins.{wrong[0]}: not a parameter; only parameters can differ")
    usual = component("defense", rest, where, registry)
    component("defense", {"plugin": usual.name, **other}, f"{where}.on_stand_ins", registry)
    return dataclasses.replace(usual, on_stand_ins=component("defense", {**rest, **other}, where, registry))


@dataclass(frozen=True)
class _Asked:
    """What a reference of a suite says; ``named`` when it gives the label itself."""

    name: str
    passed: Mapping[str, Any]
    label: str
    named: bool = False
    via: Component | None = None


def _asked(kind: Kind, reference: Reference, where: str, registry: Registry) -> _Asked:
    if isinstance(reference, str):
        return _Asked(reference, {}, reference)
    passed = dict(reference)
    via = None
    if kind == "attack" and "via" in passed:
        via = _first_attack(passed.pop("via"), f"{where}.via", registry)
    name = passed.pop("plugin", None)
    if not isinstance(name, str):
        raise SuiteError(f"{where}.plugin: expected the name of {with_article(kind)}, found {name!r}")
    named = "label" in passed
    label = passed.pop("label", f"{name} via {via.label}" if via else name)
    if not isinstance(label, str) or not label:
        raise SuiteError(f"{where}.label: expected a text, found {label!r}")
    return _Asked(name, passed, label, named, via)


def _effective(instance: Any) -> dict[str, Any]:
    return {f.name: getattr(instance, f.name) for f in dataclasses.fields(instance)}


def _stand_in(kind: Kind, name: str, asked: _Asked, because: str, where: str, registry: Registry) -> Component:
    """The stand-in of what was asked for, with those of its parameters that both have.

    Its label says what it is: nobody who reads a row or a heading may take it for what was asked for.
    """
    registration = registry.find(kind, name, f"{where}: the stand-in of {asked.name}")
    shared = {k: v for k, v in asked.passed.items() if k in _adapters(registration.cls)}
    instance = instantiate(registration.cls, shared, where)
    return Component(
        kind=kind,
        name=name,
        label=f"{asked.label} (stand-in {name})" if asked.named else name,
        params=_effective(instance),
        passed=shared,
        origin=registration.origin,
        weights=_fingerprint(kind, instance, where),
        instead_of=asked.label,
        because=because,
    )


_DECLARED: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "attack": {
        "outputs": ("recognition", "images", "attributes"),
        "trains_on": ("nothing", "clean", "defense", "evaluated"),
        "sees": typing.get_args(Sees),
    },
    "defense": {"needs": typing.get_args(Need), "sends": ("image", "feature", "representation")},
}


def _check_declarations(kind: Kind, name: str, instance: Any) -> None:
    """A declaration that nobody understands would be believed in silence: `PluginError` names it."""
    for declaration, known in _DECLARED.get(kind, {}).items():
        found = getattr(instance, declaration)
        for value in sorted(found, key=str) if isinstance(found, frozenset | set) else [found]:
            if value not in known:
                raise PluginError(
                    f"{kind} {name}: {declaration}: expected one of {', '.join(known)}, found {value!r}; "
                    f"{did_you_mean(str(value), known)}"
                )


def expand_grid(reference: Reference, where: str) -> list[Reference]:
    """``{plugin = "pmt", grid = {steps = [25, 50], pool = [0, 4]}}`` is four components with labels of their own."""
    if isinstance(reference, str) or "grid" not in reference:
        return [reference]
    rest = {k: v for k, v in reference.items() if k != "grid"}
    grid = reference["grid"]
    if not isinstance(grid, dict) or not grid or not all(isinstance(v, list) and v for v in grid.values()):
        raise SuiteError(f"{where}.grid: expected a table of parameters, each with a list of values, found {grid!r}")
    if wrong := sorted(set(grid) & {"plugin", "label", "via", "grid"}):
        raise SuiteError(f"{where}.grid.{wrong[0]}: not a parameter; a grid goes over parameters of the plugin")
    if both := sorted(set(grid) & set(rest)):
        raise SuiteError(f"{where}.grid.{both[0]}: given as a parameter too; keep one of them")
    if (points := math.prod(map(len, grid.values()))) > MAX_GRID:
        raise SuiteError(f"{where}.grid: expected at most {MAX_GRID} combinations, found {points}")
    label = rest.get("label", rest.get("plugin", ""))
    if not isinstance(label, str) or not label:
        raise SuiteError(f"{where}.label: expected a text, found {label!r}")
    made: list[Reference] = []
    for values in itertools.product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        words = ", ".join(f"{k} {_word(v)}" for k, v in chosen.items())
        made.append({**rest, **chosen, "label": f"{label} {words}"})
    return made


def _word(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _first_attack(reference: Any, where: str, registry: Registry) -> Component:
    """The attack of ``via``: what it reconstructs is what the other attack gets to see."""
    if not isinstance(reference, str | dict):
        raise SuiteError(f"{where}: expected the name of an attack or a table, found {reference!r}")
    first = component("attack", reference, where, registry)
    outputs = registry.find("attack", first.name, where).cls(**first.params).outputs
    if outputs != "images" or first.via:
        found = "a chain of its own" if first.via else f"{first.label}, which outputs {outputs}"
        raise SuiteError(f"{where}: expected one attack that outputs images, found {found}")
    return first


def _fingerprint(kind: Kind, instance: Any, where: str) -> str | None:
    try:
        if isinstance(instance, Model):
            return str(instance.fingerprint())
        if kind == "attack":
            found = instance.fingerprint()
            return None if found is None else str(found)
        return str(instance.fingerprint()) if kind == "dataset" else None
    except BenchError as error:
        raise type(error)(f"{where}: {error}") from None
    except Exception as error:
        raise PluginError(f"{where}: the plugin failed with {type(error).__name__}: {error}") from error


@functools.cache
def _adapters(cls: type) -> dict[str, TypeAdapter[Any]]:
    """A strict validator for each parameter of a component class."""
    strict = ConfigDict(strict=True)
    return {name: TypeAdapter(hint, config=strict) for name, hint in _hints(cls).items()}


def _hints(cls: type) -> dict[str, Any]:
    """The types of a component's parameters. Annotations of class variables are none of our business."""
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


def instantiate(cls: type, params: Mapping[str, Any], where: str) -> Any:
    """Build a component from suite parameters: names, types, bounds and its own checks (``__post_init__``)."""
    adapters = _adapters(cls)
    values: dict[str, Any] = {}
    for key, value in params.items():
        if key not in adapters:
            raise SuiteError(f"{where}.{key}: unknown parameter {key!r}; {did_you_mean(key, adapters)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise SuiteError(f"{where}.{key}: expected a finite number, found {value}")
        try:
            values[key] = adapters[key].validate_python(_tuples(value))
        except ValidationError as error:
            problem = _problem(error)
            raise SuiteError(f"{where}.{key}: {problem}, found {value!r}") from None
    for f in dataclasses.fields(cls):
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING and f.name not in values:
            raise SuiteError(f"{where}.{f.name}: expected a value ({cls.__name__} has no default for it), found none")
    try:
        return cls(**values)
    except ValueError as error:
        raise SuiteError(f"{where}: {error}") from None


def _problem(error: ValidationError) -> str:
    """What pydantic expected, in a suite author's words."""
    messages = dict.fromkeys(item["msg"][0].lower() + item["msg"][1:] for item in error.errors())
    return " or ".join(messages).replace(" or input should be", " or").replace("valid tuple", "valid list")


def _tuples(value: Any) -> Any:
    """TOML arrays become tuples: components are hashable."""
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def parameters(cls: type) -> list[tuple[str, str, Any]]:
    """``(name, type, default)`` of every suite parameter of a component class, for ``bench info``."""
    hints = _hints(cls)
    rows = []
    for f in dataclasses.fields(cls):
        default = None if f.default is dataclasses.MISSING else f.default
        rows.append((f.name, _type_name(hints[f.name]), default))
    return rows


def _type_name(hint: Any) -> str:
    """A type as a reader of a suite would write it: ``one of "a", "b"``, ``int``, ``list of str``."""
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
    """A bound of `annotated_types`, such as ``Ge(ge=1)``, as ``>= 1``."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    limits = {sign: getattr(bound, name, None) for name, sign in signs.items()}
    return ", ".join(f"{sign} {limit}" for sign, limit in limits.items() if limit is not None) or str(bound)


def label_of(reference: str | Mapping[str, Any]) -> str:
    """The label that a reference of a suite gives to its component."""
    if isinstance(reference, str):
        return reference
    name = str(reference.get("plugin", ""))
    return str(reference.get("label", f"{name} via {label_of(reference['via'])}" if reference.get("via") else name))

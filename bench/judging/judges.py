"""Which recognition networks judge: those with real weights that were found here, or those that the user names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bench.api.hookspecs import Model
from bench.core.content_keys import digest_of
from bench.core.domain import Component
from bench.core.errors import BenchError, MissingDataError, SuiteError, error_text
from bench.core.text import spelling
from bench.registry.components import component_of
from bench.registry.discovery import Registry
from bench.suite.added_defenses import parse_reference
from bench.suite.expand import FullReference, full_reference

SIZE = (112, 112)  #: Height and width of the aligned faces that judges must take.
STAND_IN = (
    "trained on computer-generated faces: a stand-in to try this command with. What it finds says nothing about real "
    "photos"
)
_FORM = (
    "expected NAME or NAME,parameter=value,... such as mobileface or 'onnx-model,weights_file=~/net.onnx,label=mine'"
)
_FETCH = (
    "Get one: pip install 'face-privacy-bench[real]', then: bench models fetch arcface-mnet (8 MB; it prints the "
    "license and asks first). Or put the weights of a network into a folder and name it: --weights-dir DIR. What fits: "
    "docs/real-weights.md"
)


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A recognition network that judges. ``stand_in``: it was trained on computer-generated faces."""

    component: Component
    license: str
    stand_in: bool

    @property
    def name(self) -> str:
        """The label in rows and sentences."""
        return self.component.label

    @property
    def weights(self) -> str:
        """The beginning of the digest of its weights."""
        return str(self.component.weights)[:12]


def chosen(named: Sequence[str], registry: Registry) -> list[Judge]:
    """Return the judges that the user names, or else every network with real weights.

    Raise `MissingDataError` if there is none, which says how to get one; and the errors of
    `bench.registry.components.component_of` for one that is named and cannot be used. A bundled stand-in judges only if
    it is named.
    """
    if named:
        found = [_named(text, registry) for text in named]
        _check_names(found)
        return found
    problems: list[str] = []
    judges: dict[str, Judge] = {}
    for judge in _usable(registry, problems):
        judges.setdefault(judge.weights, judge)  # A file may serve two names.
    if not judges:
        classes = {name: registry.components["model", name].cls for name in registry.names("model")}
        stand_ins = ", ".join(name for name, cls in classes.items() if getattr(cls, "synthetic", False) is True)
        lines = [
            "judge: expected a recognition network with real weights, found none here; nothing was judged.",
            f"{_FETCH}.",
            f"The bundled networks ({stand_ins}) were trained on computer-generated faces and say nothing about real "
            "photos, so none of them is used unless you name it with --judge.",
            *problems,
        ]
        raise MissingDataError("\n".join(lines))
    return list(judges.values())


def _usable(registry: Registry, problems: list[str]) -> Iterator[Judge]:
    """Yield every network with its default parameters that has real weights and takes aligned faces; the reasons why
    others with weights cannot be used are added to ``problems``."""
    for name in registry.names("model"):
        try:
            judge = _judge(full_reference("model", name, name), registry)
        except (MissingDataError, SuiteError):
            continue  # There are no weights, or only the user can say which.
        except BenchError as error:
            problems.append(f"note: {name} cannot be used: {error}")
            continue
        if not judge.stand_in:
            yield judge


def _named(text: str, registry: Registry) -> Judge:
    """Return the judge that a value of ``--judge`` names, under its label if it has one."""
    table = parse_reference(text, "--judge", _FORM)
    return _judge(full_reference("model", table, f"--judge {table['plugin']}"), registry)


def _check_names(judges: Sequence[Judge]) -> None:
    """Raise `SuiteError` for a network that is named twice, and for two networks whose names a reader cannot tell
    apart: rows are grouped by them."""
    for k, judge in enumerate(judges):
        for other in judges[:k]:
            if digest_of(judge.component) == digest_of(other.component):
                raise SuiteError(f"--judge: expected each network once, found {judge.component.name} twice; remove one")
            if spelling(judge.name) == spelling(other.name):
                raise SuiteError(
                    f"--judge: expected a name of its own for each network, found two called {judge.name!r}; add "
                    f"label=NAME to one of them: --judge '{judge.component.name},...,label=NAME'"
                )


def _judge(reference: FullReference, registry: Registry) -> Judge:
    where = reference.where
    cls = registry.find("model", reference.name, where).cls
    if "foreign_code" in dir(cls):
        raise SuiteError(
            f"{where}: expected a network of an installed plugin, or weights in a file, found one whose parameters "
            "name code; export it as ONNX and name it with --judge onnx-model,weights_file=FILE"
        )
    component = replace(component_of("model", reference.name, reference.passed, where, registry), label=reference.label)
    model: Model = registry.build(component)
    try:
        size, terms = tuple(model.input_size), str(model.license)
    except BenchError:
        raise
    except Exception as error:  # A declaration may be a property of foreign code.
        raise SuiteError(f"{where}: its declarations cannot be read: {error_text(error)}") from error
    if size != SIZE:
        raise SuiteError(f"{where}: expected a network for aligned faces of 112x112, found one for {size[1]}x{size[0]}")
    return Judge(component=component, license=terms, stand_in=model.synthetic or _generated(model, registry))


def _generated(model: Model, registry: Registry) -> bool:
    """Return whether a network says that it was trained on a set of generated faces."""
    known = registry.components.get(("training_set", model.trained_on))
    if known is None:
        return False
    try:
        return bool(known.cls(**model.trained_on_parameters).status().layout == "generated")
    except Exception:  # A set that cannot be built is not known to be generated.
        return False

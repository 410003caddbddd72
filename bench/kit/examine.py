"""Asks the checks of the catalogue of one component, in their order.

A check that fails names what was expected and seen. What depends on a failed one is not asked, with the reason, so that
one mistake is found by one check.
"""

from __future__ import annotations

import dataclasses
import inspect
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.api.hookspecs import Model
from bench.core.content_keys import canonical
from bench.core.domain import Component
from bench.core.errors import (
    BenchError,
    CapabilityError,
    ContractError,
    MissingDataError,
    PluginError,
    SuiteError,
    error_text,
    missing_package,
)
from bench.engine.seeds import seed_streams
from bench.kit import world
from bench.kit.catalogue import CHECKS
from bench.kit.comparing import difference
from bench.kit.dataset_trials import DatasetTrial
from bench.kit.findings import BrokenError, KitFinding, KitResult, NotAskedError
from bench.kit.kinds import TRIALS
from bench.kit.other_process import STATE_KEY, results_elsewhere
from bench.kit.targets import Target, component_for
from bench.kit.trials import MetricTrial, ModelTrial, Trial
from bench.kit.watching import OtherDeviceError, Watched, global_streams, moved, restore_streams, watched
from bench.planning.adversaries import Adversaries
from bench.planning.defense_reasons import contradiction_of
from bench.planning.instances import Instances
from bench.registry.components import fingerprint, instantiate
from bench.registry.declarations import check_declarations
from bench.registry.discovery import Registry, discover
from bench.stages import contracts, undeclared
from bench.stages.comparison import Results, another_order, loose_difference, rows_of, strict_difference
from bench.stages.flops import FlopCounter
from bench.store.artifacts import Artifact, Cache

Heard = Callable[[str], None]
# The checks after which nothing more can be asked, and those on which others depend.
_DECISIVE = ("parameters", "declarations", "files", "call", "needs", "output", "inputs", "networks", "device")
_DEPEND: Mapping[str, tuple[str, ...]] = {
    "state": ("repeat",),
    "order": ("random", "repeat"),
    "split": ("random", "repeat"),
    "prefix": ("random", "repeat"),
    "process": ("random", "repeat", "state"),
}
_COMPARED = ("learning", "repeat", "order", "split", "process")  # They compare results with earlier ones.


class Examination:
    """The checks of one component. ``work`` is an empty folder; ``hear`` is told the name of each check before it is
    asked."""

    def __init__(self, target: Target, work: Path, hear: Heard = lambda check: None) -> None:
        self.target, self.work, self.hear = target, work, hear
        self.findings: list[KitFinding] = []
        self.costs: dict[str, float] = {}
        self.plugin: Any = None
        self.component: Component | None = None
        self.trial: Trial | None = None
        self.calls: list[Watched] = []
        self.first: Results = {}
        self.learnt: Watched | None = None
        self.stopped = ""  # why no further check is asked
        self.unstored: BrokenError | None = None  # why what was learnt cannot be stored
        self.cache = Cache(work / "cache")

    def result(self) -> KitResult:
        """Ask all checks of the kind, and return what was found."""
        questions: Mapping[str, Callable[[], None]] = {
            "parameters": self._parameters,
            "declarations": self._declarations,
            "files": self._files,
            "call": self._call,
            "random": self._random,
            "learning": self._learning,
            "repeat": self._repeat,
            "state": self._state,
            "order": self._order,
            "split": self._split,
            "process": self._process,
            "gradients": self._gradients,
            "prefix": lambda: self._of_dataset().check_prefix(),
            "people": lambda: self._of_dataset().check_people(),
        }
        streams = global_streams()
        try:
            for name, check in CHECKS.items():
                if self.target.kind in check.kinds:
                    self.hear(name)
                    self._ask(name, questions.get(name, partial(self._of_calls, name)))
        finally:
            restore_streams(streams)
            undeclared.take_read()  # Stages that this process may compute are not made from these files.
        origin = self.target.origin
        return KitResult(
            kind=self.target.kind,
            name=self.target.name,
            params=dict(self.target.params),
            findings=tuple(self.findings),
            costs=self.costs,
            component=None if origin is None else self.component,
        )

    def _ask(self, name: str, question: Callable[[], None]) -> None:
        """Ask one check and keep the answer."""
        failed = {one.check for one in self.findings if one.answer == "failed"}
        missing = [other for other in _DEPEND.get(name, ()) if other in failed]
        try:
            if self.unstored is not None and name in _COMPARED:
                raise NotAskedError("it fails state")
            if self.stopped or missing:
                raise NotAskedError(self.stopped or f"it fails {missing[0]}")
            with warnings.catch_warnings():  # Notes of a plugin are no failures, whatever the filters of the caller.
                warnings.simplefilter("ignore")
                question()
            found = KitFinding(check=name, answer="passed")
        except NotAskedError as reason:
            found = KitFinding(check=name, answer="not asked", reason=str(reason))
        except BrokenError as broken:
            mend = broken.mend or CHECKS[name].mend
            found = KitFinding(check=name, answer="failed", expected=broken.expected, seen=broken.seen, mend=mend)
        except (Exception, SystemExit) as error:
            seen = error_text(error)
            expected = "a call like those before, which did not fail"
            found = KitFinding(check=name, answer="failed", expected=expected, seen=seen, mend=CHECKS[name].mend)
        self.findings.append(found)
        if found.answer == "failed" and name in _DECISIVE:
            self.stopped = f"it fails {name}"

    # ---- before it is called ---------------------------------------------------------------------------------------

    def _parameters(self) -> None:
        cls, params, where = self.target.cls, self.target.params, self.target.where
        own = {n for n, hint in inspect.get_annotations(cls).items() if "ClassVar" not in str(hint)}
        if lost := sorted(own - {f.name for f in dataclasses.fields(cls)}):
            raise BrokenError(
                f"the annotated attribute {lost[0]} to be a parameter",
                f"{cls.__name__} is no dataclass of its own",
                "decorate the class with @dataclass(frozen=True, kw_only=True); a declaration is a ClassVar",
            )
        for f in dataclasses.fields(cls):
            if f.default is dataclasses.MISSING or inspect.isfunction(f.default):
                continue
            try:
                instantiate(cls, {**_others(cls, params, f.name), f.name: f.default}, where)
            except SuiteError as error:
                if str(error).startswith(f"{where}.{f.name}:"):  # Others are about parameters that have no default.
                    raise BrokenError(f"a default of {f.name} that a suite could set", str(error)) from None
        try:
            self.plugin = instantiate(cls, params, where)
        except SuiteError as error:
            if params:
                raise
            self.stopped = "it has no default parameters that build"
            remedy = f"name some: bench check '{self.target.name},PARAMETER=VALUE'"
            raise NotAskedError(f"{self.stopped} ({error}); {remedy}") from None
        try:
            canonical({f.name: getattr(self.plugin, f.name) for f in dataclasses.fields(cls)})
        except PluginError as error:
            raise BrokenError("parameters that mean the same in every process", str(error)) from None

    def _declarations(self) -> None:
        kind, name = self.target.kind, self.target.name
        try:
            check_declarations(kind, name, self.plugin)
            text = self._contradiction()
        except PluginError as error:
            raise BrokenError("declarations as the base class describes them", str(error)) from None
        if text:
            raise BrokenError("declarations that agree with each other", text)

    def _contradiction(self) -> str | None:
        if self.target.kind == "defense":
            return contradiction_of(self.target.name, self.plugin)
        if self.target.kind != "attack":
            return None
        component = component_for(self.target, self.plugin, None)
        attacks = Adversaries(_Known(discover(), component, self.plugin))
        attacks.trained_as(component)
        return attacks.contradiction(component)

    def _files(self) -> None:
        kind, where = self.target.kind, self.target.where
        try:
            digests = []
            for plugin in (self.plugin, instantiate(self.target.cls, self.target.params, where)):
                of = "dataset" if kind == "training_set" else kind
                digests.append(fingerprint(of, plugin, where))  # type: ignore[arg-type]
        except MissingDataError as error:
            self.stopped = "files are missing"
            raise NotAskedError(f"files are missing: {error}") from None
        except BenchError as error:
            raise BrokenError("declared files, programs and a fingerprint that can be read", str(error)) from None
        if digests[0] != digests[1]:
            raise BrokenError("the same fingerprint again", f"{digests[0]} and then {digests[1]}")
        self.component = component_for(self.target, self.plugin, digests[0])

    # ---- the calls that are watched --------------------------------------------------------------------------------

    def _call(self) -> None:
        seed_streams(world.SEED)
        undeclared.forget_used()  # What other components of the package have read is no matter of this one.
        self.cache.root.mkdir(parents=True, exist_ok=True)
        try:
            self.trial = trial = TRIALS[self.target.kind](self.plugin, self.target.name)
        except NotAskedError as reason:
            self.stopped = str(reason)
            raise
        steps: list[Callable[[], Any]] = [trial.prepare]
        steps += [trial.fit, lambda: self._kept(self.calls[-1].value)] if trial.learns else []
        steps.append(lambda: trial.results(np.arange(trial.n)))
        for step in steps:
            seen = watched(trial, self._component(), step, self.cache.root)
            if step == trial.fit:
                self.learnt = seen
            self.calls.append(seen)
            if seen.error is not None:
                break
        self.first = self.calls[-1].value or {}
        error = self.calls[-1].error
        if isinstance(error, BrokenError):
            self.unstored = error
        if error is None or isinstance(error, BrokenError | ContractError | OtherDeviceError):
            return
        if isinstance(error, MissingDataError) or missing_package(error):
            self.stopped = "something is missing on this machine"
            raise NotAskedError(f"something is missing on this machine: {error_text(error)}")
        raise BrokenError("a call that returns", error_text(error))

    def _kept(self, learnt: Any) -> None:
        """Keep what was learnt for later calls, read back from the cache."""
        assert self.trial is not None
        try:
            arrays = contracts.check_state(learnt, self.trial.where)
            about = {"kind": "fit_attack", "seconds": 0.0, "peak_mb": 0.0, "device": "cpu"}
            self.cache.write(STATE_KEY, Artifact(tensors=arrays), about)
            self.cache.read(STATE_KEY)
        except BenchError as error:
            raise BrokenError("a mapping of names to tensors that can be stored", str(error)) from None
        self.trial.state = {name: tensor.detach() for name, tensor in learnt.items()}

    def _of_calls(self, name: str) -> None:
        """Answer a check about all calls so far from what was watched."""
        error = self.calls[-1].error
        changed = [text for one in self.calls for text in one.inputs]
        if name == "needs" and isinstance(error, CapabilityError):
            raise BrokenError("no use of what it does not declare", str(error))
        contract = isinstance(error, ContractError) and not isinstance(error, CapabilityError)
        if name == "output" and contract and not changed:
            raise BrokenError("results as the contract describes them", str(error))
        if name == "inputs" and changed:
            raise BrokenError("inputs that are unchanged", f"it changed {', '.join(changed)}")
        if name == "device" and isinstance(error, OtherDeviceError):
            raise BrokenError("work on the device cpu", f"it calls {error}")
        for check, attribute, expected in (
            ("networks", "networks", "networks that are unchanged"),
            ("undeclared", "undeclared", "no other files and programs than declared ones"),
        ):
            texts = dict.fromkeys(text for one in self.calls for text in getattr(one, attribute))
            if name == check and texts:
                raise BrokenError(expected, "; ".join(texts))
        if name == "undeclared":
            self._require_observed()

    def _random(self) -> None:
        """Raise `BrokenError` if results follow from a global random stream, or if one is seeded. That one has moved on
        is no mistake by itself: layers of torch draw weights from it, which are then replaced."""
        trial = self.trial
        assert trial is not None
        for one in (one for one in self.calls if one.streams):
            if one is self.learnt:
                again, ended = self._otherwise(trial.fit, {})
                where = trial.where
                text = _differ(contracts.check_state(one.value, where), contracts.check_state(again, where))
            elif one is self.calls[-1]:
                again, ended = self._otherwise(self._of_all, trial.state)
                text = difference(self.first, again)
            else:
                continue
            if set(one.streams) - set(moved(one.ended, ended)):
                raise BrokenError("global random streams that nobody seeds", f"it seeds {' and '.join(one.streams)}")
            if text:
                text = f"with another seed of {' or '.join(one.streams)} it gives other results"
                raise BrokenError("results that do not follow from global random streams", text)

    def _otherwise(self, call: Callable[[], Any], state: Mapping[str, torch.Tensor]) -> tuple[Any, Mapping[str, Any]]:
        """Return what a call gives where global random streams have another seed, and their states afterwards."""
        trial, streams = self.trial, global_streams()
        assert trial is not None
        before, trial.state = trial.state, state
        seed_streams(world.SEED + 1)
        try:
            return call(), global_streams()
        finally:
            trial.state = before
            restore_streams(streams)
            trial.changed()

    def _of_all(self) -> Results:
        assert self.trial is not None
        return self.trial.results(self._all())

    def _require_observed(self) -> None:
        """Raise `NotAskedError` if the host does not observe which files the plugin reads."""
        if self.target.kind == "training_set":
            raise NotAskedError("training sets take part in no run, so their files are not watched")
        if not undeclared.is_observed(self._component(), self.plugin):
            built_in = self.target.origin is not None and not _fingerprinted(self.plugin)
            raise NotAskedError(
                "built-in plugins are not watched" if built_in else "its fingerprint() answers for what it reads"
            )

    # ---- further calls, compared with the first ---------------------------------------------------------------------

    def _again(self, rows: Any, state: Mapping[str, torch.Tensor] | None = None) -> Results:
        """Return the results of some faces, with global random streams as they were before the first call."""
        trial, streams = self.trial, global_streams()
        assert trial is not None
        before = trial.state
        trial.state = before if state is None else state
        try:
            return trial.results(np.asarray(rows))
        finally:
            trial.state = before
            restore_streams(streams)
            trial.changed()

    def _of_dataset(self) -> DatasetTrial:
        assert isinstance(self.trial, DatasetTrial)
        return self.trial

    def _all(self) -> Any:
        assert self.trial is not None
        return np.arange(self.trial.n)

    def _learning(self) -> None:
        if self.learnt is None or self.trial is None:
            raise NotAskedError("it does not learn")
        streams, state = global_streams(), self.trial.state
        self.trial.state = {}
        again = contracts.check_state(self.trial.fit(), self.trial.where)
        self.trial.state = state
        restore_streams(streams)
        self.trial.changed()
        first = contracts.check_state(self.learnt.value, self.trial.where)
        if text := _differ(first, again):
            raise BrokenError("the same tensors again", text)

    def _state(self) -> None:
        if self.learnt is None:
            raise NotAskedError("it does not learn")
        if self.unstored is not None:
            raise self.unstored
        stored = {name: torch.from_numpy(np.array(v)) for name, v in self.cache.read(STATE_KEY).tensors.items()}
        if text := difference(self.first, self._again(self._all(), stored)):
            raise BrokenError("the same results with the state from the cache", text)

    def _repeat(self) -> None:
        started = time.perf_counter()
        again = self._again(self._all())
        seconds = time.perf_counter() - started
        if text := difference(self.first, again):
            raise BrokenError("the same result again", text)
        self._measure(seconds)

    def _order(self) -> None:
        order = another_order(len(self._all()))
        if text := difference(rows_of(self.first, order), self._again(order)):
            raise BrokenError("the same result of a face in another order", text)

    def _split(self) -> None:
        trial, n = self.trial, len(self._all())
        assert trial is not None
        if trial.whole:
            raise NotAskedError("it protects all faces together (whole_set)")
        if isinstance(trial, MetricTrial) and trial.of_sets_only:
            raise NotAskedError("its value belongs to the whole set")
        half, companions = n // 2, np.r_[0 : n // 4, n - (n // 2 - n // 4) : n]
        together, other = self._again(np.arange(half)), self._again(companions)
        kept = np.arange(n // 4)
        if text := difference(rows_of(together, kept), rows_of(other, kept)):
            raise BrokenError("the same result of a face in another batch", text)
        alone = self._again(np.arange(1))
        for what, found in (("alone", alone), ("in a smaller batch", together)):
            own = rows_of(self.first, np.arange(len(next(iter(found.values())))))
            text = strict_difference(own, found) if trial.strict else loose_difference(own, found, self.first)
            if text:
                raise BrokenError(f"the same result of a face {what}", text)

    def _process(self) -> None:
        trial = self.trial
        assert trial is not None
        found = results_elsewhere(self.target, self.cache.root if trial.learns else None, self.work)
        if text := difference(self.first, found):
            raise BrokenError("the same result in another worker process", text)

    def _gradients(self) -> None:
        trial, plugin = self.trial, self.plugin
        assert isinstance(trial, ModelTrial)
        assert isinstance(plugin, Model)
        images = world.floats(trial.faces.images[:1]).requires_grad_(True)
        splits = tuple(plugin.splits)
        for name in ("embeddings", *splits):
            made = trial.network(images) if name == "embeddings" else trial.network.features(images, (name,))[0]
            if not made.requires_grad:
                raise BrokenError(f"{name} that depend on the pixels by a gradient", "no gradient")
            # Fixed weights: the squares of embeddings of length 1 have the same sum whatever the picture shows.
            weights = torch.randn(made.shape, generator=torch.Generator().manual_seed(0))
            (gradient,) = torch.autograd.grad((made * weights).sum(), images)
            if not torch.isfinite(gradient).all() or not gradient.abs().sum() > 0:
                raise BrokenError(f"finite gradients of {name}, not all zero", "NaN, infinity, or zeros only")

    def _measure(self, seconds: float) -> None:
        """Measure what one face costs; ``seconds`` is the time of the second call with all faces."""
        trial = self.trial
        assert trial is not None
        self.costs["seconds per face"] = seconds / max(trial.n, 1)
        if self.learnt is not None:
            self.costs["seconds of learning"] = self.learnt.seconds
        self.costs["bytes per face"] = trial.bytes_per_face(self.first)
        if self.target.kind in ("dataset", "training_set"):
            return
        rows = self._all() if trial.whole else np.arange(1)
        flops = FlopCounter()
        if isinstance(trial, ModelTrial):  # The checks also ask for features; a face costs one embedding.
            started = time.perf_counter()
            trial.embed(self._all())
            self.costs["seconds per face"] = (time.perf_counter() - started) / max(trial.n, 1)
            with flops:
                trial.embed(rows)
        else:
            with flops:
                self._again(rows)
        self.costs["floating-point operations per face"] = flops.total / len(rows)

    def _component(self) -> Component:
        assert self.component is not None
        return self.component


class _Known(Instances):
    """The instances of a planner, which knows that of a component whose class need not be registered."""

    def __init__(self, registry: Registry, component: Component, instance: Any) -> None:
        super().__init__(registry)
        known = self.of
        self.of = lambda one: instance if one is component else known(one)  # type: ignore[assignment]


def _others(cls: type, params: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the parameters that are passed, for those without a default."""
    needed = {f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING}
    return {key: value for key, value in params.items() if key in needed and key != name}


def _differ(first: Results, again: Results) -> str | None:
    """Return in words how what was learnt twice differs; None if it does not."""
    different = [name for name in first if name not in again or not np.array_equal(first[name], again[name], True)]
    if not different and first.keys() == again.keys():
        return None
    return f"{', '.join(different[:5]) or 'other names'} differ"


def _fingerprinted(plugin: Any) -> bool:
    return callable(getattr(plugin, "fingerprint", None)) and plugin.fingerprint() is not None

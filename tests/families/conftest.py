"""Installs the plugins of this folder for its tests, each as a distribution of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import Computed, InlineEngine, install, write_plugin

from bench.analysis.rows import Rows
from bench.planning.plan import Plan, make_plan
from bench.registry.discovery import Registry, discover
from bench.runs.run import run_plan
from bench.store.artifacts import Cache
from bench.store.reading import RunResults
from bench.store.workspace import Folders
from bench.suite.suite import load

FAMILIES = Path(__file__).parent
PLUGINS = '''
"""Small defenses that adversaries can undo, and attacks that declare anything."""

from dataclasses import dataclass

from bench import Attack, Defense, Protected, hookimpl


@dataclass(frozen=True, kw_only=True)
class Negative(Defense):
    """Upload the negative with its colours exchanged."""

    def protect(self, images, ctx):
        return Protected(images=1 - images.flip(1))


@dataclass(frozen=True, kw_only=True)
class Noisy(Defense):
    """Upload the picture with much noise."""

    sigma: float = 0.3

    def protect(self, images, ctx):
        return Protected(images=(images + self.sigma * ctx.randn(images)).clamp(0, 1))


@dataclass(frozen=True, kw_only=True)
class Coded(Defense):
    """Upload the means of cells of 8x8 pixels in place of the picture."""

    sends = frozenset({"representation"})

    def representation(self):
        return {"code": (48,)}

    def protect(self, images, ctx):
        cells = images.unfold(2, 8, 8).unfold(3, 8, 8).mean((-1, -2)).flatten(1)
        return Protected(representation={"code": cells + 1e-3})


@hookimpl
def bench_defenses():
    return {"negative": Negative, "noisy": Noisy, "coded": Coded}


@dataclass(frozen=True, kw_only=True)
class Declares(Attack):
    """Declares what its parameters say."""

    gives: str = "recognition"
    learns: str = "nothing"
    seen: tuple[str, ...] = ("images",)
    many: int = 1
    spends: str = ""
    much: float = 8

    outputs = property(lambda self: self.gives)
    trains_on = property(lambda self: self.learns)
    sees = property(lambda self: frozenset(self.seen))
    uploads = property(lambda self: self.many)

    def budget(self):
        return {self.spends: self.much} if self.spends else {}


@dataclass(frozen=True, kw_only=True)
class Fits(Declares):
    """Declares what its parameters say, and has a fit()."""

    def fit(self, examples, ctx):
        return {}


@dataclass(frozen=True, kw_only=True)
class Embeds(Fits):
    """Declares what its parameters say, and has a fit() and an embed()."""

    length: int = 64

    def embed(self, received, ctx):
        return ctx.evaluated()(received.images)[:, : self.length]


@dataclass(frozen=True, kw_only=True)
class Estimates(Fits):
    """Declares what its parameters say, and estimates a colour of whatever it receives."""

    def estimate(self, images, ctx):
        held = next(iter(ctx.received.representation.values()))
        return {"colour": held.flatten(1)[:, :3]}


@hookimpl
def bench_attacks():
    return {"declares": Declares, "fits": Fits, "embeds": Embeds, "estimates": Estimates}
'''


@pytest.fixture(scope="module")
def families(toy_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The registry with the toy plugin and the plugins of this folder installed."""
    site = tmp_path_factory.mktemp("families")
    install(FAMILIES, site)
    write_plugin(site, "family_small", PLUGINS)
    with pytest.MonkeyPatch.context() as patch:
        for folder in (toy_site, site):
            patch.syspath_prepend(str(folder))
        discover.cache_clear()
        yield discover()
    discover.cache_clear()
    for name in [n for n in sys.modules if n.startswith(("family_", "bench_families"))]:
        del sys.modules[name]


@pytest.fixture
def plan_of(tmp_path: Path, families: Registry) -> Callable[..., Plan]:
    """Return a function that plans the text of a suite."""

    def make(text: str, *overrides: str) -> Plan:
        path = tmp_path / "suite.toml"
        path.write_text(text, encoding="utf-8")
        return make_plan(load(path, families, overrides), families, "cpu")

    return make


@pytest.fixture
def computed_of(tmp_path: Path, plan_of: Callable[..., Plan]) -> Callable[..., Computed]:
    """Return a function that plans the text of a suite and computes it in this process."""

    def make(text: str, *overrides: str) -> Computed:
        done = Computed(plan_of(text, *overrides), Cache(tmp_path / "cache"))
        assert not done.failures(), done.failures()
        return done

    return make


@pytest.fixture
def families_run(tmp_path: Path, plan_of: Callable[..., Plan]) -> Callable[..., Rows]:
    """Return a function that runs the text of a suite in this process and returns the rows of the run."""

    def make(text: str, *overrides: str) -> Rows:
        folder, outcomes = run_plan(plan_of(text, *overrides), Folders(out=tmp_path), engine=InlineEngine())
        assert {o.status for o in outcomes} <= {"ok", "skipped"}, [o.reason for o in outcomes]
        return Rows(RunResults(folder))

    return make

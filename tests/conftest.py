"""Fixtures of all tests: the toy plugin, the installed command, and one finished run of a toy suite."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports torch: two cores, and several processes
os.environ["TORCH_HOME"] = "/nonexistent"  # no test depends on whether this machine has the weights of LPIPS
os.environ.pop("BENCH_LPIPS_VGG", None)
os.environ.pop("BENCH_DATA", None)  # nor on real data that it may have
os.environ.pop("BENCH_WEIGHTS", None)
os.environ["UNIFACE_CACHE_DIR"] = "/nonexistent"
os.environ.pop("COLUMNS", None)  # nor on the width of a terminal; pytest-xdist sets it for its workers

import importlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import hypothesis
import pandas as pd
import pytest
from browsing import Tabs, chromium, keep, violations
from kinds_of_input import table
from playwright.sync_api import Browser, Page
from processes import Running, disks, starting
from sharing import shared_folder
from support import BENCH, SUITE, TESTS, Command, Computed, Done, InlineEngine, ToyRun, environment, install, survivors

from bench.planning.plan import Plan, make_plan
from bench.registry.discovery import Registry, discover
from bench.store.artifacts import Cache
from bench.suite.suite import load

pytest_plugins = ["report_fixtures", "fault_table"]

_RUNNERS = {"bench", "start", "inline"}  # fixtures that run suites
_LONGEST = {"e2e": 0, "faults": 1, "report": 2, "runs": 3}  # folders whose files take longest, and their order


def pytest_configure(config: pytest.Config) -> None:
    """Give the session a cache folder of its own, which its worker processes and the commands that it runs share."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="bench-tests-", ignore_cleanup_errors=True)
        config.add_cleanup(folder.cleanup)
        os.environ["XDG_CACHE_HOME"] = folder.name


hypothesis.settings.register_profile("bench", deadline=None)  # machines are shared: no test is about time
hypothesis.settings.load_profile("bench")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests as slow that run the command in a process of its own, or a whole suite in this one.

    The folders whose files take longest come first, so that no process is left with a long file at the end.
    """
    for item in items:
        if _RUNNERS.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: _LONGEST.get(item.path.relative_to(TESTS).parts[0], len(_LONGEST)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of kinds of input, if any were tried."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    for number, line in enumerate(table(r for r in reports if getattr(r, "when", None) == "call")):
        if number == 0:
            terminalreporter.section("kinds of input")
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def toy_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the toy plugin is installed."""
    return shared_folder(tmp_path_factory, "site", lambda site: install(TESTS / "toy_plugin", site))


@pytest.fixture(scope="session")
def bench(toy_site: Path) -> Command:
    """Return a function that runs the installed command in a new process, which sees the toy plugin."""

    def run(
        *args: object, cwd: Path | None = None, sites: Sequence[Path] = (), env: Mapping[str, str] | None = None
    ) -> Done:
        process = subprocess.Popen(
            [str(BENCH), *map(str, args)],
            cwd=cwd,
            env=environment([*sites, toy_site], env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        with process:
            try:
                out, err = process.communicate(timeout=600)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return Done(process.returncode, out, err, survivors(process.pid))

    return run


@pytest.fixture(scope="session")
def registry(toy_site: Path) -> Iterator[Registry]:
    """The registry with the toy plugin installed, made once; afterwards the process is in its former state."""
    sys.path.insert(0, str(toy_site))
    discover.cache_clear()
    try:
        found = discover()
        importlib.import_module("bench_toy.networks")
    finally:
        sys.path.remove(str(toy_site))
        discover.cache_clear()
    yield found
    for name in [n for n in sys.modules if n.partition(".")[0] == "bench_toy"]:
        del sys.modules[name]


@pytest.fixture
def toy_installed(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The toy plugin is installed in this process, for code that calls `discover` itself."""
    for module in (
        "bench.stages.stage_inputs",
        "bench.runs.run",
        "bench.runs.doctor",
        "bench.runs.train",
        "bench.registry.discovery",
        "bench.registry.hook_calls",
    ):
        monkeypatch.setattr(importlib.import_module(module), "discover", lambda: registry)
    return registry


@pytest.fixture
def sites_of_their_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], Registry]]:
    """Return a function that discovers plugins in this process with an additional folder of distributions."""

    def discover_in(site: Path) -> Registry:
        monkeypatch.syspath_prepend(str(site))
        discover.cache_clear()
        return discover()

    before = set(sys.modules)
    yield discover_in
    discover.cache_clear()
    for name in set(sys.modules) - before:
        if name.partition(".")[0].startswith("plugin_"):
            del sys.modules[name]


@pytest.fixture
def plan_text(tmp_path: Path, registry: Registry) -> Callable[..., Plan]:
    """Return a function that plans the text of a suite, with overrides."""

    def make(text: str, *overrides: str, device: str = "cpu", registry: Registry = registry) -> Plan:
        path = tmp_path / "suite.toml"
        path.write_text(text, encoding="utf-8")
        return make_plan(load(path, registry, overrides), registry, device)

    return make


@pytest.fixture
def computed(tmp_path: Path, toy_installed: Registry, plan_text: Callable[..., Plan]) -> Callable[..., Computed]:
    """Return a function that plans the text of a suite and computes it in this process, in a cache of this test."""

    def make(text: str, *overrides: str, device: str = "cpu", cache: Path = tmp_path / "cache") -> Computed:
        return Computed(plan_text(text, *overrides, device=device), Cache(cache))

    return make


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache that tests share if they do not change code."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def run_attacks(computed: Callable[..., Computed], shared_cache: Path) -> Callable[..., Computed]:
    """Return a function that computes the suite of `attacked` with other attacks, written as TOML, and further keys."""
    from attacked import BASE

    def plan_and_compute(attacks: str, more: str = "", *overrides: str) -> Computed:
        return computed(BASE + more, f"experiment[0].attacks=[{attacks}]", *overrides, cache=shared_cache)

    return plan_and_compute


@pytest.fixture
def run_attacks_alone(computed: Callable[..., Computed]) -> Callable[..., Computed]:
    """Like `run_attacks`, but with a separate cache, for a test that changes code."""
    from attacked import BASE

    def plan_and_compute(attacks: str, more: str = "", *overrides: str) -> Computed:
        return computed(BASE + more, f"experiment[0].attacks=[{attacks}]", *overrides)

    return plan_and_compute


@pytest.fixture
def suite_file(tmp_path: Path) -> Path:
    """Return the path of the toy suite, which is alone in a folder."""
    path = tmp_path / "suites" / "toy.toml"
    path.parent.mkdir()
    path.write_text(SUITE, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def toy_run(bench: Command, tmp_path_factory: pytest.TempPathFactory) -> ToyRun:
    """``bench run`` of the toy suite."""

    def run(home: Path) -> None:
        suite = home / "toy.toml"
        suite.write_text(SUITE, encoding="utf-8")
        env = {"TOY_CELLS": f"{home}/heard"}
        options = ("--out", home / "out", "--device", "cpu", "--workers", "1")
        done = bench("run", suite, *options, cwd=home, env=env)
        assert done.code == 0, done.err
        done.save(home / "done.json")

    home = shared_folder(tmp_path_factory, "toy-run", run)
    return ToyRun(suite=home / "toy.toml", out=home / "out", done=Done.load(home / "done.json"))


@pytest.fixture(scope="session")
def stage_limit(toy_run: ToyRun) -> int:
    """Return the time limit in seconds for suites with stages that hang.

    It is far above what any other stage takes on this machine under its present load; the first use of some functions
    of torch imports large parts of it, which alone may take 4 s on a busy machine.
    """
    seconds = pd.read_parquet(toy_run.folder / "stages.parquet")["seconds"]
    return max(8, round(4 * seconds.max()))


@pytest.fixture
def inline(toy_installed: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """`bench.runs.run` runs stages in this process."""
    monkeypatch.setattr("bench.engine.factory.LocalEngine", InlineEngine)


@pytest.fixture
def start(toy_site: Path) -> Iterator[Callable[..., Running]]:
    """Return a function that starts ``bench`` in the background."""
    with starting(toy_site) as popen:
        yield popen


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Return a function that mounts a new small disk."""
    with disks(tmp_path) as mount:
        yield mount


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    with chromium() as found:
        yield found


@pytest.fixture
def open_report(browser: Browser) -> Iterator[Tabs]:
    """Opens HTML files in the browser: ``open_report(path, width=1280, scheme="light")`` gives Playwright's page. The
    test fails if any of them requests something, writes to the console, throws, or opens a dialog."""
    tabs = Tabs(browser)
    yield tabs
    tabs.close()
    if tabs.watch.seen:
        pytest.fail("the page asked or complained:\n" + "\n".join(tabs.watch.seen), pytrace=False)


@pytest.fixture
def keep_picture(request: pytest.FixtureRequest) -> Callable[..., Path]:
    """Keeps a picture of a whole page in ``test-artifacts/``, named after the test: ``keep_picture(page, "open")``."""
    return lambda page, name="": keep(page, request.node.name, name)


@pytest.fixture
def assert_accessible() -> Callable[..., None]:
    """Return a function that fails if axe-core finds problems on a page, or inside an element:
    ``assert_accessible(page, "dialog")``."""

    def check(page: Page, inside: str | None = None) -> None:
        found = violations(page, inside)
        assert not found, "\n".join(found)

    return check

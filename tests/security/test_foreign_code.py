"""Code that a run folder or a suite names: reading never runs it, and everything else asks for ``--trust`` first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stranger import Stranger, files_of

from bench.core.errors import UntrustedError
from bench.registry.discovery import discover
from bench.suite.suite import load

EVIL = "from pathlib import Path\nPath({!r}).write_text('run')\n\ndef build():\n    raise OSError\n"
FACTORIES = ("evil.py:build", "evil:build", "os:system", "subprocess:run")


@pytest.fixture
def marker(stranger: Stranger) -> Path:
    """A file that exists if the code of the stranger was run; the code lies wherever a factory may be looked for."""
    marker = stranger.home / "marker"
    for folder in (stranger.home, stranger.folder):
        (folder / "evil.py").write_text(EVIL.format(str(marker)))
    (stranger.home / "net.pth").write_bytes(b"weights")
    return marker


def entry(factory: str, marker: Path) -> dict[str, Any]:
    arguments = {"command": f"touch {marker}"} if factory == "os:system" else {}
    weights = str(marker.with_name("net.pth"))
    return {"plugin": "torch-module", "factory": factory, "arguments": arguments, "weights_file": weights}


def name_factory(record: dict[str, Any], factory: str, marker: Path) -> None:
    """Make every place of a record name a factory: the suite, and the recorded components."""
    for experiment in record["suite"]["raw"]["experiment"]:
        experiment |= {"authorised": [entry(factory, marker)], "evaluated": [entry(factory, marker)]}
        experiment |= {"datasets": ["synth-lfw"], "defenses": ["identity"], "attacks": ["abuse"], "noise_levels": []}
    for component in record["components"]:
        if component["kind"] == "model":
            params = {k: v for k, v in entry(factory, marker).items() if k != "plugin"}
            component |= {"name": "torch-module", "params": params, "passed": params}


@pytest.mark.parametrize("status", ["running", "interrupted", "incomplete", "complete"])
@pytest.mark.parametrize("factory", FACTORIES)
def test_reading_runs_nothing_that_a_record_names(stranger: Stranger, marker: Path, factory: str, status: str) -> None:
    stranger.change(lambda record: name_factory(record, factory, marker))
    stranger.change(lambda record: record.update(status=status))
    for command in stranger.reading_commands():
        done = stranger.bench(*command)
        assert done.exit_code in (0, 1, 2), done.output
        assert not marker.exists(), command


def test_a_stranger_s_running_run_is_shown_from_its_record(stranger: Stranger, marker: Path) -> None:
    stranger.change(lambda record: name_factory(record, "evil.py:build", marker))
    stranger.change(lambda record: record.update(status="running"))
    done = stranger.bench("report", stranger.folder)
    assert done.exit_code == 0, done.output
    assert "18 of 20 cells are not computed yet" in done.stderr


def test_a_replay_says_what_it_would_run_and_runs_nothing(stranger: Stranger, marker: Path) -> None:
    stranger.change(lambda record: name_factory(record, "evil.py:build", marker))
    before = files_of(stranger.folder)
    done = stranger.bench("run", "--replay", stranger.folder)
    assert done.exit_code == 2
    assert "this would run code that it names:" in done.stderr
    assert "factory evil.py:build, called as build()" in done.stderr
    assert "--trust" in done.stderr
    assert not marker.exists()
    assert files_of(stranger.folder) == before


SUITE = """\
[suite]
name = "given"
[[experiment]]
name = "one"
datasets = ["synth-lfw"]
authorised = ["zoo-mobileface"]
evaluated = [{ plugin = "torch-module", label = "evil", factory = "FACTORY", weights_file = "net.pth" }]
defenses = ["identity"]
pairs = 4
"""


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize("factory", FACTORIES)
def test_a_suite_with_a_factory_asks_first(stranger: Stranger, marker: Path, factory: str, command: str) -> None:
    suite = stranger.home / "given.toml"
    suite.write_text(SUITE.replace("FACTORY", factory))
    done = stranger.bench(command, suite)
    assert done.exit_code == 2
    assert f"experiment[0].evaluated[0]: factory {factory}, called as" in done.stderr
    assert "repeat the command with --trust" in done.stderr
    assert not marker.exists()


def test_with_trust_the_suite_is_planned(stranger: Stranger, marker: Path) -> None:
    suite = stranger.home / "given.toml"
    suite.write_text(SUITE.replace("FACTORY", "evil.py:build"))
    done = stranger.bench("plan", suite, "--trust")
    assert "--trust" not in done.stderr, done.output


def test_a_suite_of_installed_plugins_asks_for_nothing(stranger: Stranger) -> None:
    suite = stranger.home / "given.toml"
    head, _, rest = SUITE.partition("evaluated")
    suite.write_text(f'{head}evaluated = ["zoo-resnet"]{rest.partition("]")[2]}')
    (experiment,) = load(suite, discover()).experiments
    assert [model.label for model in experiment.evaluated] == ["zoo-resnet"]


def test_code_in_nested_references_is_found(stranger: Stranger, marker: Path) -> None:
    suite = stranger.home / "given.toml"
    text = SUITE.replace("FACTORY", "evil.py:build")
    suite.write_text(text.replace("evaluated = [", 'evaluated = ["zoo-resnet", '))
    with pytest.raises(UntrustedError, match=r"experiment\[0\]\.evaluated\[1\]: factory evil\.py:build"):
        load(suite, discover())

"""``bench new`` writes plugins that are well written, and never overwrites anything."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from stranger import files_of
from support import install

from bench.cli import main
from bench.planning.plan import make_plan
from bench.registry.discovery import discover
from bench.suite.suite import load

RULES = "E,F,W,I,B,UP,SIM,RUF,C4,PT,N,PIE,RET"
KINDS = ("defense", "attack", "model", "dataset", "metric")


def new(*args: object) -> Result:
    """Run ``bench new`` in this process."""
    return CliRunner().invoke(main, ["new", *map(str, args)], prog_name="bench")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every kind of plugin was written, called ``my-KIND``."""
    home = tmp_path_factory.mktemp("written")
    for kind in KINDS:
        done = new(kind, f"my-{kind}", "--into", home / f"my-{kind}")
        assert done.exit_code == 0, done.output
    return home


def test_it_says_what_was_written_and_what_to_do_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = new("defense", "my-cloak")
    assert sorted(files_of(tmp_path / "my-cloak")) == [
        "README.md",
        "my_cloak/__init__.py",
        "pyproject.toml",
        "suite.toml",
        "tests/test_my_cloak.py",
    ]
    for words in (
        "pip install -e my-cloak",
        "bench try my-cloak",
        "bench check my-cloak",
        "bench run my-cloak/suite.toml",
        "protect()",
    ):
        assert words in done.output
    assert "$" not in "".join(text.decode() for text in files_of(tmp_path / "my-cloak").values())
    assert "class MyCloak(Defense)" in (tmp_path / "my-cloak" / "my_cloak" / "__init__.py").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_the_readme_and_the_help_name_a_method_that_exists(written: Path, kind: str) -> None:
    folder = written / f"my-{kind}"
    readme, code = ((folder / name).read_text() for name in ("README.md", f"my_{kind}/__init__.py"))
    method = readme.split("one method, `")[1].split("`")[0]
    assert f"    def {method}(self" in code
    assert f".{method}`" in code.split('"""')[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "--isolated", "--line-length=120", f"--select={RULES}", "--ignore=RUF012"],
        ["ruff", "format", "--check"],
        ["mypy", "--strict"],
    ],
    ids=["ruff-check", "ruff-format", "mypy"],
)  # fmt: skip
def test_what_is_written_passes_the_checks(written: Path, command: list[str], tmp_path: Path) -> None:
    if importlib.util.find_spec(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    packages = [f"my-{kind}/my_{kind}" for kind in KINDS]
    if command[0] == "ruff":
        packages += [f"my-{kind}/tests" for kind in KINDS]
    else:
        command = [*command, f"--cache-dir={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-m", *command, *packages], cwd=written, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-cloak").mkdir()
    (tmp_path / "file").write_text("mine")
    for into, message in {
        "my-cloak": "my-cloak: is there already, and nothing in it is overwritten; choose another with --into",
        "file/my-cloak": "file: expected a folder, found a file; choose another place with --into",
    }.items():
        done = new("defense", "my-cloak", "--into", into)
        assert (done.exit_code, done.stderr) == (2, f"Error: {message}\n")
    assert files_of(tmp_path) == {"file": b"mine"}
    assert new("defense", "my-cloak", "--into", "another/place").exit_code == 0
    assert (tmp_path / "another" / "place" / "my_cloak").is_dir()


@pytest.mark.parametrize("into", ["a\nb", "a\tb", "a\x1b[2Kb", "a\u202eb", "\u200b"])
def test_a_folder_whose_name_cannot_be_printed_is_not_made(tmp_path: Path, into: str) -> None:
    done = new("defense", "my-cloak", "--into", tmp_path / into)
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: --into: expected a folder whose name can be printed, found ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_what_is_interrupted_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Any) -> None:
    """A process that is killed leaves no half of the folder either: it gets its name when all files are written."""
    real, seen = Path.write_text, []

    def write(path: Path, *args: Any, **more: Any) -> int:
        seen.append((tmp_path / "mine").exists())
        if len(seen) == 3:
            raise error
        return real(path, *args, **more)

    monkeypatch.setattr(Path, "write_text", write)
    done = new("defense", "my-cloak", "--into", tmp_path / "mine")
    assert done.exit_code != 0
    assert seen == [False] * 3
    assert list(tmp_path.iterdir()) == []


def test_the_current_folder_is_there_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for into in (".", "..", str(tmp_path)):
        assert "is there already" in new("defense", "my-cloak", "--into", into).stderr


FORM = "expected lower-case letters and digits in words joined by hyphens, at most 40 characters; write"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("My_Cloak", f"{FORM} my-cloak"),
        ("1st", f"{FORM} st"),
        ("-x", ""),
        ("../evil", f"{FORM} evil"),
        ("a" * 41, f"{FORM} {'a' * 40}"),
        ("ünder", f"{FORM} nder"),
        ("§", f"{FORM} my-cloak"),
        ("", f"{FORM} my-cloak"),
        ("class", "found one that Python itself uses"),
        ("json", "found one that Python itself uses"),
        ("numpy", "found the installed package numpy"),
        ("face-privacy-bench", "found the installed package face-privacy-bench"),
        ("noise", "found the defense 'noise' (bench info noise)"),
        ("zoo", "found the plugin 'zoo' of face-privacy-bench"),
        ("bench-noise", "found the module bench_noise, which can be imported here"),
    ],
)
def test_a_bad_name_gives_one_error(name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = new("defense", name)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_kind_gives_the_list() -> None:
    done = new("defence", "my-cloak")
    assert done.exit_code == 2
    assert "expected one of defense, attack, model, dataset, metric, found 'defence'" in done.stderr


def test_every_suite_can_be_planned_without_skipped_cells(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in KINDS:
        install(written / f"my-{kind}", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    discover.cache_clear()
    try:
        registry = discover()
        for kind in KINDS:
            suite = load(written / f"my-{kind}" / "suite.toml", registry)
            plan = make_plan(suite, registry, "cpu")
            assert plan.cells
            assert not [cell.skip for cell in plan.cells if cell.skip]
            used = {c.name for stage in plan.stages.values() for group in stage.components.values() for c in group}
            assert f"my-{kind}" in used
    finally:
        discover.cache_clear()
        for name in [name for name in sys.modules if name.partition(".")[0] in {f"my_{kind}" for kind in KINDS}]:
            del sys.modules[name]

"""The contract is documented and tested: every hook, every declaration, every command."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from pathlib import Path

import pytest

import bench
from bench.api import hookspecs
from bench.api.context import Context
from bench.api.datasets import Dataset, TrainingSet
from bench.api.defense import Defense
from bench.api.hookspecs import Attack, Model
from bench.api.metric import Metric
from bench.cli import main
from bench.registry.discovery import KINDS

ROOT = Path(__file__).parent.parent
GUIDE = [ROOT / "docs" / "plugins.md", *sorted((ROOT / "docs" / "plugins").glob("*.md"))]
PLUGINS = "\n".join(page.read_text(encoding="utf-8") for page in GUIDE)
# Quoted in the walks of the architecture, but no definitions of the file that is named.
COLUMNS_AND_PARAMETERS = {
    "pool",
    "pmt",
    "params",
    "score",
    "cos_self",
    "cos_cross",
    "same",
    "fold",
    "kappa_calibrated",
    "Component",
}
HOOKS = sorted(n for n, f in inspect.getmembers(hookspecs, inspect.isfunction) if hasattr(f, "bench_spec"))
# The hooks that only register components are tested by every suite that uses these; the others by a test of that name.
REGISTERED_IN_SUITES = {hook for kind, (hook, _) in KINDS.items() if kind != "training_set"}


def test_there_are_hooks() -> None:
    assert len(HOOKS) >= 7
    assert {hook for hook, _ in KINDS.values()} <= set(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented(hook: str) -> None:
    function = getattr(hookspecs, hook)
    assert inspect.getdoc(function)
    assert f"| `{hook}` |" in PLUGINS
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty


@pytest.mark.slow
@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_exercised(hook: str) -> None:
    toy = ast.parse((ROOT / "tests" / "toy_plugin" / "bench_toy" / "__init__.py").read_text())
    assert hook in {node.name for node in ast.walk(toy) if isinstance(node, ast.FunctionDef)}
    if hook in REGISTERED_IN_SUITES:
        return
    tests = [
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    ]
    assert f"test_hook_{hook}" in tests


@pytest.mark.parametrize("base", [Attack, Dataset, Defense, Metric, Model, TrainingSet])
def test_every_declaration_and_method_is_documented(base: type) -> None:
    assert inspect.getdoc(base)
    for name, value in vars(base).items():
        if name.startswith("_"):
            continue
        if inspect.isfunction(value):
            assert inspect.getdoc(value), f"{base.__name__}.{name}"
        if base is not TrainingSet:
            assert name in PLUGINS, f"{base.__name__}.{name} is in no page of the guide"


def test_what_the_context_gives_is_documented() -> None:
    for name, value in vars(Context).items():
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
            assert inspect.getdoc(value), name
            assert f"ctx.{name}" in PLUGINS, name


def test_what_plugin_authors_import_is_exported() -> None:
    assert len(set(bench.__all__)) == len(bench.__all__)
    for name in bench.__all__:
        assert getattr(bench, name) is not None


def test_every_public_name_is_in_the_guide() -> None:
    section = PLUGINS.split("## What to import")[1].split("\n## ")[0]
    assert [name for name in bench.__all__ if f"`{name}`" not in section] == []


def test_the_example_in_the_guide_is_the_sample_plugin() -> None:
    """The code block of docs/plugins.md compiles and declares what tests/sample_plugin does."""
    block = PLUGINS.split("```python")[1].split("```")[0]
    names = {node.name for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    assert names == {"Pixelate", "protect", "bench_defenses"}


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in main.commands:
        assert f"bench {name}" in readme or f"| {name}" in readme, name


def test_the_readme_starts_with_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.index("make paper") < readme.index("make test") < readme.index("\n## ")


@pytest.mark.slow
def test_the_built_in_plugins_are_entry_points_like_any_others() -> None:
    entries = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["bench"]
    for path in (ROOT / "bench").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in imported:
                assert module.partition(".")[0] not in entries.values(), f"{path.name} imports {module}"


def test_the_walks_of_the_architecture_name_what_exists() -> None:
    """Every file and every name in the two walks exists, and a name is defined in the file that was named last."""
    text = (ROOT / "docs" / "design" / "architecture.md").read_text(encoding="utf-8")
    walks = text[text.index("## Be a parameter") : text.index("## Where do I find")]
    checked = 0
    for walk in walks.split("## ")[1:]:
        defined: set[str] = set()
        for step in re.split(r"\n(?=\d+\. )", walk)[1:]:
            for quoted in re.findall(r"`([^`\n]+)`", step):
                if quoted.endswith(".py"):
                    tree = ast.parse((ROOT / quoted).read_text(encoding="utf-8"))
                    kinds = (ast.FunctionDef, ast.ClassDef)
                    defined = {node.name for node in ast.walk(tree) if isinstance(node, kinds)}
                elif re.fullmatch(r"_?[A-Za-z]\w*", quoted) and quoted not in COLUMNS_AND_PARAMETERS:
                    assert quoted in defined, (step, quoted)
                    checked += 1
    assert checked > 40
    assert all((ROOT / path).exists() for path in re.findall(r"`((?:bench|plugins)/[\w/.]+)`", text))

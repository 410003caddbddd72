"""The page of defenses lists every defense that comes with bench, with the goal and the parameters that it has."""

from __future__ import annotations

import dataclasses
import importlib
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from bench.api.defense import Defense

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "defenses.md").read_text(encoding="utf-8")
CELLS = ("defense", "what it does", "paper", "parameters", "goal", "bound")


def shipped() -> dict[str, type[Defense]]:
    """Every defense that a built-in plugin registers, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    modules = map(importlib.import_module, project["entry-points"]["bench"].values())
    return {name: cls for module in modules for name, cls in getattr(module, "bench_defenses", dict)().items()}


def rows() -> dict[str, dict[str, str]]:
    """The rows of all tables of the page, by the name of the defense and the heading of the column."""
    lines = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in PAGE.splitlines() if line[:3] == "| `"]
    names = [cells[0].strip("`") for cells in lines]
    assert len(set(names)) == len(names), "a defense is listed twice"
    return {name: dict(zip(CELLS, cells, strict=True)) for name, cells in zip(names, lines, strict=True)}


DEFENSES = shipped()


def test_every_defense_that_comes_with_bench_is_listed_and_no_other() -> None:
    assert len(DEFENSES) >= 22
    assert set(rows()) == set(DEFENSES)


def default_of(cls: type[Defense], name: str) -> Any:
    """The default of a parameter as a suite would write it."""
    value = next(f.default for f in dataclasses.fields(cls) if f.name == name)
    if isinstance(value, Path):
        return str(value) if value.parts else ""
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("name", sorted(DEFENSES))
def test_a_row_says_what_the_defense_is(name: str) -> None:
    row, cls = rows()[name], DEFENSES[name]
    assert all(row.values())
    parameters = {f.name for f in dataclasses.fields(cls)}
    assert row["goal"] == ("the parameter" if "goal" in parameters else f"`{cls.goal}`")
    quoted = [text for text in re.findall(r"`([^`]+)`", row["parameters"]) if not text.startswith("bench info ")]
    named = set()
    for text in quoted:
        if " = " in text:
            ((key, value),) = tomllib.loads(text).items()
            assert value == default_of(cls, key), text
            named.add(key)
        elif text in parameters:
            assert default_of(cls, text) is dataclasses.MISSING, f"{text} has a default"
            named.add(text)
        else:
            assert text in DEFENSES, f"{text} is no parameter"
    if f"`bench info {name}`" not in row["parameters"]:
        assert named == parameters
    elif more := re.search(r"and (\d+) more", row["parameters"]):
        assert len(named) + int(more.group(1)) == len(parameters)


@pytest.mark.parametrize("name", sorted(DEFENSES))
def test_a_row_says_whether_there_is_a_bound(name: str) -> None:
    assert (DEFENSES[name].bound is not Defense.bound) == (not rows()[name]["bound"].startswith("none"))


@pytest.mark.slow
def test_the_example_writes_pictures_that_external_images_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from bench_external import ExternalImages

    from bench import Context
    from bench.testing import protect_checked

    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = {}
    exec(PAGE.split("```python")[1].split("```")[0].replace("evaluation(16,", "evaluation(2,"), made)
    faces = made["faces"]
    images = torch.from_numpy(faces.images[:]).float() / 255
    ctx = Context(device=torch.device("cpu"), seed=0, sample_ids=list(map(str, faces.sample_ids)))
    out = protect_checked(ExternalImages(folder=tmp_path / "originals"), torch.zeros_like(images), ctx).images
    assert out is not None
    assert torch.allclose(out, images, atol=1e-6)

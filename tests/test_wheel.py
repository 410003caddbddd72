"""The built wheel: what is in it, and that it works where there is no checkout."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support import TESTS, environment

ROOT = TESTS.parent
PLUGINS = sorted(path.name for path in (ROOT / "plugins").glob("*/bench_*"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built without an index."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def files(wheel: Path) -> set[str]:
    """The names of the files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs ``bench`` in a folder, from a virtual environment of its own that has the wheel and
    sees the other packages of this one."""
    home = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True, capture_output=True)
    site = home / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "others.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")

    def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        command = [str(home / "bin" / "python"), "-P", "-m", "bench", *arguments]
        return subprocess.run(command, cwd=cwd, env=environment([], {}), capture_output=True, text=True, timeout=600)

    return run


def test_every_plugin_is_in_it_with_its_types(files: set[str]) -> None:
    assert len(PLUGINS) > 20
    wanted = [f"{name}/{file}" for name in ("bench", *PLUGINS) for file in ("__init__.py", "py.typed")]
    assert [name for name in wanted if name not in files] == []


def test_suites_guides_and_the_sample_plugin_are_in_it(files: set[str]) -> None:
    wanted = [f"bench/suites/{path.name}" for path in (ROOT / "suites").glob("*.toml")]
    pages = [path for path in (ROOT / "docs").glob("*.md") if path.name != "index.md"]
    wanted += [f"bench/guides/{path.name}" for path in (*pages, ROOT / "SECURITY.md")]
    wanted += [f"bench/guides/plugins/{path.name}" for path in (ROOT / "docs" / "plugins").glob("*.md")]
    sample = TESTS / "sample_plugin"
    wanted += [f"bench/guides/sample_plugin/{name}" for name in ("README.md", "pyproject.toml")]
    wanted += [f"bench/guides/sample_plugin/{path.relative_to(sample)}" for path in sample.rglob("*.py")]
    assert len(wanted) > 30
    assert [name for name in wanted if name not in files] == []


def test_reference_runs_are_in_it(files: set[str]) -> None:
    shipped = [path for path in (ROOT / "bench" / "reference").rglob("*") if path.is_file()]
    assert [path for path in shipped if path.relative_to(ROOT).as_posix() not in files] == []


def test_it_has_its_license_and_nothing_of_the_checkout_alone(files: set[str]) -> None:
    assert [name for name in files if name.endswith(".dist-info/licenses/LICENSE")]
    roots = {name.partition("/")[0] for name in files}
    assert {root for root in roots if not root.endswith(".dist-info")} == {"bench", *PLUGINS}
    # In a reference run, "images" is the table of the image metrics.
    others = [name for name in files if not name.startswith("bench/reference/")]
    assert [name for name in others if "/design/" in name or "/images/" in name] == []
    assert [name for name in files if "__pycache__" in name] == []


@pytest.mark.slow
def test_it_works_without_a_checkout(
    installed: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """What a new user types first, from the wheel alone."""
    where = installed("plugins", "--json", cwd=tmp_path)
    assert where.returncode == 0, where.stderr
    assert str(ROOT) not in where.stdout
    guide = installed("guide", "installation", cwd=tmp_path)
    assert guide.stdout == (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")
    assert installed("init", "mine", cwd=tmp_path).returncode == 0
    done = installed("run", "mine/suite.toml", "--pairs", "8", "--device", "cpu", "--workers", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = tmp_path / "reports" / "mine" / "index.html"
    page.unlink()
    assert installed("report", "mine", cwd=tmp_path).returncode == 0
    assert page.is_file()
    plan = installed("plan", "quick", "--device", "cpu", cwd=tmp_path)
    assert plan.returncode == 0, plan.stderr
    assert str(ROOT) not in plan.stdout

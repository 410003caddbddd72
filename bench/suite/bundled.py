"""The suites that come with bench, and what a suite on the command line means: a path, or the name of one of these."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.core.errors import SuiteError, did_you_mean

_PACKAGE = Path(__file__).parent.parent


def published() -> Mapping[str, Path]:
    """The suites that come with bench, by name: those inside the installed package, or those of the checkout."""
    installed = _PACKAGE / "suites"
    folder = installed if installed.is_dir() else _PACKAGE.parent / "suites"
    if folder.is_relative_to(Path.cwd()):  # records and reports then say nothing of where the checkout is
        folder = folder.relative_to(Path.cwd())
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find_suite(given: Path) -> Path:
    """The suite file that is meant: what there is at this path, else ``NAME.toml`` here, else a published one.

    What is written as a path is left as it is, for whoever reads it to say that nothing is there. Raises `SuiteError`
    for a name that there is not, and for a folder that has the name of a published suite.
    """
    name = str(given)
    if given.is_file() or given.name != name or given.suffix == ".toml":
        return given
    known = published()
    if given.is_dir():
        if name in known:
            raise SuiteError(f"{name}: expected a suite, found a folder; the suite of this name is {known[name]}")
        return given
    here = given.with_name(f"{name}.toml")
    if here.is_file():
        return here
    if name in known:
        return known[name]
    hint, listed = did_you_mean(name, known), ", ".join(known) or "none"
    raise SuiteError(
        f"{name}: expected a suite file or the name of a published suite ({listed}), found neither; "
        + (f"{hint} " if hint.startswith("did") else "")
        + "bench init DIR begins one of your own"
    )

"""The suites that are published with bench, their versions, and the suite file that a command line argument means."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.core.errors import SuiteError, did_you_mean
from bench.core.parsing import parse_toml

_PACKAGE = Path(__file__).parent.parent


def published() -> Mapping[str, Path]:
    """Return the published suites by name: those in the installed package, or else those of the checkout."""
    installed = _PACKAGE / "suites"
    folder = installed if installed.is_dir() else _PACKAGE.parent / "suites"
    if folder.is_relative_to(Path.cwd()):  # A relative path keeps the place of the checkout out of records and reports.
        folder = folder.relative_to(Path.cwd())
    return {path.stem: path for path in sorted(folder.glob("*.toml"), key=lambda path: path.stem)}


def check_standard(version: str | None) -> None:
    """Raise `SuiteError` unless a text is the version of a published suite or of a reference run, or None."""
    if version is None:
        return
    from bench.store.reference import FOLDERS, find_reference  # It imports pyarrow, which help does not need.

    heads = [parse_toml(path.read_text(encoding="utf-8")).get("suite", {}) for path in published().values()]
    known = [head["version"] for head in heads if "version" in head]
    if version in known or find_reference(version) is not None:
        return
    hint = did_you_mean(version, known)
    raise SuiteError(
        f"suite.standard: expected the version of a published suite ({', '.join(known)}) or of a reference run in "
        f"${FOLDERS}, found {version!r}; " + (hint if hint.startswith("did") else "correct it, or remove it")
    )


def find_suite(suite: Path) -> Path:
    """Return the file of a suite that is named on the command line.

    That is the file at this path, else ``NAME.toml`` in the current folder, else the published suite ``NAME``. Anything
    that is written as a path is returned unchanged, whether or not it exists. Raise `SuiteError` for an unknown name,
    and for a folder with the name of a published suite.
    """
    name = str(suite)
    if suite.is_file() or suite.name != name or suite.suffix == ".toml":
        return suite
    known = published()
    if suite.is_dir():
        if name in known:
            raise SuiteError(f"{name}: expected a suite, found a folder; the suite of this name is {known[name]}")
        return suite
    here = suite.with_name(f"{name}.toml")
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

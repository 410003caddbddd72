"""The provenance of results: versions of packages, commit, digests of code and files, machine.

These are recorded in ``run.json``, and `runtime_digest` is part of every content key. Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.core.errors import DataError
from bench.core.packages import DISTRIBUTION
from bench.core.processes import lines_of
from bench.core.stamps import file_stamp, is_settled

_PACKAGE = Path(__file__).resolve().parent.parent  # the folder of the package ``bench``
VERSION = "0.1.0"  # the version of bench itself, the same as in pyproject.toml
PACKAGES = (
    DISTRIBUTION,
    "torch",
    "numpy",
    "scikit-image",
    "scipy",
    "lpips",
    "pandas",
    "pyarrow",
    "safetensors",
)
# Besides the plugins, two things decide the bytes of an artifact: the code in these folders and modules of the package
# ``bench``, and the versions of the numeric packages. A test fails when a listed module imports one that is not listed.
# Code that only makes scores is listed apart: when it changes, pictures, trainings and embeddings stay as they are.
HASHED_CODE = (
    "core",
    "api",
    "metrics",
    "registry/discovery.py",
    "registry/sources.py",
    "store/artifact_forms.py",
    "store/artifacts.py",
    "store/schema.py",
    "stages",
    "engine/isolation.py",
)
SCORE_CODE = (
    "metrics",
    "stages/attribute_scores.py",
    "stages/columns.py",
    "stages/image_metrics.py",
    "stages/link_scores.py",
    "stages/people.py",
    "stages/scoring.py",
    "stages/verification.py",
    "store/schema.py",
)
NUMERIC_PACKAGES = ("torch", "numpy", "scipy", "scikit-image", "lpips")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.lru_cache(maxsize=256)
def _remembered_sha256(path: Path, stamp: tuple[int, ...]) -> str:
    return _sha256(path)


_hashed: set[Path] | None = None  # None unless `hashed_files` collects.


@contextlib.contextmanager
def hashed_files() -> Iterator[set[Path]]:
    """Collect the paths that the body of ``with`` gives to `file_sha256`, also those whose digests are cached."""
    global _hashed
    before, _hashed = _hashed, set()
    try:
        yield _hashed
    finally:
        _hashed = before


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file as 64 hexadecimal digits. Raise `DataError` if the file cannot be read.

    The digest is cached per process until the file changes (see `bench.core.stamps.file_stamp`).
    """
    if _hashed is not None:
        _hashed.add(path)
    try:
        if not path.is_file():
            raise DataError(f"{path}: expected a readable file, found {_other_kind(path)}")
        stamp = file_stamp(path)
        return _remembered_sha256(path, stamp) if is_settled(stamp) else _sha256(path)
    except OSError as error:
        raise DataError(f"{path}: expected a readable file: {error.strerror}") from None


def _other_kind(path: Path) -> str:
    """Say what a path is that is no file. A pipe or a device is never opened, because reading it may not end."""
    return "a folder" if path.is_dir() else "a pipe or a device" if path.exists() else "none"


def package_versions() -> dict[str, str]:
    """Return the installed versions of the packages that results depend on, by name; ``missing`` if not installed."""
    return dict(_versions(PACKAGES))


@functools.cache
def _versions(names: tuple[str, ...]) -> dict[str, str]:
    """Look versions up once per process: reading package metadata takes longer than computing a small stage."""
    from importlib.metadata import PackageNotFoundError, version  # See `bench.core.packages`.

    def version_or_missing(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "missing"

    return {name: version_or_missing(name) for name in names}


@functools.cache
def runtime_digest(*, scores: bool = True) -> str:
    """Return the digest of the host's code that decides artifacts and of the versions of the numeric packages.

    It is part of every content key, so that an artifact is never reused after such code has changed. ``scores=False``
    leaves out the code that only makes scores (`SCORE_CODE`), on which no other artifact depends.
    """
    digest = hashlib.sha256()
    for name, sha256 in host_digests().items():
        if scores or not makes_scores(name):
            digest.update(f"{name}={sha256}\n".encode())
    versions = package_versions()
    digest.update("|".join(f"{name}={versions[name]}" for name in NUMERIC_PACKAGES).encode())
    return digest.hexdigest()


def makes_scores(name: str) -> bool:
    """Whether a hashed module, by its path relative to the folder ``bench/``, only makes scores."""
    return any(name == listed or name.startswith(f"{listed}/") for listed in SCORE_CODE)


def host_digests() -> dict[str, str]:
    """Return the sha256 of every module in `HASHED_CODE`, by its path relative to the folder ``bench/``."""
    files: list[Path] = []
    for name in HASHED_CODE:
        path = _PACKAGE / name
        files += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return {path.relative_to(_PACKAGE).as_posix(): file_sha256(path) for path in files}


def device_name(device: str) -> str:
    """Return the name of the hardware behind a device type on this machine.

    For ``cpu`` it is the processor; for any other type the names of the GPUs that the driver lists, or ``unknown``.
    """
    if device == "cpu":
        return _processor()
    names = lines_of(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], 20) or []
    return ", ".join(sorted({name.strip() for name in names if name.strip()})) or "unknown"


def git_commit() -> str | None:
    """Return the git commit that bench runs from, with ``+dirty`` if tracked files were changed.

    None outside a git checkout, and when git cannot be run.
    """
    root = _PACKAGE.parent
    if not (root / ".git").exists():
        return None
    commit = lines_of(["git", "rev-parse", "HEAD"], 10, cwd=root)
    changed = lines_of(["git", "status", "--porcelain", "--untracked-files=no"], 10, cwd=root)
    if not commit or changed is None:
        return None
    return f"{commit[0]}+dirty" if changed else commit[0]


def machine() -> dict[str, Any]:
    """Describe this machine: platform, processor, number of cores, Python version."""
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

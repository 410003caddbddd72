"""Where results come from: versions, commit, hashes, machine. No torch import."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.core.errors import DataError

_PACKAGE = Path(__file__).resolve().parent.parent  # the folder of the package ``bench``
VERSION = "0.1.0"  # of bench itself, as in pyproject.toml
PACKAGES = (
    "face-privacy-bench",
    "torch",
    "numpy",
    "scikit-image",
    "scipy",
    "lpips",
    "pandas",
    "pyarrow",
    "safetensors",
)
# What decides the bytes of an artifact besides the plugins: the host's code in these folders and modules of the package
# ``bench``, and the versions of the numeric packages. A test fails when one of them imports a module that is not
# listed.
HASHED_CODE = (
    "core",
    "api",
    "metrics",
    "registry/discovery.py",
    "store/artifacts.py",
    "stages",
    "engine/isolation.py",
)
NUMERIC_PACKAGES = ("torch", "numpy", "scipy", "scikit-image", "lpips")


@functools.lru_cache(maxsize=256)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_sha256(path: Path) -> str:
    """The sha256 of a file; `DataError` when it cannot be read. Remembered while size and time stay the same."""
    try:
        stat = path.stat()
        return _sha256(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise DataError(f"{path}: expected a readable file: {error.strerror}") from None


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that results depend on; ``missing`` where one is not installed."""
    return dict(_versions(PACKAGES))


@functools.cache
def _versions(names: tuple[str, ...]) -> dict[str, str]:
    """Looked up once: reading the metadata of packages takes longer than a small stage."""

    def one(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "missing"

    return {name: one(name) for name in names}


@functools.cache
def runtime_digest() -> str:
    """Digest of the host's own stage code and of the numeric packages' versions; part of every content key."""
    digest = hashlib.sha256()
    for name, sha256 in host_digests().items():
        digest.update(f"{name}={sha256}\n".encode())
    versions = package_versions()
    digest.update("|".join(f"{name}={versions[name]}" for name in NUMERIC_PACKAGES).encode())
    return digest.hexdigest()


def host_digests() -> dict[str, str]:
    """The sha256 of every module of the host that decides the bytes of an artifact, by its path in ``bench/``."""
    files: list[Path] = []
    for name in HASHED_CODE:
        place = _PACKAGE / name
        files += sorted(place.rglob("*.py")) if place.is_dir() else [place]
    return {path.relative_to(_PACKAGE).as_posix(): file_sha256(path) for path in files}


def device_name(device: str) -> str:
    """What a device type is here: the processor, or the names of the GPUs as the driver lists them. No torch."""
    if device == "cpu":
        return _processor()
    try:
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        names = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return ", ".join(sorted({name.strip() for name in names if name.strip()})) or "unknown"


def git_commit() -> str | None:
    """The commit of the checkout that bench runs from, ``+dirty`` when files differ; none outside a checkout."""
    root = _PACKAGE.parent
    if not (root / ".git").exists():
        return None
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+dirty" if dirty else commit


def machine() -> dict[str, Any]:
    """The machine in words: platform, processor, cores, Python."""
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

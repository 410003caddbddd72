"""The card of a model: computed once and kept as JSON.

A process that has not imported torch starts another one for the computation, so that planning stays fast:
``python -m bench_facenets.checks.probe RESULT`` reads a request from stdin and writes the card, or one error, to
RESULT.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench
from bench import (
    BenchError,
    DataError,
    StorageError,
    cache_folder,
    digest_of,
    file_sha256,
    file_stamp,
    is_settled,
    registered,
    write_atomically,
)
from bench_facenets.files.card import Card, from_json

if TYPE_CHECKING:
    from bench_facenets.parameters import NetworkParameters

PACKAGE = Path(__file__).parents[1]  # The folder of bench_facenets.
TIME_LIMIT = 600  # The seconds that loading and checking a network may take.


def card(model: NetworkParameters, *, fresh: bool = False) -> Card:
    """Return the card of a model: the kept one (unless ``fresh``), else a new one, which is kept.

    Raises BenchError if the network cannot be loaded or fails its self-check.
    """
    path = place(model)
    if not fresh and (kept := kept_card(path)) is not None:
        return kept
    _announce(model)
    made = _here(model) if "torch" in sys.modules else _elsewhere(model)
    _keep(path, made)
    return made


def _announce(model: NetworkParameters) -> None:
    """Say on stderr which network is being loaded: it takes from some seconds to minutes, once for each file."""
    name = next((name for name, cls in registered("model").items() if cls is type(model)), type(model).__name__)
    text = f"loading and checking the network {name} from {model.weights()} (once for this file; up to some minutes)"
    print(bench.printable(text), file=sys.stderr, flush=True)


def place(model: NetworkParameters) -> Path:
    """Return the file of a model's card. Its name is a digest of everything that decides the card."""
    packages = {name: _version(name) for name in ("torch", "onnx", "onnx2torch", "onnxruntime")}
    decides = {
        "class": _class_name(model),
        "params": parameters(model),
        "weights": model.fingerprint(),
        "code": {package: _code_digest(package) for package in _packages_of(type(model))},
        "packages": packages,
    }
    return cache_folder() / "models" / f"{digest_of(decides)}.json"


def kept_card(path: Path) -> Card | None:
    """Return the card in a file; None if the file is missing or damaged, so that the card is computed again."""
    try:
        stamp = file_stamp(path)
        return _remembered(path, stamp) if is_settled(stamp) else _read(path)
    except (OSError, ValueError):
        return None


@functools.lru_cache(maxsize=64)
def _remembered(path: Path, _stamp: tuple[int, ...]) -> Card:
    return _read(path)


def _read(path: Path) -> Card:
    return from_json(path.read_text(encoding="utf-8"))


def parameters(model: NetworkParameters) -> dict[str, Any]:
    """Return the suite parameters of a model."""
    return {f.name: getattr(model, f.name) for f in dataclasses.fields(model)}


def _class_name(model: NetworkParameters) -> str:
    return f"{type(model).__module__}:{type(model).__qualname__}"


def _packages_of(cls: type) -> list[str]:
    """Return this package, and those of a class and of its base classes outside bench, which decide its images."""
    found = {base.__module__.partition(".")[0] for base in cls.__mro__} - {"bench", *sys.stdlib_module_names}
    return sorted(found | {PACKAGE.name})


@functools.cache
def _code_digest(package: str) -> str:
    """Return a digest of the source code of a package or module that is imported."""
    module = sys.modules[package]
    places = [Path(place) for place in getattr(module, "__path__", ())] or [Path(str(module.__file__))]
    files = [(place, file) for place in places for file in (sorted(place.rglob("*.py")) if place.is_dir() else [place])]
    return digest_of([[str(file.relative_to(place)), file_sha256(file)] for place, file in files])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _keep(path: Path, card: Card) -> None:
    try:
        write_atomically(path, card.to_json())
    except StorageError as error:
        raise StorageError(
            f"{error}; the card of a network is kept there: set XDG_CACHE_HOME to a folder that can be written"
        ) from None


def _here(model: NetworkParameters) -> Card:
    from bench_facenets.loading.build import examine

    return examine(model)[1]


# ---- a process of its own --------------------------------------------------------------------------------------------


def _elsewhere(model: NetworkParameters) -> Card:
    """Compute the card in a child process, so that planning does not import torch. Raises BenchError."""
    request = json.dumps({"class": _class_name(model), "params": parameters(model)})
    where = model.weights()
    with tempfile.TemporaryDirectory(prefix="bench-probe-") as folder:
        result = Path(folder) / "result.json"
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "bench_facenets.checks.probe", str(result)],
                input=request,
                encoding="utf-8",
                errors="replace",
                capture_output=True,
                timeout=TIME_LIMIT,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(_import_path())},
            )
        except subprocess.TimeoutExpired:
            raise DataError(
                f"{where}: not loaded and checked after {TIME_LIMIT} s; is the network too large?"
            ) from None
        if not result.is_file():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise DataError(f"{where}: the process that looks at the network ended with code {done.returncode}: {last}")
        answer = json.loads(result.read_text(encoding="utf-8"))
    if "error" in answer:
        raise getattr(bench, answer["error"])(answer["message"])
    return from_json(answer["card"])


def _import_path() -> list[str]:
    """Return the folders from which this process imports, without the working folder: files of the user that happen to
    be called like a module, such as ``statistics.py``, must not be imported. PYTHONPATH may still name it."""
    named = {os.path.realpath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry}
    here = os.path.realpath(os.curdir)
    return [entry for entry in sys.path if entry and (os.path.realpath(entry) != here or here in named)]


def main(result: Path, request: str) -> None:
    """Write the answer to a request: the card, or the kind and message of the error."""
    wanted = json.loads(request)
    module, _, name = wanted["class"].partition(":")
    cls = getattr(importlib.import_module(module), name)
    try:
        answer = {"card": _here(cls(**{k: _tuples(v) for k, v in wanted["params"].items()})).to_json()}
    except BenchError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    write_atomically(result, json.dumps(answer))


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.stdin.read())

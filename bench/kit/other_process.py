"""Calls a component in a new Python process, as another worker would: it gets what was learnt from the cache.

The process has another hash seed, and nothing that earlier calls have left in modules.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.core.content_keys import canonical
from bench.core.errors import error_text
from bench.core.processes import python, run
from bench.kit.findings import BrokenError, NotAskedError
from bench.kit.targets import Target
from bench.stages.comparison import Results

_SECONDS = 300.0
STATE_KEY = "0" * 64
"""The key of what was learnt, the only artifact in the cache of the kit."""


def results_elsewhere(target: Target, state: Path | None, work: Path) -> Results:
    """Return the results of all faces from a new process. ``state`` is the cache with what was learnt, None if nothing
    was. Raise `NotAskedError` if the class cannot be imported there, and `BrokenError` if it fails there."""
    cls = target.cls
    if "<locals>" in cls.__qualname__ or cls.__module__ == "__main__":
        raise NotAskedError(
            "the class is defined in a function or a script; another process can import it from a module"
        )
    request, answer = work / "request.json", work / "answer.npz"
    about = {
        "module": cls.__module__,
        "cls": cls.__qualname__,
        "kind": target.kind,
        "name": target.name,
        "params": canonical(target.params),
        "state": None if state is None else str(state),
        "path": [str(Path(entry or ".").resolve()) for entry in sys.path],
    }
    request.write_text(json.dumps(about), encoding="utf-8")
    environment = {**os.environ, "PYTHONHASHSEED": "20240229", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = python("-m", "bench.kit.other_process", str(request), str(answer))
    try:
        done = run(command, _SECONDS, env=environment)
    except subprocess.TimeoutExpired:
        raise BrokenError("the same result in another worker process", f"no result within {_SECONDS:.0f} s") from None
    if done.returncode or not answer.exists():
        last = (done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"])[-1]
        raise BrokenError("the same result in another worker process", f"it fails there: {last}")
    with np.load(answer, allow_pickle=False) as held:
        return {name: held[name] for name in held.files}


def main(request: str, answer: str) -> None:
    """Answer a request: the work of the new process."""
    about: dict[str, Any] = json.loads(Path(request).read_text(encoding="utf-8"))
    sys.path[:] = about["path"]
    from bench.engine.seeds import seed_streams
    from bench.kit import world
    from bench.kit.kinds import TRIALS
    from bench.registry.components import instantiate
    from bench.store.artifacts import Cache

    cls: Any = importlib.import_module(about["module"])
    for part in about["cls"].split("."):
        cls = getattr(cls, part)
    trial = TRIALS[about["kind"]](instantiate(cls, about["params"], about["name"]), about["name"])
    seed_streams(world.SEED + 1)
    trial.prepare()
    if about["state"] is not None:
        tensors = Cache(Path(about["state"]), only_read=True).read(STATE_KEY).tensors
        trial.state = {name: torch.from_numpy(np.array(values)) for name, values in tensors.items()}
    found: dict[str, Any] = dict(trial.results(np.arange(trial.n)))
    np.savez(answer, **found)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (Exception, SystemExit) as failure:
        sys.exit(" ".join(error_text(failure).split()))  # The last line of stderr says why.

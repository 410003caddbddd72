"""Real networks by one command, from the shell: fetched from a server of the test, listed, checked, and used in a run.

The library is a copy of the installed uniface whose table points to the server; its code is unchanged.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from bench_uniface import FETCHABLE
from support import Command, Done
from uniface_server import attribute_network, face_network, serving

found = importlib.util.find_spec("uniface")
if found is None or found.origin is None:
    pytest.skip("the extra real is not installed", allow_module_level=True)
LIBRARY = Path(found.origin).parent
CONTENTS = {
    "arcface-mnet": face_network(seed=1),
    "arcface-resnet": face_network(seed=2),
    "fairface": attribute_network(224, {"race": 7, "gender": 2, "age": 9}, seed=1),
    "age-gender": attribute_network(96, {"fc1": 3}, seed=2),
}
SUITE = """\
[suite]
name = "fetched"
data = "real"

[[experiment]]
name = "data-abuse"
table = "VII"
datasets = [{ plugin = "synth-lfw" }]
authorised = ["arcface-mnet"]
evaluated = ["arcface-mnet", "arcface-resnet"]
defenses = [{ plugin = "identity", label = "Clean" }, { plugin = "pmt", label = "PMT", steps = 3 }]
attacks = ["abuse", { plugin = "attributes", backend = "uniface" }]
pairs = 20

[[experiment]]
name = "features"
datasets = [{ plugin = "synth-lfw" }]
authorised = ["arcface-mnet"]
evaluated = ["arcface-mnet"]
defenses = [{ plugin = "identity", label = "Clean" }]
upload = "features"
split = "28x28"
attacks = [{ plugin = "inversion", label = "Inversion", steps = 2 }]
pairs = 20
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the copy of uniface."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(LIBRARY, folder / "uniface", ignore=shutil.ignore_patterns("__pycache__"))
    digests = {FETCHABLE[name].stem: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()}
    with serving(CONTENTS) as mirror, (folder / "uniface" / "constants.py").open("a", encoding="utf-8") as table:
        table.write(
            f"\n_DIGESTS, HF_MIRROR_URL = {digests!r}, '{mirror.url}/mirror'\n"
            "for _name in MODEL_REGISTRY:\n"
            f"    _url = f'{mirror.url}/releases/{{_name.value}}.onnx'\n"
            "    MODEL_REGISTRY[_name] = ModelInfo(url=_url, sha256=_DIGESTS.get(_name.value, '0' * 64))\n"
        )
        table.flush()
        yield folder


@pytest.fixture
def command(bench: Command, site: Path, tmp_path: Path) -> Callable[..., Done]:
    """Return a function that runs the command with the copy of uniface and an empty cache."""
    env = {"UNIFACE_CACHE_DIR": str(tmp_path / "models"), "XDG_CACHE_HOME": str(tmp_path / "cards")}
    return lambda *args: bench(*args, cwd=tmp_path, sites=[site], env=env)


def test_fetched_networks_and_estimators_are_used_like_all_others(command: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "fetched.toml").write_text(SUITE, encoding="utf-8")
    done = command("models", "fetch", "--paper", "fairface", "age-gender", "--yes")
    assert done.code == 0, done.err
    assert sorted(path.name for path in (tmp_path / "models").glob("[!.]*")) == [
        f"{FETCHABLE[name].stem}.onnx" for name in ("age-gender", "arcface-mnet", "arcface-resnet", "fairface")
    ]
    rows = {
        row["name"]: row for row in json.loads(command("models", "status", "--weights-dir", "models", "--json").out)
    }
    assert rows["arcface-mnet"]["status"]["where"] == str(tmp_path / "models" / "arcface_mnet.onnx")
    assert rows["arcface-mnet"]["license"].startswith("MIT (code); InsightFace publishes")
    assert rows["sphere20"]["status"]["missing"].endswith("Get it with: bench models fetch sphere20")
    assert rows["ir50-arcface"]["status"]["where"] == str(tmp_path / "models" / "arcface_resnet.onnx")
    done = command("models", "check", "models/arcface_mnet.onnx", "--as", "arcface-mnet")
    assert "self-check: embeddings, batches, gradients and split points are in order" in done.out

    done = command("run", "fetched.toml", "--device", "cpu", "--workers", "1", "--out", "out")
    assert done.code == 0, done.err
    (folder,) = (tmp_path / "out" / "results" / "fetched").iterdir()
    cells = pd.read_parquet(folder / "cells.parquet")
    assert set(cells["status"]) == {"ok"}, cells[["attack", "status", "reason"]].to_string()
    attributes = pd.read_parquet(folder / "samples" / "attributes")
    assert set(attributes["attribute"]) == {"age", "gender", "race"}


def test_what_the_server_does_not_have_is_one_error(command: Callable[..., Done], tmp_path: Path) -> None:
    done = command("models", "fetch", "sphere20", "--yes")
    assert done.code == 2
    assert done.err.startswith(f"Error: sphere20.onnx: could not be fetched into {tmp_path / 'models'}:\n")
    assert done.err.count("404 Client Error") == 2
    assert "Traceback" not in done.err
    assert not list((tmp_path / "models").glob("[!.]*"))
    (tmp_path / "fetched.toml").write_text(SUITE, encoding="utf-8")
    done = command("plan", "fetched.toml")
    assert done.code == 2
    assert "Get it with: bench models fetch arcface-resnet" in done.err
    assert "fairface: no weights" in done.err

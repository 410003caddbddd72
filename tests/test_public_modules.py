"""What plugins import: the public module, what it costs to import it, and the names it had before."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import bench

OLD = {
    "bench.contracts": ("Context", "Shallow", "protect_checked"),
    "bench.types": ("Faces", "Pairs", "Protected", "Component", "Outcome"),
    "bench.errors": ("BenchError", "ContractError", "did_you_mean", "in_words"),
    "bench.hookspecs": ("Attack", "Defense", "Network", "hookimpl", "PROJECT"),
    "bench.training": ("TrainingJob", "train_suite"),
    "bench.places": ("data_folders", "expand", "DATA"),
}


def test_every_public_name_exists() -> None:
    assert all(getattr(bench, name) is not None for name in bench.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        bench.nonsense  # noqa: B018


@pytest.mark.parametrize("module", OLD)
def test_an_old_name_still_works_and_warns(module: str) -> None:
    sys.modules.pop(module, None)
    with pytest.warns(DeprecationWarning, match=f"{module} is deprecated; import from bench instead"):
        found = importlib.import_module(module)
    for name in OLD[module]:
        assert hasattr(found, name), name
        if name in bench.__all__:
            assert getattr(found, name) is getattr(bench, name)


def test_the_context_is_imported_without_torch_or_pydantic() -> None:
    code = "import sys; from bench import Context; assert not {'torch', 'pydantic', 'pandas'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)

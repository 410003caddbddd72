"""The two reference defenses."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from bench_noise import Identity, Noise, bench_defenses
from pydantic import TypeAdapter, ValidationError

from bench.api.context import Context
from bench.api.defense import Defense
from bench.stages.contracts import protect_checked


def _protected(defense: Defense, images: torch.Tensor, ids: str) -> torch.Tensor:
    out = protect_checked(defense, images, _context(ids)).images
    assert out is not None
    return out


def _context(ids: str) -> Context:
    return Context(device=torch.device("cpu"), seed=7, sample_ids=list(ids))


def test_registration_without_torch() -> None:
    code = "import sys, bench_noise; print(sorted(bench_noise.bench_defenses()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['identity', 'noise'] False"
    for cls in bench_defenses().values():
        assert cls.needs == frozenset()
        assert cls().passes() == 0
        assert list(cls().splits(("stem",))) == []


def test_identity_returns_a_copy() -> None:
    images = torch.rand(2, 3, 8, 8)
    out = _protected(Identity(), images, "ab")
    assert torch.equal(out, images)
    assert out.data_ptr() != images.data_ptr()


def test_noise_has_the_asked_amplitude_around_the_face() -> None:
    images = torch.full((4, 3, 64, 64), 0.5)
    out = _protected(Noise(sigma=0.1), images, "abcd")
    assert float((out - 0.5).std()) == pytest.approx(0.1, rel=0.02)
    assert abs(float(out.mean()) - 0.5) < 0.003
    assert float(Noise().sigma) == 0.3


def test_noise_stays_in_range_and_zero_changes_nothing() -> None:
    images = torch.rand(3, 3, 16, 16)
    out = _protected(Noise(sigma=2.0), images, "abc")
    assert float(out.min()) == 0.0
    assert float(out.max()) == 1.0
    same = Noise(sigma=0.0).protect(images, _context("abc")).images
    assert same is not None
    assert torch.equal(same, images)


def test_noise_of_a_face_does_not_depend_on_its_batch() -> None:
    images = torch.rand(3, 3, 16, 16)
    whole = Noise().protect(images, _context("abc")).images
    alone = Noise().protect(images[2:], _context("c")).images
    assert whole is not None
    assert alone is not None
    assert torch.equal(whole[2:], alone)
    assert not torch.equal(whole[0], whole[1])


@pytest.mark.parametrize("sigma", [-0.1, 11.0, float("nan"), "much"])
def test_noise_refuses(sigma: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Noise).validate_python({"sigma": sigma})

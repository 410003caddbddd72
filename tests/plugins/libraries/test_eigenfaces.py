"""Eigenfaces of training faces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bench_eigenfaces import Eigenfaces, fitted

from bench import Context, ContractError, Faces


def _faces(images: np.ndarray) -> Faces:
    n = len(images)
    return Faces(images=images, subjects=np.arange(n), sample_ids=np.array([str(row) for row in range(n)]))


def _context(seed: int = 3) -> Context:
    return Context(device=torch.device("cpu"), seed=seed, plugin="defense tried")


IMAGES = torch.randint(0, 256, (30, 3, 5, 6), generator=torch.Generator().manual_seed(1)).byte().numpy()


def test_they_are_the_principal_components() -> None:
    state = fitted(_faces(IMAGES), 7, _context())
    flat = torch.from_numpy(IMAGES).double().div(255).flatten(1)
    _, sizes, rows = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
    assert torch.allclose(state["mean"].double(), flat.mean(0), atol=1e-6)
    # A component may point either way.
    assert torch.allclose((state["components"].double() @ rows[:7].T).abs(), torch.eye(7).double(), atol=1e-4)
    found = Eigenfaces.of_state(state).coefficients(torch.from_numpy(IMAGES).float() / 255)
    assert torch.allclose(found.double().norm(dim=0), sizes[:7], rtol=1e-4)
    assert torch.allclose(found.amin(0), state["low"], atol=1e-4)
    assert torch.allclose(found.amax(0), state["high"], atol=1e-4)


def test_all_components_give_the_picture_back() -> None:
    images = torch.from_numpy(IMAGES).float() / 255
    faces = Eigenfaces.of_state(fitted(_faces(IMAGES), 29, _context()))
    assert torch.allclose(faces.images(faces.coefficients(images), images), images, atol=1e-4)


def test_too_few_faces_are_one_error() -> None:
    expected = (
        r"defense tried: expected more training faces than components \(30\), found 30; set components to at most"
    )
    with pytest.raises(ContractError, match=expected):
        fitted(_faces(IMAGES), 30, _context())


def test_equal_faces_are_one_error() -> None:
    with pytest.raises(ContractError, match="defense tried: expected training faces that differ in 3 ways"):
        fitted(_faces(np.repeat(IMAGES[:2], 5, axis=0)), 3, _context())


def test_at_most_so_many_faces_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench_eigenfaces.MOST_FACES", 10)
    few = fitted(_faces(IMAGES), 4, _context())
    assert torch.equal(few["mean"], fitted(_faces(IMAGES), 4, _context())["mean"])
    assert not torch.allclose(few["mean"], torch.from_numpy(IMAGES).float().div(255).flatten(1).mean(0), atol=1e-3)

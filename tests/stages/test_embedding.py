"""One function makes checked embeddings of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.core.errors import ContractError
from bench.stages.embedding import embedded, unit_embeddings


def test_embeddings_have_length_1_and_are_float32() -> None:
    images = torch.tensor([[3.0, 4.0], [0.0, 2.0]], dtype=torch.float64)
    found = embedded(lambda x: x, images, 2, "model toy")
    assert found.dtype == torch.float32
    assert np.allclose(found.numpy(), [[0.6, 0.8], [0, 1]])


@pytest.mark.parametrize("made", [torch.full((2, 2), torch.nan), torch.zeros(2, 2), torch.ones(2, 3), None, [1, 2]])
def test_what_is_no_embedding_is_named(made: object) -> None:
    with pytest.raises(ContractError, match=r"^judge toy: "):
        embedded(lambda x: made, torch.ones(2, 3, 4, 4), 2, "judge toy")
    with pytest.raises(ContractError, match=r"^judge toy: "):
        unit_embeddings(made, 2, 2, "judge toy")

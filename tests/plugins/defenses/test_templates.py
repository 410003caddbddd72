"""Templates under the key of a service."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from bench_templates import KeyedTemplate
from bench_templates.sent import Template
from bench_templates.turning import orthogonal, turned, under_own_keys
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from bench import Capabilities, ContractError, Received, SuiteError, instantiate
from bench.api.context import Context
from bench.stages.contracts import protect_checked

FACES = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
WEIGHTS = torch.randn(192, 16, generator=torch.Generator().manual_seed(2))


class Tiny(torch.nn.Module):
    """A network whose embeddings have 16 numbers."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images - 0.5).flatten(1) @ WEIGHTS


def _context(ids: Sequence[str] = ()) -> Context:
    seen = Capabilities.of_defense(KeyedTemplate.needs, {"tiny": (Tiny(), ())})  # type: ignore[dict-item]
    return Context(device=torch.device("cpu"), seed=7, capabilities=seen, sample_ids=ids, plugin="defense tried")


def _template(defense: Template, images: torch.Tensor = FACES, ids: Sequence[str] = ()) -> torch.Tensor:
    return protect_checked(defense, images, _context(ids)).representation["template"]


def _recognised(defense: KeyedTemplate, template: torch.Tensor) -> torch.Tensor:
    return defense.recogniser(_context())(Received(representation={"template": template}))


def _cosines(vectors: torch.Tensor) -> torch.Tensor:
    unit = torch.nn.functional.normalize(vectors, dim=1)
    return unit @ unit.T


def test_registration_without_torch() -> None:
    code = "import sys, bench_templates as b; print(sorted(b.bench_defenses()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['keyed-template'] False"


def test_what_it_declares() -> None:
    defense = KeyedTemplate(size=16)
    assert (defense.goal, defense.own_recogniser, defense.recogniser_size) == ("template", True, 16)
    assert defense.representation() == {"template": (16,)}
    assert defense.bound() is None
    assert all((defense.promise, defense.trusts, defense.not_promised))


def test_templates_under_one_key_are_as_alike_as_embeddings() -> None:
    defense = KeyedTemplate(size=16, key=3)
    template = _template(defense)
    assert torch.allclose(_cosines(_recognised(defense, template)), _cosines(Tiny()(FACES)), atol=1e-5)
    assert torch.allclose(template.norm(dim=1), torch.ones(5), atol=1e-5)


def test_templates_under_different_keys_are_not_alike() -> None:
    """The cosine of two random directions among 16 has the standard deviation 1/4; the mean of 200 keys less."""
    own = _template(KeyedTemplate(size=16, key=0), FACES[:1])
    others = [_template(KeyedTemplate(size=16, key=key), FACES[:1]) for key in range(1, 201)]
    cosines = torch.stack([(own * other).sum() for other in others])
    assert abs(float(cosines.mean())) < 4 * 0.25 / 200**0.5
    assert float(cosines.std()) == pytest.approx(0.25, rel=0.2)


def test_a_face_does_not_depend_on_its_batch() -> None:
    defense = KeyedTemplate(size=16)
    assert torch.allclose(_template(defense)[1:2], _template(defense, FACES[1:2]), atol=1e-6)
    assert torch.equal(_template(defense), _template(defense))


def _linked(defense: KeyedTemplate) -> float:
    """How often the first template of a person is more alike to the second of the same person than to that of another,
    for 60 people whose two pictures differ a little."""
    generator = torch.Generator().manual_seed(4)
    people = torch.rand(60, 3, 8, 8, generator=generator)
    pictures = torch.cat([people, people + 0.1 * torch.rand(people.shape, generator=generator)]).clamp(0, 1)
    template = _recognised(defense, _template(defense, pictures, [f"face {row}" for row in range(120)]))
    cosines = F.normalize(template[:60], dim=1) @ F.normalize(template[60:], dim=1).T
    return float((cosines.diagonal()[:, None] > cosines)[~torch.eye(60, dtype=torch.bool)].float().mean())


@pytest.mark.parametrize("binary", [False, True])
def test_services_with_a_key_each_link_nobody_and_one_key_links_everybody(binary: bool) -> None:
    assert _linked(KeyedTemplate(size=16, binary=binary)) > 0.9
    # By chance it is 0.5, with a standard deviation of 0.29 / 60 ** 0.5 = 0.04; ties of bits cost some.
    assert abs(_linked(KeyedTemplate(size=16, binary=binary, across=True)) - 0.5) < 0.12


def test_a_key_of_its_own_does_not_depend_on_the_batch() -> None:
    defense = KeyedTemplate(size=16, across=True)
    ids = [f"face {row}" for row in range(5)]
    together = _template(defense, FACES, ids)
    assert torch.equal(together, _template(defense, FACES, ids))
    assert torch.allclose(together[2:4], _template(defense, FACES[2:4], ids[2:4]), atol=1e-6)
    assert torch.allclose(together.flip(0), _template(defense, FACES.flip(0), ids[::-1]), atol=1e-6)


def test_every_picture_has_another_key() -> None:
    keys: list[int] = []

    def transform(vector: torch.Tensor, key: int) -> torch.Tensor:
        keys.append(key)
        return vector + 1

    found = under_own_keys(torch.arange(80.0).view(40, 2), transform, _context([str(row) for row in range(40)]))
    assert torch.equal(found, torch.arange(80.0).view(40, 2) + 1)
    assert len(set(keys)) == 40
    assert all(0 <= key < 2**32 for key in keys)
    assert max(keys) > 2**30


def test_bits_are_the_signs() -> None:
    plain, bits = (_template(KeyedTemplate(size=16, key=5, binary=binary)) for binary in (False, True))
    assert torch.equal(bits, (plain > 0).float())
    equal = (bits[0] == bits[1]).float().mean()
    cosine = _cosines(_recognised(KeyedTemplate(size=16, binary=True), bits))[0, 1]
    assert float(cosine) == pytest.approx(2 * float(equal) - 1, abs=1e-6)


@given(size=st.integers(2, 40), key=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_the_matrix_is_orthogonal(size: int, key: int) -> None:
    matrix = orthogonal(size, key)
    assert torch.allclose(matrix @ matrix.T, torch.eye(size), atol=1e-5)


def test_another_length_of_embeddings_is_one_error() -> None:
    with pytest.raises(
        ContractError, match="defense tried: expected embeddings of the length 128, found 16 of tiny; set"
    ):
        _template(KeyedTemplate())


@pytest.mark.parametrize("params", [{"size": 1}, {"size": 5000}, {"key": -1}, {"key": 2**32}])
def test_a_parameter_out_of_bounds_is_one_error(params: dict[str, Any]) -> None:
    with pytest.raises(SuiteError, match=rf"here\.{next(iter(params))}: input should be"):
        instantiate(KeyedTemplate, params, "here")


def test_bits_and_key_give_the_embedding_up_to_a_known_cosine() -> None:
    """Of random directions, the signs keep a cosine of sqrt(2 / pi): the docstring must not promise more."""
    embeddings = F.normalize(torch.randn(200, 128, generator=torch.Generator().manual_seed(1)), dim=1)
    bits = 2.0 * (turned(embeddings, 7) > 0) - 1
    back = F.normalize(bits @ orthogonal(128, 7), dim=1)
    assert (back * embeddings).sum(dim=1).mean().item() == pytest.approx(math.sqrt(2 / math.pi), abs=0.01)

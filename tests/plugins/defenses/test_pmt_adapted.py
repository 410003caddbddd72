"""PMT against judges that have adapted to it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from bench_learners.losses import rank_error
from bench_pmt import Pmt
from bench_pmt_adapted import PmtAdapted, bench_defenses
from bench_pmt_adapted.judges import adapted_copy, restored_judges

from bench import Capabilities, ContractError, Faces, SuiteError, instantiate
from bench.api.context import Context
from bench.api.defense import Defense
from bench.kit import world
from bench.stages.contracts import check_state, protect_checked

IMAGES = world.floats(world.faces(3, 1).images)
LEARNT_FROM = world.faces(8, 2, first=100)
SMALL: dict[str, Any] = {"steps": 4, "rounds": 1, "faces": 12, "judge_steps": 6, "batch": 6, "judge_rate": 1e-3}


def context(defense: Defense, rows: list[int], state: dict[str, torch.Tensor] | None = None) -> Context:
    capabilities = Capabilities(
        needs=defense.needs,
        models={"service": (world.network(), tuple(world.SPLITS))},
        surrogates={"surrogate": world.network(1)},
    )
    return Context(
        device=torch.device("cpu"),
        seed=7,
        capabilities=capabilities,
        state=state or {},
        sample_ids=[f"face {row}" for row in rows],
        plugin="tried",
    )


def fitted(defense: PmtAdapted) -> dict[str, torch.Tensor]:
    learnt = check_state(defense.fit(LEARNT_FROM, context(defense, [])), "tried")
    return {name: torch.from_numpy(values) for name, values in learnt.items()}


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return fitted(PmtAdapted(**SMALL))


def protected(defense: Defense, rows: list[int], state: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
    out = protect_checked(defense, IMAGES[rows], context(defense, rows, state), world.SPLITS).images
    assert out is not None
    return out


def test_registration_without_torch() -> None:
    code = "import sys, bench_pmt_adapted as b; print(sorted(b.bench_defenses()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['pmt-adapted'] False"


def test_what_it_declares() -> None:
    defense = PmtAdapted()
    assert (defense.goal, defense.max_authorised, defense.bound()) == ("recognition", 1, None)
    assert defense.needs == {"shallow", "surrogates", "training"}
    assert Pmt().steps == defense.steps  # What is not of the judges is that of PMT.


@pytest.mark.parametrize("params", [{"push": -1.0}, {"rounds": 0}, {"faces": 3}, {"judge_rate": 0.0}, {"batch": 1}])
def test_a_parameter_out_of_bounds_is_one_error(params: dict[str, Any]) -> None:
    with pytest.raises(SuiteError, match=rf"here\.{next(iter(params))}: input should be"):
        instantiate(bench_defenses()["pmt-adapted"], params, "here")


def test_without_a_push_it_is_pmt(state: dict[str, torch.Tensor]) -> None:
    rows = [0, 1, 2]
    expected = protected(Pmt(steps=4, balance="relative"), rows)
    assert torch.allclose(protected(PmtAdapted(**SMALL, push=0.0), rows, state), expected, atol=1e-6)


def test_a_push_lowers_what_the_judges_recognise(state: dict[str, torch.Tensor]) -> None:
    seen = []
    for push in (0.0, 100.0):
        defense = PmtAdapted(**SMALL, push=push)
        seen.append(defense.protect(IMAGES, context(defense, [0, 1, 2], state)).extra["recognised"])
    assert (seen[1] < seen[0]).all()


def test_a_picture_does_not_depend_on_its_batch(state: dict[str, torch.Tensor]) -> None:
    defense = PmtAdapted(**SMALL)
    together, alone = protected(defense, [0, 1, 2], state), protected(defense, [1], state)
    assert ((together[1:2] - alone).abs() > 1e-3).float().mean() < 0.05


def test_a_judge_learns_to_recognise_what_is_uploaded() -> None:
    defense = PmtAdapted(**{**SMALL, "judge_steps": 40, "batch": 16})
    ctx = context(defense, [])
    faces = world.faces(20, 2, first=100)
    clean = world.floats(faces.images)
    uploads = clean.flip(1)  # Blue and red are swapped, which a network can learn.
    learning, held_out = np.arange(28), np.arange(28, 40)
    network = ctx.surrogate("surrogate")
    judge = adapted_copy("surrogate", faces, uploads, (learning, held_out), defense, ctx)
    with torch.no_grad():
        wanted = network(clean[held_out])
        before, after = (rank_error(seen(uploads[held_out]), wanted) for seen in (network, judge))
    assert before > 0.3
    assert after < before / 2


def test_the_judges_are_those_that_adapted(state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """What `adapted_copy` returns for protected pictures of the faces is stored, and comes back frozen."""
    made: list[torch.nn.Module] = []

    def watched(label: str, faces: Faces, pictures: torch.Tensor, rows: Any, params: Any, ctx: Context) -> Any:
        assert label == "surrogate"
        assert len(pictures) == len(faces.images) == len(rows[0]) + len(rows[1]) == 12
        assert float((pictures - world.floats(faces.images)).abs().mean()) > 0.05  # They are protected.
        made.append(adapted_copy(label, faces, pictures, rows, params, ctx))
        return made[-1]

    monkeypatch.setattr("bench_pmt_adapted.judges.adapted_copy", watched)
    defense = PmtAdapted(**SMALL)
    again = fitted(defense)
    (judge,) = restored_judges(defense, context(defense, [], again))
    weights = judge.adapted.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(weights[name], value) for name, value in made[0].state_dict().items())
    assert all(torch.equal(again[name], state[name]) for name in state)
    assert not any(parameter.requires_grad for parameter in judge.adapted.parameters())  # type: ignore[attr-defined]


def test_every_round_adds_a_judge_and_fitting_is_repeatable(state: dict[str, torch.Tensor]) -> None:
    again = fitted(PmtAdapted(**SMALL))
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)
    defense = PmtAdapted(**{**SMALL, "rounds": 2})
    two = fitted(defense)
    assert {name.split("/")[0] for name in two} == {"round 1", "round 2"}
    assert all(torch.equal(two[name], state[name]) for name in state)
    assert len(restored_judges(defense, context(defense, [], two))) == 2


def test_judges_of_other_surrogates_are_one_error(state: dict[str, torch.Tensor]) -> None:
    defense = PmtAdapted(**SMALL)
    with pytest.raises(ContractError, match="the weights of another network"):
        restored_judges(defense, context(defense, [], dict(list(state.items())[1:])))

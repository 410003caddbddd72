"""Training of the landmark network (``bench train suites/facepoints.toml``), from recipe to weights and card.

The generator of the faces knows where their landmarks are. The result is a pure function of recipe, seed and data on
one machine. A training takes a few minutes, so an interrupted one starts again; the faces are drawn only once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from bench_blocks import pixelated
from bench_training.data import TrainData, prepare
from bench_training.export import half_weights, write_model
from bench_training.jobs import about
from bench_training.loop import decay_groups
from bench_training.ranks import require_one_process
from bench_training.sampling import shuffled, stream
from bench_training.schedules import half_cosine
from torch import Tensor

from bench import instantiate
from bench_facepoints import pictures
from bench_facepoints.network import INPUT_SIZE, POINTS, FacePoints, from_half

if TYPE_CHECKING:
    from bench import TrainingJob

COMMAND = "bench train suites/facepoints.toml"
_EVERY = 100  # The number of steps between two lines of progress.
_HELD_OUT = 0.05  # The share of the people who are not learnt from, and on whom the network is evaluated.


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The recipe of a training, whose budget is counted in ``images``: AdamW, whose rate rises during a tenth of the
    run to ``lr`` and falls along half a cosine to 0. As many pictures without a face as a ``no_face`` share of the
    faces are made of each batch."""

    images: Annotated[int, Ge(1)]
    batch: Annotated[int, Ge(8)] = 64
    no_face: Annotated[float, Gt(0)] = 0.5
    lr: Annotated[float, Gt(0)] = 3e-3
    weight_decay: Annotated[float, Ge(0)] = 0.02


def train_facepoints(job: TrainingJob, weights_dir: Path) -> Mapping[str, Any]:
    """Train with the recipe of a job, evaluate on people who are held out, and write weights and card; return the
    card."""
    require_one_process(job.name)
    recipe: Recipe = instantiate(Recipe, job.recipe, job.where)
    labels = job.data.labels()
    points = torch.from_numpy(job.data.landmarks(np.arange(len(labels)))).float()
    data = prepare(job.data, job.work, progress=job.log)
    first_held_out = int(np.searchsorted(labels, round((1 - _HELD_OUT) * (int(labels[-1]) + 1))))
    started = time.process_time()
    net = fit(recipe, job.seed, data, points[:first_held_out], job.log)
    seconds = time.process_time() - started
    halved = half_weights(net)
    measured = evaluate(from_half(halved), data, points, np.arange(first_held_out, len(labels)), job.seed)
    job.log(f"{job.name} on people who were held out: {measured}")
    card = {
        "name": "facepoints",
        "input": f"float (n, 3, {INPUT_SIZE}, {INPUT_SIZE}), RGB, [0, 1]",
        "output": f"landmarks (n, {len(POINTS)}, 2) in pixels: {', '.join(POINTS)}; and the logit of a face (n,)",
        "parameters": sum(p.numel() for p in net.parameters()),
        "data": about(job.data, job.data.fingerprint(), len(labels), int(labels[-1]) + 1),
        "recipe": asdict(recipe),
        "seed": job.seed,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "seconds": round(seconds),
        "seconds_of": "processor time, without drawing the faces",
        "weights_precision": "float16; evaluated after rounding",
        "evaluation": measured,
        "evaluation_people": f"the last {100 * _HELD_OUT:g} % of the people, who were not trained on",
        "command": COMMAND,
    }
    return write_model(halved, card, weights_dir)


def fit(recipe: Recipe, seed: int, data: TrainData, points: Tensor, log: Any) -> FacePoints:
    """Train on the first images, as many as there are landmarks ``points (n, 5, 2)``; return the network."""
    torch.manual_seed(seed)
    net = FacePoints().train()
    optimizer = torch.optim.AdamW(decay_groups(list(net.parameters()), recipe.weight_decay), lr=recipe.lr)
    steps = -(-recipe.images // recipe.batch)
    for step in range(steps):
        rows = shuffled(step * recipe.batch, (step + 1) * recipe.batch, len(points), seed, 1)
        draws = stream(seed, 2, step)
        faces, where = pictures.moved(F.avg_pool2d(data.batch(rows).float() / 255, 2), points[rows], draws)
        others = pictures.without_face(faces[: max(4, round(recipe.no_face * len(faces)))], draws)
        found, logits = net.of_half(torch.cat([pictures.degraded(faces, draws), others]))
        truth = torch.cat([torch.ones(len(faces)), torch.zeros(len(others))])
        distance = F.smooth_l1_loss(found[: len(faces)], where, beta=1.0)
        loss = distance + 2 * F.binary_cross_entropy_with_logits(logits, truth)
        for group in optimizer.param_groups:
            group["lr"] = half_cosine((step + 1) / steps, recipe.lr, 0.0, 0.1)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        if (step + 1) % _EVERY == 0:
            log(f"step {step + 1}/{steps} loss {loss.item():.3f}, landmarks {distance.item():.3f}")
    return net.eval()


@torch.no_grad()
def evaluate(net: FacePoints, data: TrainData, points: Tensor, rows: Any, seed: int) -> dict[str, Any]:
    """Return the mean error of landmarks in distances between the eyes and the share of faces found, by degradation,
    and the share of pictures without a face in which one is found."""
    faces, where = data.batch(rows).float() / 255, points[rows]
    eyes = (where[:, 0] - where[:, 1]).norm(dim=1)
    draws = stream(seed, 3)
    noisy = (faces + 0.3 * torch.randn(faces.shape, generator=draws)).clamp(0, 1)
    shown = {
        "as they are": faces,
        "blurred by 2 pixels": pictures.blurred(faces, 2.0),
        "pixels of 8": pixelated(faces, 8),
        "noise of .3": noisy,
    }
    found: dict[str, Any] = {}
    for name, images in shown.items():
        at, logits = net(images)
        error = (at - where).norm(dim=2).mean(dim=1) / eyes
        found[name] = {
            "landmark error": round(float(error.mean()), 4),
            "faces found": round(float((logits > 0).float().mean()), 4),
        }
    for name, make in pictures.NO_FACE.items():
        _, logits = net(make(faces, draws))
        found[name] = {"faces found": round(float((logits > 0).float().mean()), 4)}
    return found

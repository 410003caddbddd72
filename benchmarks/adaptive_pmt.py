"""Does it help PMT to know its enemy? PMT and `pmt-adapted` before a recogniser that adapts anew, in a few minutes.

    python benchmarks/adaptive_pmt.py [DEFENSE ...]

Generated faces, bundled networks, one seed: the pictures of 24 people are protected for zoo-mobileface. The judges of
`pmt-adapted` are made of zoo-mobilenet with pictures of 64 people. The adversary adapts zoo-resnet, which the client
has not seen, to protected pictures of 100 further people (60 steps of 32 faces). Printed are, for each recogniser, the
mean cosine of a protected picture to its own clean one and to those of others, the area under the ROC curve of these
two (chance is .5), and the share of pictures whose nearest clean one is the own (chance is 1 of 24).
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import torch
from bench_pmt_adapted import PmtAdapted
from bench_pmt_adapted.judges import adapted_copy
from torch import Tensor
from torch.nn.functional import normalize

from bench import Capabilities, Context, Faces, folded, instantiate, parameters_of, registered

TRIED = (
    "pmt,steps=25",
    "pmt-adapted,steps=25,rounds=1,faces=128,judge_steps=60",
    "pmt-adapted,steps=25,rounds=1,faces=128,judge_steps=60,push=0.5",
)
PROBES, PART = 24, 50
CLIENT, ADVERSARY = slice(0, 128), slice(220, 420)  # auxiliary pictures, two of each person
HELD_OUT = 15  # of the adversary's people, for early stopping
ADAPTING = PmtAdapted(judge_steps=60, batch=32, judge_rate=1e-3)
CPU = torch.device("cpu")


def network(name: str) -> tuple[Any, tuple[str, ...]]:
    """Return a bundled network as the host hands it to defenses, and its split points."""
    model = instantiate(registered("model")[name], {}, name)
    splits, grey = tuple(model.splits), torch.full((1, 3, 112, 112), 0.5)
    loaded = model.load().eval().requires_grad_(False)
    return folded(loaded, lambda net: [net(grey), *net.features(grey, splits)]), splits


def floats(images: Any) -> Tensor:
    """Return images uint8 as floats in [0, 1]."""
    return torch.from_numpy(np.array(images)).float() / 255


class Setting:
    """The faces of all parties, and the networks."""

    def __init__(self) -> None:
        ctx = Context(device=CPU, seed=0)
        source = instantiate(registered("dataset")["synth-lfw"], {"auxiliary_identities": 220}, "faces")
        faces, pairs = source.evaluation(PROBES, ctx)
        others = source.auxiliary(ctx)
        self.probes = floats(faces.images[pairs.left])
        images, subjects, ids = others.images, np.array(others.subjects), np.array(others.sample_ids)
        self.of_client = Faces(images=images[CLIENT], subjects=subjects[CLIENT], sample_ids=ids[CLIENT])
        self.of_adversary, people = floats(images[ADVERSARY]), subjects[ADVERSARY]
        held_out = np.isin(people, np.unique(people)[:HELD_OUT])
        self.learning, self.held_out = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        self.service, self.splits = network("zoo-mobileface")
        self.surrogate, _ = network("zoo-mobilenet")
        self.recogniser, _ = network("zoo-resnet")

    def context(self, defense: Any, ids: list[str], state: dict[str, Tensor]) -> Context:
        """Return the context of a call of a defense."""
        models, surrogates = {"service": (self.service, self.splits)}, {"surrogate": self.surrogate}
        known = Capabilities(needs=defense.needs, models=models, surrogates=surrogates)
        return Context(device=CPU, seed=3, capabilities=known, sample_ids=ids, state=state)

    def recognised(self, recogniser: Any, images: Tensor, clean: Any) -> str:
        """Return what a recogniser finds in protected probes; ``clean`` embeds the originals."""
        with torch.no_grad():
            cosine = normalize(recogniser(images), dim=1) @ normalize(clean(self.probes), dim=1).T
        own, others = cosine.diagonal(), cosine[~torch.eye(len(cosine), dtype=torch.bool)]
        area = (own[:, None] > others).float().mean()
        first = (cosine.argmax(dim=1) == torch.arange(len(cosine))).float().mean()
        return f"own {own.mean():.2f}, others {others.mean():.2f}, area {area:.3f}, nearest {first:.2f}"


def compare(text: str, setting: Setting) -> None:
    """Print what recognisers find in pictures that a defense, with its parameters, has protected."""
    name, *settings = text.split(",")
    defense = instantiate(registered("defense")[name], parameters_of(settings), name)
    start = time.process_time()
    empty: dict[str, Tensor] = {}
    state = (
        defense.fit(setting.of_client, setting.context(defense, [], empty)) if "training" in defense.needs else empty
    )
    fitted = time.process_time() - start

    def protected(images: Tensor, of: str) -> Tensor:
        ids = [f"{of}{row}" for row in range(len(images))]
        made = []
        for first in range(0, len(images), PART):
            part = slice(first, first + PART)
            made.append(defense.protect(images[part], setting.context(defense, ids[part], state)).images)
        return (torch.cat(made) * 255).round() / 255

    start = time.process_time()
    images = protected(setting.probes, "p")
    each = (time.process_time() - start) / len(images)
    print(f"{text}: fit {fitted:.0f} s, {each:.2f} s per face (processor time)")
    for label, net in (
        ("service", setting.service),
        ("surrogate", setting.surrogate),
        ("as it is", setting.recogniser),
    ):
        print(f"  {label:10} {setting.recognised(net, images, net)}", flush=True)
    uploads = protected(setting.of_adversary, "t")
    rows = setting.learning, setting.held_out
    adapted = adapted_copy(
        setting.recogniser, setting.of_adversary, uploads, *rows, ADAPTING, setting.context(defense, [], {})
    )
    print(f"  {'adapted':10} {setting.recognised(adapted, images, setting.recogniser)}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    faces = Setting()
    for tried in sys.argv[1:] or TRIED:
        compare(tried, faces)

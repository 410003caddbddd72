"""What a plugin is handed while it works: networks, the shallow model of a client, random streams, progress.

torch is imported inside the functions that draw, so that this module can be imported without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from bench.core.errors import CapabilityError, ContractError, did_you_mean

if TYPE_CHECKING:
    import torch


class Network(Protocol):
    """What `Model.load` returns: a ``torch.nn.Module`` with named split points.

    Images are float ``(n, 3, h, w)`` RGB in [0, 1]; pixel normalisation and channel order are its own business.
    """

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Embeddings ``(n, embedding_size)``; the host normalises them."""
        ...

    def features(self, images: torch.Tensor, splits: Sequence[str]) -> list[torch.Tensor]:
        """Feature maps ``(n, c, h, w)`` at the named splits, in that order; nothing beyond the deepest is run."""
        ...

    def from_features(self, features: torch.Tensor, split: str) -> torch.Tensor:
        """Embeddings from the map at a split: the server model E_s, for clients that upload features (section 3.1)."""
        ...


class Shallow:
    """The shallow part of an authorised model: all that a client holds. Features only, never embeddings."""

    def __init__(self, network: Network, splits: Sequence[str]) -> None:
        self._network = network
        self.splits = tuple(splits)

    def features(self, images: torch.Tensor, splits: Sequence[str]) -> list[torch.Tensor]:
        """Feature maps at the named splits for images ``(n, 3, h, w)`` in [0, 1]; differentiable to the pixels."""
        for split in splits:
            if split not in self.splits:
                raise ContractError(f"no split point {split!r}; {did_you_mean(split, self.splits)}")
        return self._network.features(images, splits)


def sample_generator(seed: int, sample_id: str) -> torch.Generator:
    """The random stream of one sample: results do not depend on which batch it is in."""
    import torch

    digest = hashlib.sha256(f"{seed}/{sample_id}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass
class Context:
    """What a plugin may ask for. Asking for what it did not declare in ``needs`` is a `CapabilityError`.

    ``device`` is where tensors belong; ``authorised`` are the labels of the authorised models; ``uploaded`` names the
    splits whose features the client sends (for defenses that send features, and for attacks on them); ``image_size``
    ``(h, w)`` is that of the faces (for attacks, which may have to draw them from features alone); ``state`` is what
    ``fit`` returned; ``seed`` is that of the stage; ``sample_ids`` name the samples of the current batch.
    """

    device: torch.device
    seed: int
    needs: frozenset[str] = frozenset()
    authorised: tuple[str, ...] = ()
    uploaded: tuple[str, ...] = ()
    image_size: tuple[int, int] = (0, 0)
    state: Mapping[str, torch.Tensor] = field(default_factory=dict)
    sample_ids: Sequence[str] = ()
    who: str = "plugin"
    declared_in: str = "needs"
    _networks: Mapping[str, tuple[Network, Sequence[str]]] = field(default_factory=dict)
    _subjects: torch.Tensor | None = None
    _generators: list[torch.Generator] | None = None
    _progress: Callable[[float], None] | None = None

    def _require(self, need: str) -> None:
        if need not in self.needs:
            if self.declared_in == "sees":
                remedy = "declare 'shallow_weights' in its sees" if need == "shallow" else "no attack can have it"
                raise CapabilityError(f"{self.who} asked for {need!r}, which it does not declare; {remedy}")
            declared = ", ".join(sorted(self.needs)) or "nothing"
            raise CapabilityError(f"{self.who} asked for {need!r} but declares {declared} in its needs; declare it")

    def _network(self, label: str) -> tuple[Network, Sequence[str]]:
        if label not in self._networks:
            raise ContractError(f"{self.who} asked for the model {label!r}; {did_you_mean(label, self._networks)}")
        return self._networks[label]

    def shallow(self, label: str) -> Shallow:
        """The shallow model of an authorised model (need ``shallow``)."""
        self._require("shallow")
        return Shallow(*self._network(label))

    def network(self, label: str) -> Network:
        """The whole authorised model, with gradients (need ``full_gradients``)."""
        self._require("full_gradients")
        return self._network(label)[0]

    @property
    def subjects(self) -> torch.Tensor:
        """Subjects of the current batch, int64 ``(n,)`` (need ``subjects``)."""
        self._require("subjects")
        if self._subjects is None:
            raise ContractError(f"{self.who} asked for subjects where none are known")
        return self._subjects

    def generator(self) -> torch.Generator:
        """A new random stream on the CPU, seeded for this stage: for orders and initial weights in `fit`."""
        import torch

        return torch.Generator().manual_seed(self.seed)

    def progress(self, done: float, total: float) -> None:
        """Tell whoever watches how far a long computation is; cheap enough for every step."""
        if self._progress is not None:
            self._progress(done / total if total else 1.0)

    def randn(self, like: torch.Tensor) -> torch.Tensor:
        """Standard normal noise of ``like``'s shape ``(n, ...)``; every sample draws from its own seeded stream."""
        import torch

        return self._draw(torch.randn, like)

    def rand(self, like: torch.Tensor) -> torch.Tensor:
        """Uniform noise in [0, 1) of ``like``'s shape ``(n, ...)``; every sample draws from its own seeded stream."""
        import torch

        return self._draw(torch.rand, like)

    def _draw(self, function: Callable[..., torch.Tensor], like: torch.Tensor) -> torch.Tensor:
        import torch

        if self._generators is None:
            self._generators = [sample_generator(self.seed, s) for s in self.sample_ids]
        if len(like) != len(self._generators):
            expected = len(self._generators)
            raise ContractError(f"{self.who} asked for noise for {len(like)} samples; the batch has {expected}")
        drawn = [function(like.shape[1:], generator=g, dtype=torch.float32) for g in self._generators]
        return torch.stack(drawn).to(like.device)

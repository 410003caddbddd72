"""What a plugin is handed while it works: networks, the shallow model of a client, random streams, progress.

torch is imported inside the functions that draw, so that this module can be imported without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

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


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """Everything that one plugin may see, besides the arguments of its own methods. By default that is nothing.

    - ``needs``: what it may request from the context: ``shallow``, ``full_gradients``, ``subjects``
    - ``declared_in``: the attribute in which the plugin declares that: ``needs`` of a defense, ``sees`` of an attack
    - ``models``: the authorised models by label, each as its network and the names of its split points
    - ``uploaded``: the split points whose features the client sends
    - ``image_size``: ``(h, w)`` of the faces that an attack is after; ``(0, 0)`` for any other plugin
    - ``subjects``: the subjects of the current batch, int64 ``(n,)``; None where they are unknown
    """

    needs: frozenset[str] = frozenset()
    declared_in: Literal["needs", "sees"] = "needs"
    models: Mapping[str, tuple[Network, Sequence[str]]] = field(default_factory=dict)
    uploaded: tuple[str, ...] = ()
    image_size: tuple[int, int] = (0, 0)
    subjects: torch.Tensor | None = None

    @classmethod
    def of_defense(
        cls,
        needs: frozenset[Any],
        models: Mapping[str, tuple[Network, Sequence[str]]],
        *,
        uploaded: tuple[str, ...] = (),
        subjects: torch.Tensor | None = None,
    ) -> Capabilities:
        """Return what a defense may see that declares ``needs``: what it needs of the authorised models and subjects,
        and which features it is expected to send."""
        return cls(needs=needs, models=models, uploaded=uploaded, subjects=subjects)

    @classmethod
    def of_attack(
        cls,
        sees: frozenset[Any],
        models: Mapping[str, tuple[Network, Sequence[str]]],
        *,
        uploaded: tuple[str, ...] = (),
        image_size: tuple[int, int],
    ) -> Capabilities:
        """Return what an attack may see that declares ``sees``: the shallow model if it sees ``shallow_weights``, which
        features were uploaded, and the size of the faces. Never a whole model, never the subjects."""
        needs = frozenset({"shallow"} if "shallow_weights" in sees else ())
        return cls(needs=needs, declared_in="sees", models=models, uploaded=uploaded, image_size=image_size)

    def require(self, need: str, who: str) -> None:
        """Raise `CapabilityError` unless the plugin ``who`` declares ``need``."""
        if need in self.needs:
            return
        if self.declared_in == "sees":
            remedy = "declare 'shallow_weights' in its sees" if need == "shallow" else "no attack can have it"
            raise CapabilityError(f"{who} asked for {need!r}, which it does not declare; {remedy}")
        declared = ", ".join(sorted(self.needs)) or "nothing"
        raise CapabilityError(f"{who} asked for {need!r} but declares {declared} in its needs; declare it")


@dataclass
class Context:
    """What a plugin may ask for while it works. Asking for what it did not declare is a `CapabilityError`.

    - ``device``: the device to which its tensors belong
    - ``seed``: the seed of the stage
    - ``capabilities``: what the plugin may see
    - ``state``: the tensors that ``fit`` returned, by name
    - ``sample_ids``: the names of the samples of the current batch
    - ``who``: the plugin's kind and label, for error messages
    - ``on_progress``: called with the share that is done, from 0 to 1; None if nobody watches
    """

    device: torch.device
    seed: int
    capabilities: Capabilities = field(default_factory=Capabilities)
    state: Mapping[str, torch.Tensor] = field(default_factory=dict)
    sample_ids: Sequence[str] = ()
    who: str = "plugin"
    on_progress: Callable[[float], None] | None = None
    _generators: list[torch.Generator] | None = field(default=None, init=False, repr=False)

    @property
    def authorised(self) -> tuple[str, ...]:
        """The labels of the authorised models."""
        return tuple(self.capabilities.models)

    @property
    def uploaded(self) -> tuple[str, ...]:
        """The split points whose features the client sends: for defenses that send features, and for attacks on
        them."""
        return self.capabilities.uploaded

    @property
    def image_size(self) -> tuple[int, int]:
        """The size ``(h, w)`` of the faces, for attacks, which may have to draw them from features alone."""
        return self.capabilities.image_size

    def _model(self, label: str, need: str) -> tuple[Network, Sequence[str]]:
        self.capabilities.require(need, self.who)
        models = self.capabilities.models
        if label not in models:
            raise ContractError(f"{self.who} asked for the model {label!r}; {did_you_mean(label, models)}")
        return models[label]

    def shallow(self, label: str) -> Shallow:
        """The shallow model of an authorised model (need ``shallow``)."""
        return Shallow(*self._model(label, "shallow"))

    def network(self, label: str) -> Network:
        """The whole authorised model, with gradients (need ``full_gradients``)."""
        return self._model(label, "full_gradients")[0]

    @property
    def subjects(self) -> torch.Tensor:
        """Subjects of the current batch, int64 ``(n,)`` (need ``subjects``)."""
        self.capabilities.require("subjects", self.who)
        if self.capabilities.subjects is None:
            raise ContractError(f"{self.who} asked for subjects where none are known")
        return self.capabilities.subjects

    def generator(self) -> torch.Generator:
        """A new random stream on the CPU, seeded for this stage: for orders and initial weights in `fit`."""
        import torch

        return torch.Generator().manual_seed(self.seed)

    def progress(self, done: float, total: float) -> None:
        """Report how far a long computation is; cheap enough for every step."""
        if self.on_progress is not None:
            self.on_progress(done / total if total else 1.0)

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

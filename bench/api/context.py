"""The context that a plugin receives with every call: networks, the client's shallow model, random streams, progress.

torch is imported inside the functions that need it, so that this module can be imported without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from bench.api.types import Pictures
from bench.core.errors import CapabilityError, ContractError, did_you_mean
from bench.core.text import plural

if TYPE_CHECKING:
    import torch

    from bench.api.types import Received
_T = TypeVar("_T")


class Network(Protocol):
    """A recognition network with named split points, as returned by `Model.load`; a ``torch.nn.Module``.

    It receives images as float ``(n, 3, h, w)`` RGB in [0, 1], and applies its own pixel normalisation and channel
    order.
    """

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the embeddings ``(n, embedding_size)`` of images. The host normalises them to length 1."""
        ...

    def features(self, images: torch.Tensor, splits: Sequence[str]) -> list[torch.Tensor]:
        """Return the feature maps ``(n, c, h, w)`` at the named split points, in their order.

        The network is not run beyond the deepest of these split points.
        """
        ...

    def from_features(self, features: torch.Tensor, split: str) -> torch.Tensor:
        """Return the embeddings that follow from the feature maps at a split point.

        This is the server model E_s (section 3.1), for clients that upload features.
        """
        ...


class Shallow:
    """The shallow part of an authorised model, the only part that a client holds. It gives features, not embeddings."""

    def __init__(self, network: Network, splits: Sequence[str]) -> None:
        self._network = network
        self._is_folded = False
        self.splits = tuple(splits)

    def features(self, images: torch.Tensor, splits: Sequence[str]) -> list[torch.Tensor]:
        """Return the feature maps ``(n, c, h, w)`` at the named split points, in their order.

        Images are float ``(n, 3, h, w)`` RGB in [0, 1]; the result is differentiable with respect to the pixels, and
        not with respect to the weights. Raises `ContractError` for an unknown split point.
        """
        for split in splits:
            if split not in self.splits:
                raise ContractError(f"no split point {split!r}; {did_you_mean(split, self.splits)}")
        if not self._is_folded:
            self._fold(images)
        return self._network.features(images, splits)

    def _fold(self, images: torch.Tensor) -> None:
        """Replace the network by a faster copy. The host's networks are such copies already."""
        from bench.api.folding import folded

        probe = images[:1].detach()
        self._network = folded(self._network, lambda network: network.features(probe, self.splits))
        self._is_folded = True


def sample_generator(seed: int, sample_id: str) -> torch.Generator:
    """Return the random stream of one sample, so that its result does not depend on the batch that contains it."""
    import torch

    digest = hashlib.sha256(f"{seed}/{sample_id}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


# What an attack must see to use what a defense must need.
_SEEN: Mapping[str, str] = {"shallow": "shallow_weights", "full_gradients": "full_model"}


def secret_key(seed: int, subject: int) -> int:
    """Return the secret of a person in a stage with this seed, a number of 63 bits."""
    digest = hashlib.sha256(f"key/{seed}/{subject}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a plugin may use of the context, besides the arguments of its methods. By default that is nothing.

    - ``needs``: the capabilities that it may use: those of `Defense.needs`
    - ``declared_in``: the attribute in which the plugin declares them: ``needs`` of a defense, ``sees`` of an attack
    - ``models``: the authorised models: by label, the network and the names of its split points
    - ``uploaded``: the split points whose features the client sends
    - ``image_size``: for an attack, the size ``(h, w)`` of the faces; ``(0, 0)`` for any other plugin
    - ``surrogates``: the surrogate models by label
    - ``targets``: faces of people who are in no pair; None if they are not loaded
    - ``subjects``: the subjects of the current batch, int64 ``(n,)``; None if they are unknown
    - ``evaluated``: for an attack, a function that returns a copy of the evaluated network; None if it has none
    - ``queries``: for an attack, a function that has images protected; None if it may have none protected
    - ``enrolment``: further pictures of the people of the current batch; None if they are not loaded
    """

    needs: frozenset[str] = frozenset()
    declared_in: Literal["needs", "sees"] = "needs"
    models: Mapping[str, tuple[Network, Sequence[str]]] = field(default_factory=dict)
    uploaded: tuple[str, ...] = ()
    image_size: tuple[int, int] = (0, 0)
    surrogates: Mapping[str, Network] = field(default_factory=dict)
    targets: Pictures | None = None
    subjects: torch.Tensor | None = None
    evaluated: Callable[[], Network] | None = None
    queries: Callable[[torch.Tensor, torch.Tensor | None], Received] | None = None
    enrolment: Pictures | None = None

    @classmethod
    def of_defense(
        cls,
        needs: frozenset[Any],
        models: Mapping[str, tuple[Network, Sequence[str]]],
        *,
        uploaded: tuple[str, ...] = (),
        subjects: torch.Tensor | None = None,
        surrogates: Mapping[str, Network] | None = None,
        targets: Pictures | None = None,
    ) -> Capabilities:
        """Return the capabilities of a defense that declares ``needs``.

        ``uploaded`` are the split points at which it must send features.
        """
        return cls(
            needs=needs,
            models=models,
            uploaded=uploaded,
            subjects=subjects,
            surrogates=surrogates or {},
            targets=targets,
        )

    @classmethod
    def of_attack(
        cls,
        sees: frozenset[Any],
        models: Mapping[str, tuple[Network, Sequence[str]]],
        *,
        uploaded: tuple[str, ...] = (),
        image_size: tuple[int, int],
        evaluated: Callable[[], Network] | None = None,
        queries: Callable[[torch.Tensor, torch.Tensor | None], Received] | None = None,
    ) -> Capabilities:
        """Return the capabilities of an attack that declares ``sees``.

        It may use the shallow models only if ``sees`` contains ``shallow_weights``, whole models only if it contains
        ``full_model``, and never the subjects.
        """
        return cls(
            needs=frozenset(need for need, word in _SEEN.items() if word in sees),
            declared_in="sees",
            models=models,
            uploaded=uploaded,
            image_size=image_size,
            evaluated=evaluated,
            queries=queries,
        )

    def missing_model(self, index: int, plugin: str) -> str:
        """Return the message for a plugin that takes ``ctx.authorised[index]`` where there is no such model."""
        if self.models:
            found = f"{plural(len(self.models), 'model')} ({', '.join(self.models)})"
            return f"{plugin} requested ctx.authorised[{index}]; authorised here: {found}"
        if self.declared_in == "sees":
            remedy = "declare 'features' or 'shallow_weights' in its sees, or 'full_model' for an insider"
            return f"{plugin} requested ctx.authorised[{index}]; {remedy}"
        declared = ", ".join(sorted(self.needs)) or "nothing"
        if self.needs & {"shallow", "full_gradients"}:
            return f"{plugin} requested ctx.authorised[{index}], and no model is authorised here"
        return (
            f"{plugin} requested ctx.authorised[{index}] but declares {declared} in its needs; declare 'shallow' (the "
            "shallow part of the authorised models) or 'full_gradients' (the whole models) in them"
        )

    def require(self, need: str, plugin: str) -> None:
        """Raise `CapabilityError` unless ``need`` is declared. ``plugin`` is named in the message."""
        if need in self.needs:
            return
        if self.declared_in == "sees":
            remedy = f"declare {_SEEN[need]!r} in its sees" if need in _SEEN else "no attack can have it"
            raise CapabilityError(f"{plugin} requested {need!r}, which it does not declare; {remedy}")
        declared = ", ".join(sorted(self.needs)) or "nothing"
        raise CapabilityError(f"{plugin} requested {need!r} but declares {declared} in its needs; declare it")


class NoSuchModelError(CapabilityError, IndexError):
    """A plugin took an authorised model that it did not declare to need, or that does not exist."""


class _Labels(tuple[str, ...]):
    """The labels of the authorised models; an index outside them is a `NoSuchModelError` that says what to declare."""

    capabilities: Capabilities
    plugin: str

    @classmethod
    def of(cls, capabilities: Capabilities, plugin: str) -> _Labels:
        """Return the labels of the models that a plugin may use, which is named in the message of the error."""
        labels = cls(capabilities.models)
        labels.capabilities, labels.plugin = capabilities, plugin
        return labels

    def __getitem__(self, index: Any) -> Any:
        try:
            return super().__getitem__(index)
        except IndexError:
            raise NoSuchModelError(self.capabilities.missing_model(index, self.plugin)) from None


class NoStateError(CapabilityError, KeyError):
    """A plugin took a tensor that its ``fit`` did not return, or it has learnt nothing."""

    __str__ = CapabilityError.__str__  # That of KeyError puts the message in quotes.


class _State(dict[str, Any]):
    """What ``fit`` returned; a name that is not in it is a `NoStateError` that says what to declare."""

    def __init__(self, state: Mapping[str, torch.Tensor], plugin: str, declared_in: str) -> None:
        super().__init__(state)
        self._plugin = plugin
        self._declared_in = declared_in

    def __missing__(self, name: str) -> Any:
        requested = f"{self._plugin} requested ctx.state[{name!r}]"
        if self:
            raise NoStateError(f"{requested}; {did_you_mean(name, self)}")
        remedy = "declare its trains_on" if self._declared_in == "sees" else "declare 'training' in its needs"
        raise NoStateError(f"{requested}, and has learnt nothing; {remedy}, so that fit() is called")


class NotSentError(CapabilityError, IndexError, KeyError):
    """A plugin took features, or the name of a split point, that are not uploaded or that it did not declare to see."""

    __str__ = CapabilityError.__str__  # That of KeyError puts the message in quotes.


class _Uploaded(tuple[str, ...]):
    """The split points whose features are uploaded; an index outside them is a `NotSentError` that says what is."""

    plugin: str

    @classmethod
    def of(cls, splits: Sequence[str], plugin: str) -> _Uploaded:
        """Return the names of split points for a plugin, which is named in the message of the error."""
        found = cls(splits)
        found.plugin = plugin
        return found

    def __getitem__(self, index: Any) -> Any:
        try:
            return super().__getitem__(index)
        except IndexError:
            what = f"features at {', '.join(self)} are uploaded here" if self else "no features are uploaded here"
            raise NotSentError(f"{self.plugin} requested ctx.uploaded[{index}], and {what}") from None


class Sent(dict[str, Any]):
    """Features or the representation that an attack receives, by name; another name is a `NotSentError` that says what
    to declare or what there is. ``field`` is the field of `Received`, and ``plugin`` who asks."""

    def __init__(self, found: Mapping[str, Any], field: Literal["features", "representation"], plugin: str) -> None:
        super().__init__(found)
        self._field, self._plugin = field, plugin

    def __missing__(self, name: str) -> Any:
        requested = f"{self._plugin} requested received.{self._field}[{name!r}]"
        if self:
            raise NotSentError(f"{requested}; {did_you_mean(name, self)}")
        if self._field == "features":
            raise NotSentError(f"{requested}, and gets no features; declare 'features' in its sees")
        raise NotSentError(f"{requested}, and the defense sends no representation")


@dataclass
class Context:
    """What the host provides to a plugin during a call. Using what the plugin did not declare raises `CapabilityError`.

    - ``device``: the device for its tensors
    - ``seed``: the seed of the stage
    - ``capabilities``: what the plugin may use
    - ``state``: the tensors that ``fit`` returned, by name
    - ``sample_ids``: the names of the samples in the current batch
    - ``plugin``: the kind and label of the plugin, for error messages
    - ``upload``: what an attack received of the current batch, for `received`; None in all other calls
    - ``on_progress``: a function that receives the share that is done, from 0 to 1; None if progress is not shown
    """

    device: torch.device
    seed: int
    capabilities: Capabilities = field(default_factory=Capabilities)
    state: Mapping[str, torch.Tensor] = field(default_factory=dict)
    sample_ids: Sequence[str] = ()
    plugin: str = "plugin"
    upload: Received | None = None
    on_progress: Callable[[float], None] | None = None
    _generators: list[torch.Generator] | None = field(default=None, init=False, repr=False)
    _shallow: dict[str, Shallow] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.state = _State(self.state, self.plugin, self.capabilities.declared_in)

    @property
    def authorised(self) -> tuple[str, ...]:
        """The labels of the authorised models; empty unless the plugin declares that it uses them."""
        return _Labels.of(self.capabilities, self.plugin)

    @property
    def uploaded(self) -> tuple[str, ...]:
        """The split points whose features the client uploads; empty if it uploads images."""
        return _Uploaded.of(self.capabilities.uploaded, self.plugin)

    @property
    def image_size(self) -> tuple[int, int]:
        """The size ``(h, w)`` of the faces, for attacks, which may have to reconstruct images from features alone."""
        return self.capabilities.image_size

    def _model(self, label: str, need: str) -> tuple[Network, Sequence[str]]:
        self.capabilities.require(need, self.plugin)
        models = self.capabilities.models
        if label not in models:
            raise ContractError(f"{self.plugin} requested the model {label!r}; {did_you_mean(label, models)}")
        return models[label]

    def shallow(self, label: str) -> Shallow:
        """Return the shallow part of an authorised model by its label. Requires the need ``shallow``."""
        network, splits = self._model(label, "shallow")
        if label not in self._shallow:
            self._shallow[label] = Shallow(network, splits)
        return self._shallow[label]

    def network(self, label: str) -> Network:
        """Return a whole authorised model by its label, with gradients. Requires the need ``full_gradients`` of a
        defense, and that an attack sees the ``full_model``."""
        return self._model(label, "full_gradients")[0]

    def evaluated(self) -> Network:
        """Return a new copy of the evaluated network, in evaluation mode and with gradients, for an attack that outputs
        recognition or links, or outputs attributes and sees a ``recogniser``. The attack may change and train it."""
        if self.capabilities.evaluated is None:
            raise CapabilityError(
                f"{self.plugin} requested the evaluated network; expected an attack whose outputs are 'recognition' or "
                "'links', or 'attributes' with 'recogniser' in its sees, because no model is evaluated with any other "
                "before it has ended"
            )
        return self.capabilities.evaluated()

    @property
    def received(self) -> Received:
        """What an attack that outputs attributes received of the current batch: features, a representation, further
        uploads. Requires that its ``sees`` names one of them, or that it learns."""
        if self.upload is None:
            raise CapabilityError(
                f"{self.plugin} requested ctx.received; expected the estimate() of an attack that works on uploads and "
                "declares 'features', 'representation' or 'uploads' in its sees"
            )
        return self.upload

    def defense(self, images: torch.Tensor, subjects: torch.Tensor | None = None) -> Received:
        """Return what is received if the client protects ``images``, float ``(n, 3, h, w)`` RGB in [0, 1].

        Only for the `fit` of an attack that sees the ``defense`` and whose `budget` names ``queries``, which is the
        largest number of images over the whole `fit`. ``subjects`` int64 ``(n,)`` are for defenses that need them.
        Every call is answered with fresh randomness of the defense.
        """
        if self.capabilities.queries is None:
            raise CapabilityError(
                f"{self.plugin} requested the defense; declare 'defense' in its sees and the number of 'queries' in "
                "its budget(), and request it in fit()"
            )
        return self.capabilities.queries(images, subjects)

    @property
    def subjects(self) -> torch.Tensor:
        """The subjects of the current batch, int64 ``(n,)``. Requires the need ``subjects``."""
        self.capabilities.require("subjects", self.plugin)
        return self._known("subjects", self.capabilities.subjects)

    @property
    def surrogates(self) -> tuple[str, ...]:
        """The labels of the surrogate models. Requires the need ``surrogates``."""
        self.capabilities.require("surrogates", self.plugin)
        return tuple(self.capabilities.surrogates)

    def surrogate(self, label: str) -> Network:
        """Return a whole surrogate model by its label, with gradients. Requires the need ``surrogates``."""
        self.capabilities.require("surrogates", self.plugin)
        models = self.capabilities.surrogates
        if label not in models:
            raise ContractError(f"{self.plugin} requested the surrogate {label!r}; {did_you_mean(label, models)}")
        return models[label]

    @property
    def targets(self) -> Pictures:
        """Faces of people who are in no pair, the same for all batches. Requires the need ``targets``."""
        self.capabilities.require("targets", self.plugin)
        return self._known("targets", self.capabilities.targets)

    def enrolment(self) -> Pictures:
        """Return further pictures of the people of the current batch, which are in no pair. Requires the need
        ``enrolment``."""
        self.capabilities.require("enrolment", self.plugin)
        return self._known("enrolment", self.capabilities.enrolment)

    @property
    def keys(self) -> torch.Tensor:
        """A secret number for each face of the batch, int64 ``(n,)``: it is the same for all pictures of a person, and
        no attack can compute it. Requires the need ``key``."""
        import torch

        self.capabilities.require("key", self.plugin)
        people = self._known("key", self.capabilities.subjects).tolist()
        return torch.tensor([secret_key(self.seed, person) for person in people], dtype=torch.int64)

    def _known(self, what: str, found: _T | None) -> _T:
        if found is None:
            raise ContractError(f"{self.plugin} requested {what!r} where there are none")
        return found

    def generator(self) -> torch.Generator:
        """Return a new random stream on the CPU with the seed of the stage, for orders and initial weights in `fit`."""
        import torch

        return torch.Generator().manual_seed(self.seed)

    def progress(self, done: float, total: float) -> None:
        """Report that ``done`` of ``total`` steps are finished. It is cheap enough to be called at every step."""
        if self.on_progress is not None:
            self.on_progress(done / total if total else 1.0)

    def randn(self, like: torch.Tensor) -> torch.Tensor:
        """Draw standard normal noise in the shape ``(n, ...)`` of ``like``; each sample has its own random stream."""
        import torch

        return self._draw(torch.randn, like)

    def rand(self, like: torch.Tensor) -> torch.Tensor:
        """Draw uniform noise in [0, 1) in the shape ``(n, ...)`` of ``like``; each sample has its own random stream."""
        import torch

        return self._draw(torch.rand, like)

    def _draw(self, function: Callable[..., torch.Tensor], like: torch.Tensor) -> torch.Tensor:
        """Draw noise with ``function``, one sample after the other. Raise `ContractError` for another batch size."""
        import torch

        if self._generators is None:
            self._generators = [sample_generator(self.seed, s) for s in self.sample_ids]
        if len(like) != len(self._generators):
            expected = len(self._generators)
            raise ContractError(f"{self.plugin} requested noise for {len(like)} samples; the batch has {expected}")
        drawn = [function(like.shape[1:], generator=g, dtype=torch.float32) for g in self._generators]
        return torch.stack(drawn).to(like.device)

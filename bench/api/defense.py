"""The base class of defenses: what a client does to faces before the upload."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bench.api.files import named_files
from bench.api.types import Bound, Faces, Protected, Received
from bench.core.domain import Control, Goal, Side
from bench.core.errors import ContractError

if TYPE_CHECKING:
    import torch

    from bench.api.context import Context
    from bench.api.datasets import TrainingJob

Need = Literal[
    "shallow",
    "full_gradients",
    "surrogates",
    "subjects",
    "targets",
    "enrolment",
    "whole_set",
    "labels",
    "key",
    "training",
    "own_recognizer",
]


@dataclass(frozen=True, kw_only=True)
class Defense(ABC):
    """What a client does to a face image before the upload.

    - ``goal``: what the defense is for, which decides what counts as its utility, and whether a metric is good or bad
      for it. ``recognition``: the authorised models still recognise the person. ``appearance``: people still see the
      same face, and no model recognises it (cloaks). ``anonymity``: nobody recognises the person, and something else
      is kept, such as attributes. ``template``: a recogniser of its own matches protected with protected faces
    - ``control``: what the benchmark must find of a defense whose answer is known, with which it is tested itself:
      ``leaks`` (everything), ``safe`` (nothing can leak), ``learnable`` (attackers who learn from its own pictures
      succeed, and nobody else does); None for a protection that is to be judged
    - ``protects``: the sides of a verification pair that it can protect: ``probe`` (the picture that is sent),
      ``gallery`` (the picture that is enrolled), ``both``; an experiment chooses one of them
    - ``needs``: the capabilities that it uses. A method of the context whose capability is not declared raises
      `CapabilityError`.

      - ``shallow``: the shallow part of the authorised models
      - ``full_gradients``: the whole authorised models
      - ``surrogates``: the whole surrogate models, which the client uses in place of unknown ones
      - ``subjects``: who the faces show
      - ``key``: a secret number per person, the same for all pictures of that person
      - ``enrolment``: further pictures of the people of a batch, which are in no pair
      - ``targets``: faces of people who are in no pair
      - ``training``: `fit` is called with training faces; ``labels``: several pictures of each person are among them
      - ``whole_set``: `protect` is called once, with all faces that are released together

      A defense that needs no model has the same result for all models and is run once for all of them.
    - ``sends``: what leaves the client: ``image``, ``feature`` (at split points of the authorised model), or
      ``representation`` (named tensors that `representation` declares)
    - ``own_recogniser``: True if it implements `recogniser`; ``recogniser_size`` is then the length of its embeddings
    - ``max_authorised``: the number of models for which one image can be authorised; None for any number
    - ``programs``, ``libraries``: the programs that it calls and further packages that it uses, by name (see below)
    - ``license``: the license of the files that `weights` names
    - ``promise``, ``trusts``, ``not_promised``: sentences for the report: what the defense promises and against whom;
      who must be trusted, and with what; what it does not promise

    Results are computed again when something has changed that decides them. The host finds the parameters, all files of
    the package of the plugin, and the code of packages that its source imports. The plugin declares the rest: files
    elsewhere (`weights`), programs (``programs``), packages that are imported under names made at run time
    (``libraries``), and anything else, such as the version of a service (`fingerprint`).
    """

    goal: ClassVar[Goal] = "recognition"
    control: ClassVar[Control | None] = None
    protects: ClassVar[frozenset[Side]] = frozenset({"probe"})
    needs: ClassVar[frozenset[Need]] = frozenset()
    sends: ClassVar[frozenset[Literal["image", "feature", "representation"]]] = frozenset({"image"})
    own_recogniser: ClassVar[bool] = False
    recogniser_size: ClassVar[int] = 0
    max_authorised: ClassVar[int | None] = None
    programs: ClassVar[Sequence[str]] = ()
    libraries: ClassVar[Sequence[str]] = ()
    license: ClassVar[str] = "unknown"
    promise: ClassVar[str] = ""
    trusts: ClassVar[str] = ""
    not_promised: ClassVar[str] = ""
    time_limit_s: ClassVar[float | None] = None

    def weights(self) -> Path | Sequence[Path]:
        """Return the files that decide what the defense does; of a folder, all files in it count.

        By default these are the files and folders that its parameters of the type `Path` name. A file that is returned
        and does not exist is an error before anything is computed.
        """
        return named_files(self)

    def fingerprint(self) -> str | None:
        """Return a text that changes with anything else that decides what the defense does; None if there is nothing.

        Raise `MissingDataError` or `DataError` naming a file that is missing or damaged.
        """
        return None

    def passes(self) -> float:
        """Return the forward passes of the shallow model per image, for time estimates.

        A backward pass counts as two forward passes.
        """
        return 0.0

    def fit_seconds(self) -> float:
        """Return the seconds that `fit` takes on one core, for time estimates: roughly, and larger for settings with
        which it takes longer. Once such a training was measured, only the ratio of two settings counts."""
        return 5.0

    def check_authorised(self, models: int) -> None:
        """Raise ValueError if one image cannot be protected for this number of models.

        The cell is then skipped, and the message is its reason.
        """
        if self.max_authorised is not None and models > self.max_authorised:
            raise ValueError(f"protects for at most {self.max_authorised} authorised model(s); {models} are requested")

    def splits(self, available: Sequence[str]) -> Sequence[str]:
        """Return the split points that the defense uses, out of the ``available`` ones of a model.

        Raise ValueError if the model lacks one that the defense needs; the cell is then skipped.
        """
        return ()

    def fit(self, faces: Faces, ctx: Context) -> Mapping[str, torch.Tensor]:
        """Train the defense on training faces and return its state, which `protect` receives as ``ctx.state``.

        Called only if the defense declares the need ``training``.
        """
        raise ContractError(f"{type(self).__name__} declares the need 'training' and has no fit()")

    def bound(self) -> Bound | None:
        """Return the formal guarantee with these parameters; None if there is none."""
        return None

    def representation(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the tensors that the defense sends for one face, by name, without the batch axis.

        Required if ``sends`` contains ``representation``.
        """
        raise ContractError(
            f"{type(self).__name__} declares that it sends a representation and has no representation()"
        )

    def recogniser(self, ctx: Context) -> Callable[[Received], torch.Tensor]:
        """Return a function from what the service receives to embeddings ``(n, recogniser_size)``.

        Required if ``own_recogniser`` is True. What `fit` learnt is in ``ctx.state``. The host normalises embeddings to
        length 1 and compares them by their cosine. Both pictures of a pair are protected.
        """
        raise ContractError(f"{type(self).__name__} declares own_recogniser and has no recogniser()")

    def train(self, job: TrainingJob) -> Mapping[str, Any]:
        """Train the weights of the defense, store them and return their card. Called by ``bench train`` only."""
        raise ContractError(f"{type(self).__name__} has no train(): it cannot be trained by bench")

    @abstractmethod
    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Protect a batch of images, float ``(n, 3, h, w)`` RGB in [0, 1]; the result has the same shape and range."""

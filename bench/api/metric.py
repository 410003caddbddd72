"""The base class of image metrics: how similar two images are, sample by sample or as two whole sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bench.api.files import named_files
from bench.core.domain import Goal
from bench.core.errors import ContractError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from bench.api.context import Context
    from bench.api.datasets import TrainingJob

BetterWords = Literal["higher", "lower"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """An image metric: it compares what a client uploads, or what an attack reconstructs, with the original faces.

    A class defines `compute` (one number per image), `compute_set` (one number per set of images), or both.

    - ``formula``: how it is computed, as a sentence; ``source``: the paper that defines it
    - ``heading``: its name in tables; an empty text for the label in the suite
    - ``unit``: ``dB``, ``%`` ...; a share in [0, 1] whose unit is ``%`` is shown in per cent
    - ``range``: the lowest and the highest value, infinite where there is no bound; a value outside it is an error
    - ``share``: True if each value of `compute` is a decision, 0 or 1, so that the mean is a share of images and has
      the interval of a share (Wilson's, clustered by people); other means have one by their spread
    - ``infinite``: True if equal images may have an infinite value, which is counted and never averaged; otherwise it
      is an error
    - ``better``: by the goal of a defense (``recognition``, ``appearance``, ``anonymity``, ``template``) whether
      ``higher`` or ``lower`` values are better for it; a goal that is not named has no better direction
    - ``digits``: the decimals that tables show
    - ``synthetic``: True if it learnt from generated faces only; it is then not computed on real ones
    - ``programs``, ``libraries``, ``license``: as in `Defense`

    Everything that decides the values is declared as by a defense: files (`weights`), and anything else, such as the
    weights of a model that it uses (`fingerprint`).
    """

    formula: ClassVar[str] = ""
    source: ClassVar[str] = ""
    heading: ClassVar[str] = ""
    unit: ClassVar[str] = ""
    range: ClassVar[tuple[float, float]] = (float("-inf"), float("inf"))
    share: ClassVar[bool] = False
    infinite: ClassVar[bool] = False
    better: ClassVar[Mapping[Goal, BetterWords]] = {}
    digits: ClassVar[int] = 3
    synthetic: ClassVar[bool] = False
    programs: ClassVar[Sequence[str]] = ()
    libraries: ClassVar[Sequence[str]] = ()
    license: ClassVar[str] = "unknown"
    time_limit_s: ClassVar[float | None] = None

    def weights(self) -> Path | Sequence[Path]:
        """Return the files that decide the values, as `Defense.weights` does."""
        return named_files(self)

    def fingerprint(self) -> str | None:
        """Return a text that changes with anything else that decides the values; None if there is nothing.

        Raise `MissingDataError` or `DataError` naming a file that is missing or damaged.
        """
        return None

    def seconds(self) -> float:
        """Return the seconds that one image takes on one core, for time estimates."""
        return 5e-3

    def compute(
        self, original: torch.Tensor, other: torch.Tensor, ctx: Context
    ) -> torch.Tensor | NDArray[Any] | Sequence[float]:
        """Return one number ``(n,)`` for each pair of images of a batch, two tensors float ``(n, 3, h, w)`` RGB in
        [0, 1]; every pixel is a multiple of 1/255, since stored images have 8 bits."""
        raise ContractError(f"{type(self).__name__} has no compute()")

    def features(self, images: torch.Tensor, ctx: Context) -> torch.Tensor:
        """Return the features ``(n, d)`` of a batch of images float ``(n, 3, h, w)`` RGB in [0, 1].

        Optional. `compute_set` then gets features in place of images, so that a large set fits into memory, and its
        value gets an interval.
        """
        raise ContractError(f"{type(self).__name__} has no features()")

    def compute_set(self, originals: torch.Tensor, others: torch.Tensor, ctx: Context) -> float:
        """Return one number for two sets of images, whose rows belong together: features ``(n, d)`` if the class
        defines `features`, else images float ``(n, 3, h, w)`` in [0, 1].

        With features it is called again for each draw of people of a bootstrap; a draw may repeat rows.
        """
        raise ContractError(f"{type(self).__name__} has no compute_set()")

    def train(self, job: TrainingJob) -> Mapping[str, Any]:
        """Train the weights of the metric, store them and return their card. Called by ``bench train`` only."""
        raise ContractError(f"{type(self).__name__} has no train(): it cannot be trained by bench")

    @classmethod
    def defines(cls, method: Literal["compute", "features", "compute_set"]) -> bool:
        """Return True if the class defines an optional method."""
        return getattr(cls, method) is not getattr(Metric, method)

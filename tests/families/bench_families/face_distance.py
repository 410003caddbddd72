"""The Fréchet distance of the embeddings of a face network, a metric with one value per set of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from bench import Metric, Model, instantiate, registered

if TYPE_CHECKING:
    import torch

    from bench import Context


@dataclass(frozen=True, kw_only=True)
class FaceDistance(Metric):
    """The distance of two normal distributions, fitted to the embeddings of originals and of images by ``model``."""

    model: str = "zoo-resnet"

    formula = "|m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^½) of means m and covariances C of embeddings"
    source = 'Heusel et al. 2017, "GANs trained by a two time-scale update rule", Equation 6, with a face network'
    heading = "face FID"
    range = (0.0, float("inf"))
    better = {"recognition": "higher", "appearance": "lower", "anonymity": "lower"}
    license = "that of the network"

    @property
    def libraries(self) -> Sequence[str]:
        return (type(self._model()).__module__.partition(".")[0],)

    def _model(self) -> Model:
        found: Model = instantiate(registered("model")[self.model], {}, "face-fid.model")
        return found

    def fingerprint(self) -> str:
        return self._model().fingerprint()

    def features(self, images: torch.Tensor, ctx: Context) -> torch.Tensor:
        return _network(self.model, self.fingerprint(), str(ctx.device))(images).double()

    def compute_set(self, originals: torch.Tensor, others: torch.Tensor, ctx: Context) -> float:
        import torch

        n = len(originals)
        a, b = originals - originals.mean(dim=0), others - others.mean(dim=0)
        means = ((originals.mean(dim=0) - others.mean(dim=0)) ** 2).sum()
        # The trace of the root of C_a C_b is the nuclear norm of the product of both roots.
        roots = torch.linalg.svdvals(a @ b.T).sum()
        return max(0.0, float(means + ((a**2).sum() + (b**2).sum() - 2 * roots) / (n - 1)))


@cache
def _network(name: str, digest: str, device: str) -> Any:
    model: Model = instantiate(registered("model")[name], {}, "face-fid.model")
    network = model.load()
    return network.to(device).eval().requires_grad_(False)

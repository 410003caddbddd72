"""The weights of a trained network as the state of an attack, and back into a network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bench import ContractError


def state_of(network: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """Return copies of the weights and buffers of a network by name, each name after the ``prefix``, on the CPU.

    Raise `ContractError` for one that is not finite.
    """
    found = {f"{prefix}{name}": tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
    for name, tensor in found.items():
        if not torch.isfinite(tensor).all():
            raise ContractError(f"the training ended with a weight {name!r} that is not finite; lower its rate")
    return found


def restored(network: nn.Module, state: Mapping[str, Tensor], prefix: str = "") -> nn.Module:
    """Return the network with the weights that `state_of` returned, in evaluation mode and without gradients.

    Names without the ``prefix`` are passed over. Raise `ContractError` if weights are missing, too many, or of another
    shape: the state then belongs to another network.
    """
    own = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        detail = " ".join(str(error).split())
        raise ContractError(
            f"the state holds the weights of another network than the one that is evaluated: {detail}"
        ) from None
    return network.eval().requires_grad_(False)

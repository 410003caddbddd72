"""Weights files and their model cards: rounding, writing and checking."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from .checkpoints import replace


def half_weights(net: nn.Module) -> dict[str, Tensor]:
    """Return the network's state with floats rounded to half precision, contiguous, on the CPU.

    Raises ValueError if a value does not fit into half precision.
    """
    out = {}
    for name, value in net.state_dict().items():
        rounded = value.half() if value.is_floating_point() else value
        if not torch.isfinite(rounded).all():
            raise ValueError(f"{name}: expected values that fit into half precision, got up to {value.abs().max():g}")
        out[name] = rounded.cpu().contiguous().clone()
    return out


def full_weights(net: nn.Module) -> dict[str, Tensor]:
    """Return the network's state without rounding, contiguous, on the CPU."""
    return {name: value.cpu().contiguous().clone() for name, value in net.state_dict().items()}


def write_model(
    weights: Mapping[str, Tensor], card: Mapping[str, Any], weights_dir: Path, metadata: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Write `<name>.safetensors`, then the card `<name>.json` with the file's size and sha256; return that card.

    ``metadata`` is written into the header of the safetensors file, beside the name. Equal weights give equal bytes.
    """
    path = weights_dir / f"{card['name']}.safetensors"
    content = ordered(save(dict(weights), metadata={"model": str(card["name"]), **(metadata or {})}))
    replace(path, lambda beside: beside.write_bytes(content))
    complete = {**card, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    text = json.dumps(complete, indent=2, default=str) + "\n"
    replace(path.with_suffix(".json"), lambda beside: beside.write_text(text, encoding="utf-8"))
    written: dict[str, Any] = json.loads(text)
    return written


def ordered(content: bytes) -> bytes:
    """Return a safetensors file with its metadata in alphabetical order; `save` writes them in arbitrary order.

    The format: the length of the header as 8 bytes, little-endian; the header as JSON, padded with blanks to a multiple
    of 8; the tensors, whose offsets are relative to the end of the header.
    """
    size = int.from_bytes(content[:8], "little")
    head = json.loads(content[8 : 8 + size])
    head["__metadata__"] = dict(sorted(head["__metadata__"].items()))
    text = json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def read_card(weights_dir: Path, name: str) -> dict[str, Any]:
    """Return the card that `write_model` wrote."""
    card: dict[str, Any] = json.loads((weights_dir / f"{name}.json").read_text(encoding="utf-8"))
    return card


def check_file(card_path: Path) -> Path:
    """Return the weights file beside a card. Raises ValueError unless it has the card's size and sha256."""
    card = json.loads(card_path.read_text(encoding="utf-8"))
    path = card_path.with_suffix(".safetensors")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if (len(content), digest) != (card["bytes"], card["sha256"]):
        raise ValueError(
            f"{path}: expected {card['bytes']} bytes with sha256 {card['sha256']}, got {len(content)} with {digest}"
        )
    return path

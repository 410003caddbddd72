"""A program outside Python protects a folder of pictures."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bench import Context, ContractError, Defense, Protected

PROGRAM = Path(__file__).parent / "halve.py"


@dataclass(frozen=True, kw_only=True)
class ExternalProgram(Defense):
    """Writes the pictures of a batch into a folder, calls a program on it, and reads what the program wrote."""

    goal = "anonymity"
    protects = frozenset({"probe", "gallery", "both"})

    programs = (sys.executable,)
    size: int = 14

    def weights(self) -> Sequence[Path]:
        """Return the program: another one is another defense."""
        return (PROGRAM,)

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return the pictures that the program wrote."""
        with tempfile.TemporaryDirectory() as folder:
            before, after = Path(folder, "before"), Path(folder, "after")
            before.mkdir()
            after.mkdir()
            for i, image in enumerate(images.mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()):
                Image.fromarray(image).save(before / f"{i:04d}.png")
            command = [sys.executable, "-P", str(PROGRAM), str(before), str(after), str(self.size)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ContractError(f"{ctx.plugin}: {PROGRAM.name} ended with {done.returncode}: {done.stderr.strip()}")
            made = [np.array(Image.open(after / f"{i:04d}.png")) for i in range(len(images))]
        return Protected(images=torch.from_numpy(np.stack(made)).to(images).permute(0, 3, 1, 2).div(255))

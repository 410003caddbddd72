"""Defenses and attacks that break their contract, each in one way."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bench import Attack, Defense, Faces, Protected, Received, Reconstructed

if TYPE_CHECKING:
    import torch

    from bench import Context, Examples, Need, Sees

How = Literal[
    "raises", "hangs", "exits", "leaves", "segfaults", "nan", "shape", "range", "mutates", "integers", "nothing",
    "a-tensor", "numpy", "extra-shape", "extra-nan", "asks-shallow", "asks-network", "asks-subjects",
    "exits-well", "spins", "stalls", "kills-itself", "prints", "unpicklable", "speechless", "deletes-log",
    "closes", "swaps-stdout", "disturbs", "forks", "grad", "signals-parent", "kills-parent",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ToyMisbehave(Defense):
    """Misbehaves in ``protect``."""

    how: How = "raises"

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Misbehave as ``how`` says."""
        act = getattr(self, "_" + self.how.replace("-", "_"))
        result: Protected = act(images, ctx)
        return result

    def _raises(self, images: Any, ctx: Any) -> Any:
        raise RuntimeError("the toy broke [/red] {in} a <strange> way")

    def _hangs(self, images: Any, ctx: Any) -> Any:
        while True:
            time.sleep(60)

    def _exits(self, images: Any, ctx: Any) -> Any:
        os._exit(7)

    def _leaves(self, images: Any, ctx: Any) -> Any:
        sys.exit("the toy called sys.exit")

    def _segfaults(self, images: Any, ctx: Any) -> Any:
        ctypes.string_at(0)

    def _nan(self, images: Any, ctx: Any) -> Any:
        out = images.clone()
        out[0, 0, 0, 0] = float("nan")
        return Protected(images=out)

    def _shape(self, images: Any, ctx: Any) -> Any:
        return Protected(images=images[..., 1:])

    def _range(self, images: Any, ctx: Any) -> Any:
        return Protected(images=images * 255)

    def _mutates(self, images: Any, ctx: Any) -> Any:
        return Protected(images=images.mul_(0.5))

    def _integers(self, images: Any, ctx: Any) -> Any:
        return Protected(images=(images * 255).byte())

    def _nothing(self, images: Any, ctx: Any) -> Any:
        return Protected()

    def _a_tensor(self, images: Any, ctx: Any) -> Any:
        return images.clone()

    def _numpy(self, images: Any, ctx: Any) -> Any:
        return Protected(images=images.numpy().copy())

    def _extra_shape(self, images: Any, ctx: Any) -> Any:
        return Protected(images=images.clone(), extra={"loss": images.mean()})

    def _extra_nan(self, images: Any, ctx: Any) -> Any:
        return Protected(images=images.clone(), extra={"loss": images.mean((1, 2, 3)) * float("nan")})

    def _asks_shallow(self, images: Any, ctx: Any) -> Any:
        return ctx.shallow("toy-a").features(images, ["stem"])

    def _asks_network(self, images: Any, ctx: Any) -> Any:
        return ctx.network("toy-a")(images)

    def _asks_subjects(self, images: Any, ctx: Any) -> Any:
        return Protected(images=images.clone(), extra={"who": ctx.subjects})

    # -- The process ends or hangs.

    def _exits_well(self, images: Any, ctx: Any) -> Any:
        print("leaving without a word of goodbye")
        os._exit(0)

    def _spins(self, images: Any, ctx: Any) -> Any:
        """Sleep in C code with SIGTERM blocked, so that Python handles no signal."""
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        ctypes.PyDLL(None).sleep(100_000)

    def _stalls(self, images: Any, ctx: Any) -> Any:
        """Sleep with a handler of SIGTERM that raises ArithmeticError."""

        def refuse(number: int, frame: Any) -> None:
            raise ArithmeticError("the toy does not take orders")

        signal.signal(signal.SIGTERM, refuse)
        time.sleep(100_000)

    def _kills_itself(self, images: Any, ctx: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    def _signals_parent(self, images: Any, ctx: Any) -> Any:
        """Send SIGTERM to the parent process, with every batch."""
        os.kill(os.getppid(), signal.SIGTERM)
        return Protected(images=images.clone())

    def _kills_parent(self, images: Any, ctx: Any) -> Any:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)

    # -- Output and errors.

    def _prints(self, images: Any, ctx: Any) -> Any:
        """Write 100 MB to stdout, to stderr and to file descriptor 1, then raise."""
        text = "the toy has a lot to say " * 40
        for _ in range(30_000):
            print(text)
            print(text, file=sys.stderr)
        for _ in range(40):
            os.write(1, (text + "\n").encode() * 1000)
        raise RuntimeError("the toy has said it")

    def _unpicklable(self, images: Any, ctx: Any) -> Any:
        class UnpicklableError(Exception):
            def __reduce__(self) -> Any:
                raise TypeError("not even this")

        error = UnpicklableError("the toy broke in a way of its own")
        error.thing = lambda: images  # type: ignore[attr-defined]
        raise error

    def _speechless(self, images: Any, ctx: Any) -> Any:
        class SpeechlessError(Exception):
            def __str__(self) -> str:
                raise ValueError("no words")

        raise SpeechlessError

    def _deletes_log(self, images: Any, ctx: Any) -> Any:
        Path(os.readlink("/proc/self/fd/1")).unlink()
        raise RuntimeError("the toy deleted its log")

    def _closes(self, images: Any, ctx: Any) -> Any:
        os.close(1)
        os.close(2)
        raise RuntimeError("the toy closed the door")

    def _swaps_stdout(self, images: Any, ctx: Any) -> Any:
        sys.stdout.close()
        sys.stdout = sys.stderr = None  # type: ignore[assignment]
        return Protected(images=images.clone())

    # -- Changes that remain after the call.

    def _disturbs(self, images: Any, ctx: Any) -> Any:
        """Change all global state of the process: random states, settings of torch and numpy, environment, signals."""
        import random
        import warnings

        import numpy as np
        import torch

        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(2)
        torch.set_flush_denormal(True)
        torch.set_grad_enabled(False)
        torch.inference_mode().__enter__()
        torch.autocast("cpu", dtype=torch.bfloat16).__enter__()
        torch.set_default_device("meta")
        torch.use_deterministic_algorithms(True)
        np.seterr(all="raise")
        warnings.simplefilter("error")
        os.environ.clear()
        os.environ["OMP_NUM_THREADS"] = "7"
        os.chdir("/")
        os.umask(0o777)
        sys.setrecursionlimit(200)
        gc.disable()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGALRM])
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        return Protected(images=images.detach().clone())

    def _forks(self, images: Any, ctx: Any) -> Any:
        """Start two child processes that do not end, one forked and one of another program. Their process ids are
        written to the file that ``TOY_CHILDREN`` names."""
        child = os.fork()
        if child == 0:
            time.sleep(100_000)
        other = subprocess.Popen(["sleep", "100000"])
        Path(os.environ["TOY_CHILDREN"]).write_text(f"{child} {other.pid}")
        return Protected(images=images.clone())

    def _grad(self, images: Any, ctx: Any) -> Any:
        images = images.clone().requires_grad_()
        return Protected(images=(images * 1.0), extra={"mean": images.mean((1, 2, 3))})


@dataclass(frozen=True, kw_only=True)
class ToySlow(Defense):
    """Waits, and adds noise; ``number`` distinguishes several components."""

    seconds: float = 0.25
    number: int = 0

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Wait ``seconds`` and add noise."""
        time.sleep(self.seconds)
        return Protected(images=(images + 0.1 * ctx.randn(images)).clamp(0, 1))


@dataclass(frozen=True, kw_only=True)
class ToyHungry(Defense):
    """Fails for more than ``most`` images at once, with a memory error of torch or Python, or by using all memory."""

    how: Literal["torch", "python", "eats"] = "torch"
    most: int = 4

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return a copy of at most ``most`` images."""
        import torch

        if len(images) > self.most:
            if self.how == "torch":
                raise torch.OutOfMemoryError("CUDA out of memory. The toy tried to allocate 1 YiB")
            if self.how == "python":
                raise MemoryError("a pebibyte of toys")
            eat()
        return Protected(images=images.clone())


@dataclass(frozen=True, kw_only=True)
class ToyGlutton(Defense):
    """Allocates all memory in ``fit``, where no smaller batch helps."""

    needs: ClassVar[frozenset[Need]] = frozenset({"training"})

    def fit(self, faces: Faces, ctx: Context) -> Any:
        """Allocate memory without end."""
        eat()

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Raise AssertionError: the host must not call it."""
        raise AssertionError("a defense that could not be fitted was called")


def eat() -> None:
    """Allocate memory without end."""
    print("eating")
    eaten = []
    while True:
        eaten.append(b"x" * 20_000_000)
        time.sleep(0.02)


@dataclass(frozen=True, kw_only=True)
class ToyForger(Defense):
    """Sends the face unchanged, with false extras under the names of the host's metrics."""

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Return a copy of the images, with 0 as ``ssim`` and ``psnr``."""
        lie = images.mean((1, 2, 3)) * 0
        return Protected(images=images.clone(), extra={"ssim": lie, "psnr": lie})


@dataclass(frozen=True, kw_only=True)
class ToyVandal(Defense):
    """Gets the whole model for its gradients, and overwrites its weights."""

    needs: ClassVar[frozenset[Need]] = frozenset({"full_gradients"})

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Set all weights of the network to 1, and return a copy of the images."""
        network: Any = ctx.network(ctx.authorised[0])
        for parameter in network.parameters():
            parameter.data.zero_().add_(1)
        return Protected(images=images.clone())


@dataclass(frozen=True, kw_only=True)
class ToyBadFit(Defense):
    """Returns a number instead of a tensor from ``fit``."""

    needs: ClassVar[frozenset[Need]] = frozenset({"training"})

    def fit(self, faces: Faces, ctx: Context) -> Any:
        """Return a number instead of a tensor."""
        return {"mean": 3}

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Raise AssertionError: the host must not call it, because it refuses the result of ``fit``."""
        raise AssertionError("a defense that could not be fitted was called")


@dataclass(frozen=True, kw_only=True)
class ToyBadFeatures(Defense):
    """Sends wrong features."""

    needs: ClassVar[frozenset[Need]] = frozenset({"shallow"})
    sends = frozenset({"feature"})

    how: Literal["missing", "shape", "nan", "numpy"] = "missing"

    def protect(self, images: torch.Tensor, ctx: Context) -> Protected:
        """Misbehave as ``how`` says."""
        if self.how == "missing":
            return Protected(features={"elsewhere": images})
        maps: Any = ctx.shallow(ctx.authorised[0]).features(images, ctx.uploaded)[-1].detach()
        changed = {"shape": maps[1:], "nan": maps * float("nan"), "numpy": maps.numpy()}
        return Protected(features=dict.fromkeys(ctx.uploaded, changed[self.how]))


@dataclass(frozen=True, kw_only=True)
class ToyBadAttack(Attack):
    """Misbehaves in ``reconstruct``. It works on features, so that networks exist that it must not request."""

    sees: ClassVar[frozenset[Sees]] = frozenset({"features"})

    how: Literal[
        "raises", "nan", "shape", "range", "mutates", "integers", "nothing", "a-tensor", "numpy", "extra-shape",
        "extra-nan", "extra-moods", "asks-shallow", "asks-network",
    ] = "raises"  # fmt: skip

    def splits(self, available: Sequence[str], uploaded: Sequence[str]) -> Sequence[str]:
        """Return all available splits."""
        return available

    def reconstruct(self, received: Received, ctx: Context) -> Any:
        """Misbehave as ``how`` says."""
        import torch

        maps = next(iter(received.features.values()))
        images = torch.full((len(maps), 3, 32, 32), 0.5, device=maps.device)
        extra = torch.ones(len(maps), device=maps.device)
        if self.how == "raises":
            raise RuntimeError("the toy attacker gave up")
        if self.how == "nothing":
            return None
        if self.how == "a-tensor":
            return images
        if self.how == "mutates":
            maps.mul_(0)
        if self.how == "asks-shallow":
            ctx.shallow(ctx.authorised[0])
        if self.how == "asks-network":
            ctx.network(ctx.authorised[0])
        changed: dict[str, Any] = {
            "nan": images * float("nan"),
            "shape": images[..., 1:],
            "range": images * 255,
            "integers": (images * 255).byte(),
            "numpy": images.numpy(),
        }
        extras = {
            "extra-shape": {"loss": extra.mean()},
            "extra-nan": {"loss": extra * float("nan")},
            "extra-moods": {f"of {len(maps)}": extra},
        }
        return Reconstructed(images=changed.get(self.how, images), extra=extras.get(self.how, {}))


@dataclass(frozen=True, kw_only=True)
class ToyBadEyes(Attack):
    """Misbehaves in ``estimate``."""

    outputs = "attributes"

    how: Literal["raises", "nan", "shape", "numpy", "nothing", "a-tensor", "mutates", "moods"] = "raises"

    def estimate(self, images: torch.Tensor, ctx: Context) -> Any:
        """Misbehave as ``how`` says."""
        good = images.mean((2, 3))
        if self.how == "raises":
            raise RuntimeError("the toy saw nothing")
        if self.how == "mutates":
            images.mul_(0)
        return {
            "nan": {"colour": good * float("nan")},
            "shape": {"colour": good[1:]},
            "numpy": {"colour": good.numpy()},
            "nothing": {},
            "a-tensor": good,
            "mutates": {"colour": good},
            "moods": {f"of {len(images)}": good},
        }[self.how]


@dataclass(frozen=True, kw_only=True)
class ToyUnfinished(Attack):
    """Declares outputs and training without the methods for them."""

    gives: Literal["images", "attributes", "recognition"] = "images"
    learns: Literal["nothing", "clean"] = "nothing"

    @property
    def outputs(self) -> Literal["images", "attributes", "recognition"]:  # type: ignore[override]
        """The parameter ``gives``."""
        return self.gives

    @property
    def trains_on(self) -> Literal["nothing", "clean"]:  # type: ignore[override]
        """The parameter ``learns``."""
        return self.learns


@dataclass(frozen=True, kw_only=True)
class ToyBadLearner(Attack):
    """Returns a number instead of a tensor, or an empty state, from ``fit``."""

    trains_on = "clean"

    learnt: Literal["a number", "nothing"] = "a number"

    def fit(self, examples: Examples, ctx: Context) -> Any:
        """Return a number instead of a tensor, or an empty state."""
        return {"mean": 3} if self.learnt == "a number" else {}

    def reconstruct(self, received: Received, ctx: Context) -> Reconstructed:
        """Return a copy of the received images."""
        assert received.images is not None
        return Reconstructed(images=received.images.clone())


@dataclass(frozen=True, kw_only=True)
class ToyGreedy(Attack):
    """Requests splits that do not exist, or none, or raises an error in ``splits``."""

    sees: ClassVar[frozenset[Sees]] = frozenset({"features"})

    how: Literal["refuses", "invents", "none", "raises"] = "refuses"

    def splits(self, available: Sequence[str], uploaded: Sequence[str]) -> Sequence[str]:
        """Misbehave as ``how`` says."""
        if self.how == "refuses":
            raise ValueError("works on a split called 'tail' only")
        if self.how == "raises":
            raise KeyError("stem")
        return ["tail"] if self.how == "invents" else []

    def reconstruct(self, received: Received, ctx: Context) -> Reconstructed:
        """Raise AssertionError: the host must not call it."""
        raise AssertionError("an attack that cannot have its features was called")


MISBEHAVING: Mapping[str, type[Defense]] = {
    "toy-misbehave": ToyMisbehave,
    "toy-slow": ToySlow,
    "toy-hungry": ToyHungry,
    "toy-glutton": ToyGlutton,
    "toy-forger": ToyForger,
    "toy-vandal": ToyVandal,
    "toy-bad-fit": ToyBadFit,
    "toy-bad-features": ToyBadFeatures,
}
BAD_ATTACKS: Mapping[str, type[Attack]] = {
    "toy-bad-attack": ToyBadAttack,
    "toy-bad-eyes": ToyBadEyes,
    "toy-unfinished": ToyUnfinished,
    "toy-bad-learner": ToyBadLearner,
    "toy-greedy": ToyGreedy,
}

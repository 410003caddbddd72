"""The checks of the kit, in the order in which they are asked: each has one name, one sentence, and a way to mend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ALL = ("dataset", "training_set", "model", "defense", "attack", "metric")
_TENSORS = ("model", "defense", "attack", "metric")
_CALLED = ("training_set", *_TENSORS)  # They are called with faces or rows, batch by batch.
_LEARNERS = ("defense", "attack")


@dataclass(frozen=True)
class KitCheck:
    """One check: its name, what it asks as a sentence, how to mend what fails it, and the kinds of plugins that it is
    asked of."""

    name: str
    asks: str
    mend: str
    kinds: tuple[str, ...] = ALL


_CHECKS = (
    KitCheck(
        "parameters",
        "The class is a frozen dataclass whose defaults have the types and bounds that it declares, and builds.",
        "correct the annotation or the default of the parameter; decorate the class with "
        "@dataclass(frozen=True, kw_only=True)",
    ),
    KitCheck(
        "declarations",
        "What the class declares has the types of its base class, and no declaration contradicts another.",
        "correct the declaration; docs/plugins.md lists what each kind declares",
    ),
    KitCheck(
        "files",
        "The files and programs that it declares exist, and its fingerprint is the same when it is asked for again.",
        "return the same fingerprint for the same files; make it from their content, not from times or addresses",
    ),
    KitCheck(
        "call",
        "Its methods return when they are called as a run calls them; they neither raise nor end the process.",
        "repeat it in a debugger: bench check NAME --here",
    ),
    KitCheck(
        "needs",
        "It uses only what it declares: no capability of the context that is not in its needs or sees.",
        "declare what it uses, or do not use it",
    ),
    KitCheck(
        "output",
        "What it returns has the shapes, types and range of the contract, and no NaN or infinity.",
        "return what the documentation of the base class says; clamp images to [0, 1]",
    ),
    KitCheck(
        "inputs",
        "The tensors that it is given are unchanged afterwards.",
        "work on a copy: images.clone(); avoid operations that end with an underscore",
        _TENSORS,
    ),
    KitCheck(
        "networks",
        "The networks that it is given, or that it is, are unchanged afterwards: weights, buffers, gradients, mode.",
        "use torch.autograd.grad for gradients of pixels, and leave train() and the weights of given networks alone",
        _TENSORS,
    ),
    KitCheck(
        "random",
        "Results do not follow from the global random streams of torch, numpy and Python, and none of them is seeded.",
        "draw from ctx.randn, ctx.rand and ctx.generator(), or inside torch.random.fork_rng()",
    ),
    KitCheck(
        "device",
        "It works on the device that the context names, here the CPU, and requests no other.",
        "use ctx.device, or the device of what it is given; never .cuda()",
        _TENSORS,
    ),
    KitCheck(
        "undeclared",
        "It reads no file and calls no program that it does not declare.",
        "return the file from weights(), or name the program in programs",
    ),
    KitCheck(
        "learning",
        "What fit() learns is the same again from the same faces under the same seed.",
        "take the order of faces and initial weights from ctx.generator()",
        _LEARNERS,
    ),
    KitCheck(
        "repeat",
        "The same call gives the same result again.",
        "take randomness from ctx.randn, ctx.rand and ctx.generator(), and keep nothing from call to call",
    ),
    KitCheck(
        "state",
        "What fit() returns can be stored in the cache, and gives the same results when it is read back.",
        "return tensors of types that numpy has, and nothing that is not in them",
        _LEARNERS,
    ),
    KitCheck(
        "order",
        "A face gives the same result wherever it stands among the others.",
        "treat every face by itself; take its randomness from ctx.randn or ctx.rand, which give each face its stream",
        _CALLED,
    ),
    KitCheck(
        "split",
        "A face gives the same result however the faces are divided into batches.",
        "treat every face by itself: no mean, norm or rank over the batch",
        _CALLED,
    ),
    KitCheck(
        "prefix",
        "The first pairs of a longer request are the pairs of a shorter one, and images are the same in any part.",
        "choose pairs one after the other, whatever number is requested",
        ("dataset",),
    ),
    KitCheck(
        "people",
        "No person is in two folds, and no person or picture in two splits; half of the pairs are genuine.",
        "divide the people first, and choose pairs among those of a fold",
        ("dataset",),
    ),
    KitCheck(
        "process",
        "Another worker process, which gets the state from the cache, gives the same result.",
        "avoid hash(), id(), the process number, and values that fit() leaves in the module",
    ),
    KitCheck(
        "gradients",
        "Embeddings and features have finite gradients with respect to the pixels, which are not all zero.",
        "compute in floats with torch, without detach(), no_grad() or rounding",
        ("model",),
    ),
)

CHECKS: Mapping[str, KitCheck] = {check.name: check for check in _CHECKS}
"""The checks by name, in the order in which they are asked."""

"""``bench models check``: what a weights file is, whether it loads, and whether it recognises faces."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bench import Dataset
    from bench_facenets import FaceNet
    from bench_facenets.checks.sanity import Sanity
    from bench_facenets.files.card import Card
    from bench_facenets.loading.splitting import SplitNetwork

PAIRS = 300  # genuine pairs, and as many impostor pairs
SHOWN = 12  # keys of each kind that are listed


def _look_in(_context: click.Context, _parameter: click.Parameter, folder: Path | None) -> None:
    from bench import DATA_VARIABLE, prepend_folder

    prepend_folder(DATA_VARIABLE, folder)


@click.command("check")
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@click.option("--as", "name", metavar="NAME", help="What it is, such as mobileface (bench plugins lists them).")
@click.option("--factory", metavar="MODULE:CALLABLE", help="Makes the torch module that FILE fills (a torch-module).")
@click.option("--channels", type=click.Choice(["rgb", "bgr"]), help="The order in which the network wants them.")
@click.option("--set", "overrides", multiple=True, metavar="NAME=VALUE", help="Any other parameter of the model.")
@click.option("--data", metavar="NAME|PATH", help="Faces to try: a data set or a path (default: the first real set).")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    callback=_look_in,
    expose_value=False,
    metavar="DIR",
    help="Look for data sets in DIR first, then in $BENCH_DATA.",
)
@click.option("--pairs", type=click.IntRange(20, 3000), default=2 * PAIRS, show_default=True, help="Pairs to verify.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(
    file: Path,
    name: str | None,
    factory: str | None,
    channels: str | None,
    overrides: tuple[str, ...],
    data: str | None,
    pairs: int,
    as_json: bool,
) -> None:
    """Say what the weights in FILE are, check that they work, and try them on faces.

    Exit code 1 when genuine pairs do not score above impostor pairs; 2 when the file cannot be used.

    \b
    Examples:
      bench models check mobilefacenet.ckpt --as mobileface --data ~/faces/lfw.bin
      bench models check backbone.pth --as ir50-arcface --channels bgr
      bench models check buffalo_l.zip --data lfw --data-dir ~/faces
      bench models check net.pth --factory mynets.py:make --set net_input_size=[112,96]
    """
    from bench_facenets.loading import build

    found: dict[str, Any] = {"file": str(file)}
    model = _model(file, name, factory, {"channels": channels} if channels else {}, overrides)
    say: Callable[[str], None] = (lambda _text: None) if as_json else click.echo
    found |= _show_keys(model, say)
    network, card = build.examine(model)
    found["card"] = json.loads(card.to_json())
    _show_card(card, say)
    sanity = _try(network, data, pairs, found, say)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    if sanity is not None and not sanity.separation.separates:
        click.get_current_context().exit(1)


def _model(
    file: Path, name: str | None, factory: str | None, params: Mapping[str, Any], overrides: tuple[str, ...]
) -> FaceNet:
    """The model that the options describe; a `SuiteError` names the option that makes no sense."""
    from bench import SuiteError, did_you_mean, instantiate, parameters_of
    from bench_facenets import MODELS

    if name is None and factory:
        name = "torch-module"
    elif name is None and (file.suffix.lower() in {".onnx", ".zip"} or file.is_dir()):
        name = "onnx-model"
    if name is None or name not in MODELS:
        found = "none" if name is None else repr(name)
        raise SuiteError(f"--as: expected the name of a network, found {found}; {did_you_mean(name or '', MODELS)}")
    given = {"weights_file": str(file.absolute()), **params, **parameters_of(overrides)}
    if factory:
        given["factory"] = factory
    made: FaceNet = instantiate(MODELS[name], given, name)
    return made


def _show_keys(model: FaceNet, say: Callable[[str], None]) -> dict[str, Any]:
    """What a checkpoint of a named network holds, beside what that network needs."""
    from bench_facenets import NamedNet

    if not isinstance(model, NamedNet) or model.weights().suffix.lower() == ".onnx":
        return {}
    from bench_facenets.files import checkpoints

    found = checkpoints.compare(model.weights(), model.architecture)
    wrapped = [f"under {found.wrapper!r}"] if found.wrapper else []
    wrapped += [f"after the prefix {found.prefix!r}"] if found.prefix else []
    say(f"file: {' '.join([f'{found.tensors} tensors', *wrapped])}; {found.parameters / 1e6:.2f} M parameters")
    mismatched = [f"{key} {there} instead of {wanted}" for key, there, wanted in found.mismatched]
    keys = {"missing": found.missing, "unexpected": found.unexpected, "of another shape": mismatched}
    for what, some in {**keys, "left aside": found.ignored}.items():
        if some:
            say(f"{what} ({len(some)}): {', '.join(some[:SHOWN])}{' ...' if len(some) > SHOWN else ''}")
    if found.fits:
        say("keys: all there, none missing, none unexpected")
    return {
        "layout": found.layout.name,
        "guessed": found.guessed.name if found.guessed else None,
        "alternatives": [layout.name for layout in found.alternatives],
        "wrapper": found.wrapper,
        "prefix": found.prefix,
        "keys": {what: list(some) for what, some in keys.items()},
        "left aside": list(found.ignored),
    }


def _show_card(card: Card, say: Callable[[str], None]) -> None:
    say(f"layout: {card.layout}; input {card.pixels}")
    say(f"license: {card.license}")
    say(
        f"embedding: {card.embedding_size}; {card.parameters / 1e6:.2f} M parameters, {card.mflops:.0f} MFLOP per image"
    )
    for name, split in card.splits.items():
        shape = "x".join(map(str, split.shape))
        share = split.parameters / max(card.parameters, 1)
        say(
            f"  split {name} ({split.module}): {shape}; a client holds {split.parameters:,} parameters ({share:.1%}), "
            f"{split.mflops:.0f} MFLOP"
        )
    say("self-check: embeddings, batches, gradients and split points are in order")
    for warning in card.warnings:
        say(f"note: {warning}")


def _try(
    network: SplitNetwork, data: str | None, pairs: int, found: dict[str, Any], say: Callable[[str], None]
) -> Sanity | None:
    """The sanity scores; none without a data set."""
    import torch

    from bench_facenets.checks import sanity

    chosen = _dataset(data)
    if chosen is None:
        say("faces: no real data set was found, so that recognition is not tried; name one with --data")
        return None
    name, dataset = chosen
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    result = sanity.judge(network, sanity.pair_images(dataset, name, pairs))
    found |= {"data": name, "sanity": dataclasses.asdict(result)}
    _show_sanity(name, result, say)
    return result


def _dataset(wanted: str | None) -> tuple[str, Dataset] | None:
    """The data set of ``--data``: a name or a path; without, the first real one that is there, or none."""
    from bench import DataError, SuiteError, build_component, did_you_mean, discover

    registry = discover()
    names = registry.names("dataset")
    if wanted in names:
        return wanted, build_component("dataset", wanted, {}, "--data", registry)
    if wanted is not None:
        if not Path(wanted).expanduser().exists():
            raise DataError(f"--data: expected a data set or a path, found {wanted!r}; {did_you_mean(wanted, names)}")
        return wanted, build_component("dataset", "face-set", {"path": wanted}, "--data", registry)
    for name in names:
        try:
            made: Dataset = build_component("dataset", name, {}, name, registry)
        except SuiteError:
            continue  # it exists only with parameters
        if not made.synthetic and made.status().missing is None:
            return name, made
    return None


def _show_sanity(name: str, result: Sanity, say: Callable[[str], None]) -> None:
    own = result.separation
    say(
        f"faces: {own.pairs} pairs of {name}: mean cosine {own.genuine_mean:.2f} genuine, {own.impostor_mean:.2f} "
        f"impostor; AUC {own.auc:.3f}; best balanced accuracy {own.accuracy:.3f} at {own.threshold:.2f}; at .2, "
        f"{own.fmr:.0%} of impostors pass"
    )
    if result.grey:
        say("note: these faces are grey, so that the order of channels cannot be told")
    if result.better is not None:
        other = result.better
        say(
            f"warning: your normalisation or channel order looks wrong: {other.setting} separates better "
            f"(AUC {other.separation.auc:.3f} against {own.auc:.3f})"
        )
    if not own.separates:
        say("failed: genuine pairs do not score above impostor pairs; as used here, these weights do not recognise")

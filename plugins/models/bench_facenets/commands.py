"""The command ``bench models check``: it shows what a weights file is, and tests whether it recognises faces."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench import data_dir_option, printable

if TYPE_CHECKING:
    from bench import Dataset
    from bench_facenets.checks.sanity import Sanity
    from bench_facenets.declarations import FaceNet
    from bench_facenets.files.card import Card
    from bench_facenets.loading.splitting import SplitNetwork

PAIRS = 300  # The default number of genuine pairs, and of impostor pairs.
SHOWN = 12  # The number of keys of each kind that are listed.


@click.command("check")
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@click.option("--as", "name", metavar="NAME", help="What it is, such as mobileface (bench plugins lists them).")
@click.option("--factory", metavar="MODULE:CALLABLE", help="Makes the torch module that FILE fills (a torch-module).")
@click.option("--channels", type=click.Choice(["rgb", "bgr", "grey"]), help="The order that the network takes.")
@click.option("--weights-key", metavar="KEY", help="Which network of a checkpoint that holds several.")
@click.option("--set", "overrides", multiple=True, metavar="NAME=VALUE", help="Any other parameter of the model.")
@click.option("--data", metavar="NAME|PATH", help="Faces to try: a data set or a path (default: the first real set).")
@data_dir_option
@click.option("--pairs", type=click.IntRange(20, 3000), default=2 * PAIRS, show_default=True, help="Pairs to verify.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(
    file: Path,
    name: str | None,
    factory: str | None,
    channels: str | None,
    weights_key: str | None,
    overrides: tuple[str, ...],
    data: str | None,
    pairs: int,
    as_json: bool,
) -> None:
    """Show what the weights in FILE are, check that they work, and test them on faces.

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
    options = {"channels": channels, "weights_key": weights_key}
    model = _model(file, name, factory, {key: value for key, value in options.items() if value}, overrides)
    say: Callable[[str], None] = (lambda _text: None) if as_json else (lambda text: click.echo(printable(text)))
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
    """Return the model that the options describe. Raises SuiteError, which names the wrong option."""
    from bench import DataError, SuiteError, did_you_mean, instantiate, parameters_of, registered
    from bench_facenets.declarations import FaceNet
    from bench_facenets.files import kinds

    known = {name: cls for name, cls in registered("model").items() if issubclass(cls, FaceNet)}
    if name is None and factory:
        name = "torch-module"
    elif name is None and (file.suffix.lower() in {".onnx", ".zip"} or file.is_dir()):
        name = "onnx-model"
    if name is None and (other := kinds.of_no_weights(file)):
        raise DataError(f"{file}: expected the weights of a network, found {other}")
    if name is None or name not in known:
        found = "none" if name is None else repr(name)
        raise SuiteError(f"--as: expected the name of a network, found {found}; {did_you_mean(name or '', known)}")
    given = {"weights_file": str(file.absolute()), **params, **parameters_of(overrides)}
    if factory:
        given["factory"] = factory
    made: FaceNet = instantiate(known[name], given, name)
    return made


def _show_keys(model: FaceNet, say: Callable[[str], None]) -> dict[str, Any]:
    """Show the keys of a checkpoint of a named network compared with the keys that the network needs; return them as
    JSON values."""
    from bench_facenets.declarations import NamedNet

    if not isinstance(model, NamedNet) or model.weights().suffix.lower() == ".onnx":
        return {}
    from bench_facenets.files import checkpoints

    found = checkpoints.compare(model.weights(), model.architecture, model.weights_key)
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
    """Verify pairs of a data set, show the result and return it; None without a data set."""
    import torch

    from bench_facenets.checks import sanity

    chosen = _dataset(data)
    if chosen is None:
        say("faces: no real data set was found, so that recognition is not tried; name one with --data")
        return None
    name, dataset = chosen
    found["data notes"] = list(dataset.status().notes)
    for note in found["data notes"]:
        say(f"note on {name}: {note}")
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    result = sanity.judge(network, sanity.pair_images(dataset, name, pairs))
    found |= {"data": name, "sanity": dataclasses.asdict(result)}
    _show_sanity(name, result, say)
    return result


def _dataset(wanted: str | None) -> tuple[str, Dataset] | None:
    """Return the data set of ``--data``, a name or a path; by default the first real one that exists, else None.

    Raises DataError for an unknown name.
    """
    from bench import DataError, SuiteError, did_you_mean, instantiate, registered

    known = registered("dataset")
    if wanted in known:
        return wanted, instantiate(known[wanted], {}, "--data")
    if wanted is not None:
        if "face-set" not in known or not Path(wanted).expanduser().exists():
            raise DataError(f"--data: expected a data set or a path, found {wanted!r}; {did_you_mean(wanted, known)}")
        return wanted, instantiate(known["face-set"], {"path": wanted}, "--data")
    for name, cls in known.items():
        try:
            made: Dataset = instantiate(cls, {}, name)
        except SuiteError:
            continue  # This data set needs parameters.
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
        say("note: these faces are grey, so that the order of channels cannot be tested")
    if result.better is not None:
        other = result.better
        say(
            f"warning: your normalisation or channel order looks wrong: {other.setting} separates better "
            f"(AUC {other.separation.auc:.3f} against {own.auc:.3f})"
        )
    if not own.separates:
        say("failed: genuine pairs do not score above impostor pairs; as used here, these weights do not recognise")

"""The commands about what is installed: ``plugins``, ``info``, ``doctor``, ``data``, ``models``, and ``train``."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli import completion, options
from bench.cli.error_messages import CommandGroup, exit_codes
from bench.cli.streams import go_on_unread
from bench.cli.terminal import say


@click.command()
@options.json
def plugins(as_json: bool) -> None:
    """List the installed plugins, what they provide, and why one cannot be used.

    \b
    Examples:
      bench plugins
      bench plugins --json
    """
    from bench.cli import console
    from bench.registry.declarations import examined
    from bench.registry.discovery import discover

    registry = discover()
    console.show_plugins(examined(registry), registry.conflicts, as_json=as_json)


@click.command()
@click.argument("name", shell_complete=completion.components)
@options.json
def info(name: str, as_json: bool) -> None:
    """Explain the component NAME: its parameters, what it needs and declares, where it comes from.

    \b
    Examples:
      bench info pmt
      bench info pmt --json
    """
    from bench.cli import console
    from bench.registry.discovery import discover

    console.show_info(discover(), name, as_json=as_json)


@click.command(epilog=exit_codes("something is wrong"))
@options.json
@options.out
def doctor(as_json: bool, out: Path) -> None:
    """Check the installation: plugins, weights, packages, folders, devices. Works with broken plugins.

    \b
    Examples:
      bench doctor
      bench doctor --out /mnt/results
    """
    from bench.cli import console
    from bench.runs import doctor

    checks = doctor.examine(options.folders(out))
    console.show_checks(checks, as_json=as_json)
    if any(not check.ok for check in checks):
        click.get_current_context().exit(1)


class _PluginGroup(CommandGroup):
    """A group with additional commands from plugins (hook ``bench_commands``).

    Plugins are imported only when a command of this group is looked up or listed.
    """

    def _plugin_commands(self) -> dict[str, click.Command]:
        from bench.registry.discovery import commands

        return commands(self.name or "")

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.commands, *self._plugin_commands()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self.commands.get(cmd_name) or self._plugin_commands().get(cmd_name)


@click.group(cls=_PluginGroup)
def data() -> None:
    """Real data sets: list what was found, check it, convert and align it.

    \b
    Examples:
      bench data status --data-dir ~/faces
      bench data verify --data-dir ~/faces
    """


@data.command("status")
@options.search_paths
@options.json
def data_status(as_json: bool) -> None:
    """List data sets and training sets: where each was found, its size and license, or what is missing.

    \b
    Examples:
      bench data status --data-dir ~/faces
      bench data status --json
    """
    from bench.cli import console
    from bench.registry import inventory
    from bench.registry.discovery import discover

    console.show_entries(list(inventory.entries(discover(), ["dataset", "training_set"])), as_json=as_json)


@data.command("verify", epilog=exit_codes("something is wrong with the data"))
@click.argument("names", nargs=-1)
@options.search_paths
@click.option("--against", multiple=True, metavar="NAME", help="Training sets to compare with (default: all found).")
@click.option("--set", "overrides", multiple=True, metavar="NAME=VALUE", help="A parameter of the data set.")
@options.json
def data_verify(names: tuple[str, ...], against: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> None:
    """Check data sets: every image, the pair protocol, people and near-duplicates shared with training sets.

    \b
    Examples:
      bench data verify --data-dir ~/faces
      bench data verify face-set --set path=~/faces/mine
    """
    from bench.cli import console
    from bench.registry import inventory
    from bench.registry.discovery import discover
    from bench.suite.overrides import parameters_of

    found = inventory.verify(discover(), names, against, parameters_of(overrides))
    if not console.show_verification(found, as_json=as_json):
        click.get_current_context().exit(1)


@click.group(cls=_PluginGroup)
def models() -> None:
    """Recognition models: which weights were found, whether they work, and how to fetch some.

    \b
    Examples:
      bench models fetch arcface-resnet
      bench models status --weights-dir ~/weights
      bench models check backbone.pth --as ir50-arcface
    """


@models.command("status")
@options.search_paths
@options.json
def models_status(as_json: bool) -> None:
    """List models: where the weights of each were found, their license, or what is missing.

    \b
    Examples:
      bench models status --weights-dir ~/weights
      bench models status --json
    """
    from bench.cli import console
    from bench.registry import inventory
    from bench.registry.discovery import discover

    console.show_entries(list(inventory.entries(discover(), ["model"])), as_json=as_json)


@click.command()
@options.suite
@options.set_
@options.search_paths
@click.option("--only", multiple=True, metavar="MODEL", help="Train only these of the suite's models.")
@click.option("--work", type=click.Path(path_type=Path), metavar="DIR", help="Where data and checkpoints are kept.")
@options.trust
def train(suite: Path, overrides: tuple[str, ...], only: tuple[str, ...], work: Path | None, trust: bool) -> None:
    """Train the networks and estimators of SUITE. An interrupted training continues from its last checkpoint.

    \b
    Examples:
      bench train zoo
      bench train casia --data-dir ~/faces --only mobileface
    """
    from bench.runs.train import train_suite

    go_on_unread()
    train_suite(suite, overrides, only, work, say, trust=trust)


COMMANDS = (plugins, info, doctor, train, data, models)

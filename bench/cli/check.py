"""The command ``bench check``: does a plugin keep the contract?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from bench.cli import completion, options
from bench.cli.error_messages import begins_again, exit_codes
from bench.cli.terminal import say, say_json, say_lines

if TYPE_CHECKING:
    from bench.kit.findings import KitResult
    from bench.kit.targets import Target


@click.command(epilog=exit_codes("a plugin fails a check, or a named one could not be checked"))
@click.argument("names", nargs=-1, metavar="NAME[,PARAM=VALUE...]...", shell_complete=completion.components)
@click.option("--all", "every", is_flag=True, help="Check every component of every installed plugin.")
@click.option("--here", is_flag=True, help="Check in this process and without a time limit, for a debugger.")
@options.component_timeout
@options.search_paths
@options.trust
@options.json
@begins_again
def check(names: tuple[str, ...], every: bool, here: bool, timeout_s: float | None, trust: bool, as_json: bool) -> None:
    """Check that plugins keep the contract, on synthetic faces and tiny networks.

    NAME is a component or a plugin as bench plugins lists it; a component may have parameters, as for --defense. They
    are checked on the CPU in a child process, which is started anew after one that hangs or ends it. What passes with
    its default parameters gets a badge, which runs record (docs/checking.md).

    \b
    Examples:
      bench check my-cloak
      bench check 'pmt,steps=2'      # tiny parameters, for a plugin that takes long
      bench check my-cloak --here    # stops at your breakpoint()
    """
    from bench.kit.child import TIMEOUT_S, KitRequest, checked_apart

    if bool(names) == every:
        raise click.UsageError("expected a NAME to check, or --all" + (", not both" if every else ""))
    request = KitRequest(names=names, trust=trust)
    results = _here(request.targets()) if here else checked_apart(request, timeout_s or TIMEOUT_S)
    found = list(_shown(results, as_json=as_json))
    if as_json:
        say_json([_record(one) for one in found])
    elif len(found) > 1:
        outcomes: list[str] = [one.outcome for one in found]
        counted = (f"{outcomes.count(word)} {word}" for word in ("passed", "failed", "not checked"))
        say(f"{len(found)} components: {', '.join(counted)}")
    if any(one.failed or not (every or one.passed) for one in found):
        click.get_current_context().exit(1)


def _here(targets: Iterable[Target]) -> Iterator[KitResult]:
    from bench.kit.checking import checked_here

    yield from map(checked_here, targets)


def _shown(results: Iterable[KitResult], *, as_json: bool) -> Iterator[KitResult]:
    """Yield results, and print each as soon as it is there unless JSON is requested."""
    for result in results:
        if not as_json:
            say_lines(result.as_text())
        yield result


def _record(result: KitResult) -> dict[str, object]:
    found = {name: value for name, value in vars(result).items() if name not in ("component", "findings")}
    found["params"] = {name: str(value) for name, value in result.params.items()}
    return {**found, "outcome": result.outcome, "findings": [dataclasses.asdict(one) for one in result.findings]}


COMMANDS = (check,)

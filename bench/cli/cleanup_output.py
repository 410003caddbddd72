"""The output of ``bench cache`` and ``bench runs``, as tables for the terminal or as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from rich.progress import track

from bench.cli.console import draws_bars, err, out, table_of
from bench.cli.terminal import say_json
from bench.core.text import duration, one_line
from bench.runs.cleanup import Collected, KindUse, Run
from bench.store.run_record import RunRecord
from bench.store.run_record import as_json as record_as_json


def amount(size: int) -> str:
    """Return a number of bytes as text with a decimal unit: ``12 B``, ``3.4 kB``, ``2.0 GB``."""
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"


def count(number: int, what: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1: ``1 artifact``, ``1,200 artifacts``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def progress(what: str, keys: Sequence[str]) -> Iterable[str]:
    """Yield the keys one by one and show how many are done as a progress bar, if stderr is a terminal."""
    return track(keys, what, console=err, disable=not draws_bars(), transient=True)


def _local_time(seconds: float) -> str:
    """Return seconds since the epoch as a local date and time, to the minute."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


# ---- the cache -------------------------------------------------------------------------------------------------------


def show_cache(root: Path, kinds: Sequence[KindUse], unfinished: Sequence[tuple[Path, int]], *, as_json: bool) -> None:
    """Print what ``bench cache ls`` shows: the artifacts in the cache at ``root`` by kind of stage, and the total.

    ``unfinished`` are the folders of unfinished artifacts with their sizes in bytes.
    """
    total, size = sum(row.artifacts for row in kinds), sum(row.size for row in kinds)
    left = {"folders": len(unfinished), "size": sum(bytes_ for _, bytes_ in unfinished)}
    if as_json:
        rows = [asdict(row) for row in kinds]
        say_json({"cache": root, "artifacts": total, "size": size, "kinds": rows, "unfinished": left})
        return
    if kinds:
        table = table_of("kind", "artifacts", "size", "oldest use", "newest use", numbers=(1, 2))
        for row in kinds:
            used = (_local_time(row.oldest), _local_time(row.newest))
            table.add_row(row.kind, f"{row.artifacts:,}", amount(row.size), *used)
        out.print(table)
    out.print(f"{root}: {count(total, 'artifact')}, {amount(size)}", soft_wrap=True)
    if unfinished:
        out.print(
            f"{count(len(unfinished), 'unfinished artifact')}, {amount(left['size'])}: bench cache gc sweeps them"
        )


def show_damage(checked: Iterable[str | None], *, discarded: bool) -> int:
    """Print what ``bench cache verify`` shows and return the number of damaged artifacts.

    ``checked`` has the problem of every artifact, None for a sound one. A damaged artifact is printed as soon as it is
    found. ``discarded``: whether damaged artifacts were removed.
    """
    total = damaged = 0
    for problem in checked:
        total += 1
        if problem:
            damaged += 1
            out.print(f"damaged {problem}", soft_wrap=True, style="red")
    out.print(f"{count(total, 'artifact')}, {damaged:,} damaged")
    if damaged:
        did = "they were removed" if discarded else "--discard removes them"
        out.print(f"{did}; the next run that needs them computes them again")
    return damaged


def show_collected(collected: Collected, max_size: int | None, *, dry_run: bool) -> None:
    """Print what ``bench cache gc`` shows: what was removed (with ``dry_run``: would be), what is left, and what could
    not be removed. ``max_size`` is the limit that was requested, in bytes."""
    would = "would remove" if dry_run else "removed"
    size = sum(artifact.size for artifact in collected.removed)
    out.print(f"{would} {count(len(collected.removed), 'artifact')}, {amount(size)}")
    if collected.unfinished:
        left = count(collected.unfinished, "unfinished artifact")
        out.print(f"{would} {left} of killed workers, {amount(collected.unfinished_size)}")
    if collected.locks:
        out.print(f"{would} {count(collected.locks, 'file')} of locks that no process holds")
    would_be = "would be left" if dry_run else "left"
    needed = f", {amount(collected.needed)} of it needed by running runs" if collected.needed else ""
    out.print(f"{count(collected.kept, 'artifact')} {would_be}, {amount(collected.kept_size)}{needed}")
    if max_size is not None and collected.kept_size > max_size:
        why = "running runs need them" if collected.needed else "they are in use or cannot be removed"
        out.print(f"that is more than {amount(max_size)}: {why}", style="yellow")
    for failure in collected.failed:
        out.print(f"problem {failure}", soft_wrap=True, style="red")


# ---- runs ------------------------------------------------------------------------------------------------------------


def show_runs(results: Path, found: Sequence[Run], *, as_json: bool) -> None:
    """Print what ``bench runs ls`` shows: one row for each run. ``results`` is the folder that holds them."""
    if as_json:
        say_json([asdict(run) for run in found])
        return
    if not found:
        out.print(f"no runs in {results}", soft_wrap=True)
        return
    table = table_of(
        "suite", "run", "started", "status", "cells", "ok", "failed", "skipped", "size", numbers=range(4, 9)
    )
    for run in found:
        failed = _total(run.counts, "failed", "timeout")
        cells = [_total(run.counts, "cells"), _total(run.counts, "ok"), failed, _total(run.counts, "skipped")]
        style = {"running": "green", "complete": None}.get(run.status, "yellow")
        started = _recorded_time(run.started)
        table.add_row(
            one_line(run.suite), one_line(run.name), started, run.status, *cells, amount(run.size), style=style
        )
    out.print(table)


def _total(counts: Mapping[str, int], *names: str) -> str:
    """Return the sum of the counts of some names as text; empty if the record has none of them."""
    known = [counts[name] for name in names if name in counts]
    return f"{sum(known):,}" if known else ""


def _recorded_time(iso: str) -> str:
    """Return a time in ISO format as local time, or the text itself if it is not a time."""
    try:
        return _local_time(datetime.fromisoformat(iso).timestamp())
    except (ValueError, OverflowError, OSError):
        return iso


def show_run(run: Run, record: RunRecord, failures: Mapping[str, int], *, as_json: bool) -> None:
    """Print what ``bench runs show`` shows: the main parts of the record of a run, and why stages failed.

    ``failures`` has the number of failed stages for each reason. What the record of another version lacks is left out.
    """
    if as_json:
        say_json(
            {
                "folder": run.folder,
                "size": run.size,
                **record_as_json(record),
                "status": run.status,
                "failures": failures,
            }
        )
        return
    suite, machine = record.suite, record.machine
    took = "" if record.seconds is None else f", {duration(record.seconds)}"
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    lines = {
        "run": run.folder,
        "suite": ", ".join([suite.name, *([suite.path] if suite.path else []), *_sha256(suite.sha256)]),
        "command": " ".join(record.command),
        "started": f"{_recorded_time(run.started)}{took}",
        "status": run.status,
        "device": ", ".join(v for v in (record.device, machine.processor) if v),
        "machine": ", ".join(v for v in (machine.platform, machine.python) if v),
        "commit": record.commit,
        "versions": versions,
    }
    for name, value in lines.items():
        if value:
            out.print(f"{name}: {value}", soft_wrap=True)
    _show_components(record)
    counts = [f"{number:,} {name.replace('_', ' ')}" for name, number in run.counts.items()]
    out.print(f"counts: {', '.join(counts) or 'none yet'}", soft_wrap=True)
    for reason, number in failures.items():
        out.print(f"  {count(number, 'stage')}: {reason}", soft_wrap=True, style="red")


def _show_components(record: RunRecord) -> None:
    """Print a table of the data sets, models, defenses and attacks of a run, with their versions and digests."""
    table = table_of("kind", "label", "from", "version", "data or weights", "license")
    for one in record.components:
        made = " (synthetic)" if one.synthetic else ""
        where = f"{one.name} of {one.origin.distribution}"
        digest = "".join(_sha256(one.weights))
        kind = one.kind.replace("dataset", "data set")
        table.add_row(kind, f"{one.label}{made}", where, one.origin.version, digest, one.license or "")
    if table.row_count:
        out.print(table)


def show_removed(run: Run, foreign: Sequence[str]) -> None:
    """Print that ``bench runs rm`` removed a run, and which files stay in its folder because bench did not write them
    (``foreign``)."""
    out.print(f"removed {run.folder} ({amount(run.size)})", soft_wrap=True)
    if foreign:
        out.print(f"  left in it, because bench has not made it: {', '.join(foreign)}", soft_wrap=True, style="yellow")


# ---- shared ----------------------------------------------------------------------------------------------------------


def _sha256(digest: str | None) -> list[str]:
    """Return a list with the beginning of a digest, as ``sha256 0123456789abcdef``; empty if no digest is recorded."""
    return [f"sha256 {digest[:16]}"] if digest else []

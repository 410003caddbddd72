"""Vega, as the package vl-convert brings it, in a process of its own: it ends its process where memory is short.

``python -m bench.report.vega KIND`` reads the specification of charts from stdin and writes what is made of it to
stdout.
"""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from typing import Literal

from bench.core.errors import StorageError
from bench.core.processes import filtered, python

Kind = Literal["svg", "pdf", "png", "bundle"]
_RESOLUTION = 300  # The resolution of a PNG in dots per inch.
_LONGEST_S = 600.0


def made_by_vega(kind: Kind, specification: str = "") -> bytes:
    """Return charts as a file of a kind; for ``bundle``, the libraries with which a page draws its charts.

    Raises `StorageError` if the process ends without a result, and says what it needs.
    """
    command = python("-m", "bench.report.vega", kind)
    try:
        done = filtered(command, specification.encode(), _LONGEST_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise StorageError(f"{_what(kind)}: expected the process that draws charts to end well: {error}") from None
    if done.returncode == 0:
        return done.stdout
    lines = done.stderr.decode(errors="replace").strip().splitlines() or ["it gave no reason"]
    ending = lines[-1] if done.returncode == 1 else f"it ended with {_ending(done.returncode)}"
    raise StorageError(f"{_what(kind)}: the process that draws charts (vl-convert) failed: {ending}{_advice()}")


def _what(kind: Kind) -> str:
    return "charts of a page" if kind == "bundle" else f"a figure as {kind.upper()}"


def _ending(code: int) -> str:
    known = {number.value: number.name for number in signal.Signals}
    return f"the signal {known.get(-code, -code)}" if code < 0 else f"exit code {code}"


def _advice() -> str:
    """Return what to do: usually memory was short, of which the process reserves far more than it uses."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return "; was the memory of this machine short? Nothing else is lost: repeat the command"
    return (
        f". It reserves far more address space than it uses, and ulimit -v allows {limit >> 20:,} MB: repeat the "
        "command after ulimit -v unlimited"
    )


def _make(kind: str, specification: str) -> bytes:
    """Do in the process of its own what `made_by_vega` returns."""
    import vl_convert

    if kind == "bundle":
        return vl_convert.javascript_bundle().encode()  # type: ignore[call-arg]  # The stub lacks the default argument.
    if kind == "svg":
        return vl_convert.vegalite_to_svg(specification, allowed_base_urls=[]).encode()
    if kind == "pdf":
        return vl_convert.vegalite_to_pdf(specification, allowed_base_urls=[])
    return vl_convert.vegalite_to_png(specification, allowed_base_urls=[], scale=1, ppi=_RESOLUTION)


if __name__ == "__main__":
    sys.stdout.buffer.write(_make(sys.argv[1], sys.stdin.buffer.read().decode()))

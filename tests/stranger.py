"""Run folders from strangers: a golden run in a folder of results, whose files a test changes as a stranger might."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from bench.cli import main

GOLDEN = Path(__file__).parent / "golden" / "schema-4"


@dataclass(frozen=True)
class Stranger:
    """A run folder that a stranger sent, in a folder of results of the reader's own (``home``)."""

    home: Path

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.home / "results" / "golden" / "20260101-000000-12345678"

    def change(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the record of the run in place."""
        path = self.folder / "run.json"
        record = json.loads(path.read_text())
        change(record)
        path.write_text(json.dumps(record))

    def bench(self, *args: object) -> Result:
        """Call bench in the reader's folder. Anything but an exit code is an error of bench, and raised."""
        return CliRunner().invoke(main, [*map(str, args), "--out", str(self.home)], catch_exceptions=False)

    def reading_commands(self) -> list[list[str]]:
        """Return a call of every command that reads the results of the run."""
        run, file = str(self.folder), str(self.home / "exported")
        return [
            ["report", run],
            ["export", run, "--table", "VII"],
            ["export", run, "--rows", "verification", "-o", f"{file}.parquet"],
            ["export", run, "--figure", "8", "-o", f"{file}.svg"],
            ["claims", run],
            ["explain", run, "experiment=recognition", "defense=toy-mean", "evaluated=toy-a"],
            ["diff", run, run],
            ["status", run],
            ["status"],
            ["runs", "ls"],
            ["runs", "show", run],
        ]


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder, by its path there."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

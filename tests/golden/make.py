"""Makes the golden run of today's schema: ``python tests/golden/make.py``. See README.md."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from support import BENCH, environment, install  # noqa: E402

from bench.core.provenance import file_sha256  # noqa: E402
from bench.store.schema import SCHEMA_VERSION  # noqa: E402

_MACHINE = {"platform": "Linux", "processor": "a processor", "cores": 2, "python": "3.11"}


def main() -> None:
    """Run the golden suite with the toy plugin, and keep its run folder without what is about this machine."""
    target = HERE / f"schema-{SCHEMA_VERSION}"
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        install(HERE.parent / "toy_plugin", home / "site")
        shutil.copy(HERE / "golden.toml", home)
        command = [BENCH, "run", "golden.toml", "--device", "cpu", "--workers", "1"]
        subprocess.run(command, cwd=home, env=environment([home / "site"], {}), stdout=subprocess.DEVNULL)
        (made,) = (home / "results" / "golden").iterdir()
        (made / "journal.jsonl").unlink()
        record = (made / "run.json").read_text()
        (made / "run.json").write_text(record.replace(f"{home}/", ""))
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(made, target)
    for name in ("cells.parquet", "stages.parquet"):
        _cut_paths(target / name)
    _cut_record(target / "run.json")


def _cut_paths(path: Path) -> None:
    table = pq.read_table(path)
    for name in ("traceback", "log"):
        cut = [text and re.sub(r'File "[^"]*/', 'File "', text) for text in table[name].to_pylist()]
        table = table.set_column(table.column_names.index(name), name, pa.array(cut, pa.string()))
    pq.write_table(table, path)


def _cut_record(path: Path) -> None:
    run = json.loads(path.read_text())
    run |= {"machine": _MACHINE, "host": {"core/domain.py": "0" * 64}, "commit": None}
    run["files"] = {name: file_sha256(path.parent / name) for name in run["files"]}
    path.write_text(json.dumps(run, indent=1))


if __name__ == "__main__":
    main()

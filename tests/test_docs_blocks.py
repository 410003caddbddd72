"""Every block of code in the documentation can be read by what it is written for."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHELL = ("", "sh", "bash", "shell", "console")
LANGUAGES = ("toml", "json", "python", "yaml", "sql", "latex", "math", "text", *SHELL)


@dataclass(frozen=True)
class Block:
    """A block of code: the page, the number of its first line, its language as it is named there, and its text."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}:{self.language or 'plain'}"


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start: int | None = None
    for number, line in enumerate(lines):
        if not line.lstrip().startswith("```"):
            continue
        if start is None:
            start = number
        else:
            indent = len(lines[start]) - len(lines[start].lstrip())
            text = "\n".join(each[indent:] for each in lines[start + 1 : number])
            yield Block(page, start + 2, lines[start].strip().removeprefix("```").strip(), text)
            start = None
    assert start is None, f"{page}: the block that starts in line {start} has no end"


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def is_shell(block: Block) -> bool:
    """Whether a block without a language holds commands, and not a tree of files or the output of a command."""
    return block.language != "" or bool(re.match(r"(bench|pip|make|python|git|export|cd|ray) ", block.text))


def test_there_are_blocks_of_every_kind() -> None:
    assert len(of("toml")) > 10
    assert len(of("python")) > 3
    assert len([block for block in of(*SHELL) if is_shell(block)]) > 15


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_the_language_of_a_block_is_known(block: Block) -> None:
    assert block.language in LANGUAGES


@pytest.mark.parametrize("block", of("toml"), ids=str)
def test_every_toml_block_is_toml(block: Block) -> None:
    assert tomllib.loads(block.text)


@pytest.mark.parametrize("block", of("json"), ids=str)
def test_every_json_block_is_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", of("python"), ids=str)
def test_every_python_block_is_python(block: Block) -> None:
    ast.parse(block.text)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize("block", [block for block in of(*SHELL) if is_shell(block)], ids=str)
def test_every_shell_block_is_shell(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not re.search(r"^\$ ", block.text, re.MULTILINE), "a prompt is copied with the command"

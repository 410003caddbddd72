"""``python -m bench``: what torchrun starts."""

import sys

if not sys.flags.safe_path:
    del sys.path[0]  # the current folder, in which files may have the names of modules

from bench.cli import main

main(prog_name="bench")

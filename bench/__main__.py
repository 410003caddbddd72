"""``python -m bench``: what torchrun starts."""

from bench.cli import main

main(prog_name="bench")

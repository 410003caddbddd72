"""The size of the protocols, the numbers and names of their people, and the version of the pictures. No torch."""

from __future__ import annotations

from typing import Literal

Purpose = Literal["scoring", "tuning"]  #: What people are for: to be scored, or for choosing settings.
TUNING = 1_000_000  #: The tuning people have the identity numbers of the others plus this.
MAX_PAIRS = 8000  #: The most pairs that a protocol can have.
GENERATOR = 1  #: The version of the pictures: a change of any pixel raises it.

SEED = 20240229  #: The seed of the published protocols; other seeds give other people.
TRAINING = range(100_000)  #: Identity numbers for the training of networks.
AUXILIARY = range(100_000, 200_000)  #: Identity numbers of the attacker's faces.
EVALUATION_START = 300_000  #: The first identity number for evaluation; each protocol has one block from here on.
BLOCK = 100_000  #: The number of identity numbers in a protocol's block.
DUO = 2 * BLOCK // MAX_PAIRS  #: Identity numbers for one genuine and one impostor pair: 1 + 1 + 23 candidates.
JUDGES_SEED = 771_402_356  #: The seed of the people on whom judges are trained, in another style.
JUDGES = range(1_000_000, 1_100_000)  #: Identity numbers for the training of judges.
PROTOCOL_NAMES = ("synth-lfw", "synth-agedb30", "synth-calfw", "synth-cfp-ff")  #: In the order of their blocks.


def person_name(number: int, seed: int = SEED) -> str:
    """Return the name of the person with an identity number, which no person of another set or seed has."""
    return f"synthfaces {seed}/{number}"


def evaluation_numbers(protocol: str, pairs: int) -> range:
    """Return the identity numbers of which the first ``pairs`` pairs of a protocol are drawn."""
    start = EVALUATION_START + PROTOCOL_NAMES.index(protocol) * BLOCK
    return range(start, start + (pairs + 1) // 2 * DUO)

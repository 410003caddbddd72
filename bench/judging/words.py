"""What a judgement says, in sentences: with N, intervals, chance, and what it does not say."""

from __future__ import annotations

from collections.abc import Iterator

from bench.core.text import plural
from bench.judging.choice import ERROR
from bench.judging.figures import Best, JudgeFigures, PreprocessingFigures, Share, Visibility
from bench.judging.judges import STAND_IN
from bench.judging.pictures import GIVEN, ORIGINAL, OWN, LeftOut
from bench.judging.preprocessing import AS_RECEIVED

LOWER_BOUND = (
    "This is a lower bound of what a recogniser can do. These networks have never seen pictures protected in this way; "
    "an adversary who trains on such pictures, which he makes of other people's faces with the same program, often "
    "recognises far more. To measure that, let bench run the program on the faces of the standard suite, which needs "
    "no plugin: bench run standard --trust --defense "
    """'external-command,files=~/mine,command=["python","{files}/protect.py","{input}","{output}"]'; """
    "external-images takes pictures that were protected elsewhere (docs/defenses.md). No number of photos shows that a "
    "protection is safe."
)
CHOSEN_HERE = (
    "The best preprocessing was chosen on these very photos, which is optimistic for the adversary: on other photos "
    "its figures would rather be lower. Its interval, and how often chance alone gives as much, are corrected for the "
    "choice among all that were tried."
)
_NAMES = {"psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS"}
_ENOUGH = 0.5  # A share of strangers that is larger than this times the share of photos is no recognition of anybody.


def percent(value: float | None) -> str:
    """Return a share as a percentage; a dash if there is none."""
    if value is None:
        return "-"
    return f"{100 * value:.0f} %" if value in (0, 1) or 0.1 <= value < 0.995 else f"{100 * value:.1f} %"


def rate(fmr: float) -> str:
    """Return a false match rate as a percentage, as it was asked for."""
    return f"{100 * fmr:g} %"


def count_of(share: Share) -> str:
    """Return a share of photos as a count with its interval: ``12 (95 %: 8 to 15)``."""
    if share.interval is None:
        return f"{share.count} (no interval: {plural(share.people, 'person', 'people')})"
    low, high = (round(bound * share.n) for bound in share.interval)
    return f"{share.count} (95 %: {min(low, share.count)} to {max(high, share.count)})"


def share_of(share: Share | None) -> str:
    """Return a share in percent with its interval and N."""
    if share is None:
        return "-"
    if share.interval is None:
        return f"{percent(share.value)}, N {share.n}"
    low, high = share.interval
    return f"{percent(share.value)} ({100 * low:.0f} to {100 * high:.0f} %), N {share.n}"


def preprocessing_of(found: PreprocessingFigures) -> str:
    """Return the name of a preprocessing, with its alignment if that is the one of the original."""
    where = ", the face taken from where it is in the original" if found.alignment == ORIGINAL else ""
    return f"{found.preprocessing}{where}"


def tried(figures: JudgeFigures) -> str:
    """Return how many preprocessings were tried: ``5 preprocessings, each with 2 alignments``."""
    alignments = len({one.alignment for one in figures.preprocessings})
    each = f", each with {alignments} alignments" if alignments > 1 else ""
    return plural(len({one.preprocessing for one in figures.preprocessings}), "preprocessing") + each


def photos_of(figures: JudgeFigures, *, known: bool) -> str:
    """Return how many photos of how many people are judged."""
    photos = plural(figures.photos, "photo")
    return f"{photos} of {plural(figures.people, 'person', 'people')}" if known else photos


def verdict(figures: JudgeFigures, *, known: bool, reason: str) -> Iterator[str]:
    """Yield the sentences about one judge; ``reason`` says why there is no threshold of the service."""
    if figures.stand_in:
        yield f"WARNING: {figures.judge} was {STAND_IN}."
    photos, best, received = photos_of(figures, known=known), figures.best("service"), figures.received
    if best is None:
        yield f"Whether photos match their originals cannot be said: {reason}."
    else:
        yield (
            f"Of {photos}, {count_of(best.share)} still match their original for this network after the best of "
            f"{tried(figures)} ({preprocessing_of(best.found)}), at an FMR of {rate(figures.fmr)}"
            f"{_as_received(received)}. The threshold was set on {plural(figures.service_people, 'person', 'people')} "
            f"({figures.service_impostors:,} pairs of strangers, of new ones about {percent(figures.expected_fmr)} "
            f"match); {_strangers(best.chance)}{_chance_of(best)}."
        )
        yield from _no_recognition(best.share, best.chance)
    adversary = figures.best("adversary")
    if adversary is not None:
        yield (
            f"For an adversary who sets his threshold on protected pictures of other people, at the same FMR: "
            f"{count_of(adversary.share)} of {adversary.share.n} ({preprocessing_of(adversary.found)}); "
            f"{_strangers(adversary.chance)}{_chance_of(adversary)}."
        )
    yield from _others(figures)
    yield from _first(figures)


def _as_received(found: PreprocessingFigures) -> str:
    if found.service is None or found.preprocessing != AS_RECEIVED or found.alignment not in (OWN, GIVEN):
        return ""
    return f"; {count_of(found.service)} as received"


def _strangers(share: float | None) -> str:
    if share is None:
        return "how often strangers match is not known"
    return f"of pairs with a stranger, {percent(share)} match"


def _chance_of(best: Best) -> str:
    """Return how often chance alone would give the best of all preprocessings so many; empty if it is not known."""
    if best.by_chance is None:
        return ""
    beyond = "" if best.by_chance <= ERROR else ", so that this is no more than chance gives"
    often = "less than 0.1 %" if best.by_chance < 0.001 else f"up to {percent(best.by_chance)}"
    return f"; chance alone makes the best of {best.ways} as large in {often} of cases{beyond}"


def _no_recognition(share: Share, strangers: float | None) -> Iterator[str]:
    if strangers is not None and share.value and strangers > _ENOUGH * share.value:
        yield (
            "But strangers match nearly as often: at this threshold the network takes these protected pictures for "
            "anybody, and a match says little about the person."
        )


def _others(figures: JudgeFigures) -> Iterator[str]:
    """Yield what is said about other photos of the same person."""
    best = figures.best("other_adversary") or figures.best("other_service")
    if best is not None:
        whose = "the adversary's" if best.found.other_adversary is not None else "the service's"
        yield (
            f"Another photo of the same person is matched in {share_of(best.share)} pairs at {whose} threshold "
            f"({preprocessing_of(best.found)})."
        )


def _first(figures: JudgeFigures) -> Iterator[str]:
    """Yield what is said about identification, which needs no threshold."""
    best = figures.best("first")
    if best is not None:
        chance = best.found.first_chance * figures.photos
        yield (
            f"Searched among all originals, the right one comes first for {count_of(best.share)} of {best.share.n} "
            f"({preprocessing_of(best.found)}), for {count_of(figures.received.first)} as received; by chance it would "
            f"be {chance:.1f}{_chance_of(best)}."
        )
    other = figures.best("first_other")
    if other is not None:
        yield (
            f"Without the very photo that was protected, the person comes first in {share_of(other.share)} "
            f"({preprocessing_of(other.found)}); by chance {percent(other.chance)}{_chance_of(other)}."
        )


def faces(figures: JudgeFigures) -> Iterator[str]:
    """Yield what is said about protected pictures in which no face is found."""
    own = [one for one in figures.preprocessings if one.alignment == OWN]
    missing = figures.photos - own[0].faces if own else 0
    if not missing:
        return
    yield (
        f"In {missing} of {figures.photos} protected photos no single face is found. That is no success by itself: "
        "another detector, or a person, may find it. Without a face these photos match nothing; so recognition is also "
        "tried where the face is in the original, which no adversary knows exactly."
    )


def how_visible(found: Visibility) -> str:
    """Return how visible the protection is."""
    values = [f"{_NAMES[name]} {_metric(name, *three)}" for name, three in found.values.items()]
    equal = (
        f"; {plural(found.equal, 'face is', 'faces are')} equal to the original, pixel by pixel" if found.equal else ""
    )
    what = ", ".join(values) or "nothing could be measured"
    return f"How visible the protection is, on the aligned face ({plural(found.n, 'photo')}): {what}{equal}."


def _metric(name: str, median: float, low: float, high: float) -> str:
    if name == "psnr":
        return f"{median:.1f} dB ({low:.1f} to {high:.1f})"
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


def counted(group: LeftOut, *, names: bool, most: int = 10) -> str:
    """Return what was left out as a count, with the first names if ``names``."""
    text = f"{group.what}: {len(group.names)}"
    if not names:
        return text
    more = f", and {len(group.names) - most} more" if len(group.names) > most else ""
    return f"{text} ({', '.join(group.names[:most])}{more})"

"""The verdict in words: its headline, and the sentences on utility, leakage and certainty of the choice."""

from __future__ import annotations

from collections.abc import Sequence

from bench.analysis.table_model import Measurement, TableMetric
from bench.analysis.tables.assessed_defense import CHANCE, ENROLLED, LEAKAGE, AssessedDefense
from bench.analysis.tables.recommendation import Recommendation
from bench.analysis.tables.tried_attacks import LINKED, TriedAttack
from bench.core.domain import Channel
from bench.core.text import joined_labels, plural

Sentence = Sequence[str | tuple[TableMetric, Measurement]]
"""The pieces of a sentence: text, and measurements whose numbers open their rows on the page."""


def headline(found: Recommendation) -> str:
    """Return the verdict in one sentence."""
    best, fair = found.best, found.fair
    if not found.protections:
        return "No verdict: this run protects nothing."
    if best is None:
        measured = [e for e in found.protections if e.candidate]
        if not measured:
            return "No verdict: no defense of this run has both a utility and a leakage."
        if not found.pointless:
            return f"No verdict: no defense faced every attack of this run ({listed(found.attackers)})."
        return _headline_of_none(found)
    if not found.useful:
        return (
            "Use none: no defense that faced every attack and leaks less than no protection meets the bars of utility."
        )
    if best.leaks is False:
        return f"Use {best.name}: {power(best)}."
    asked = len(fair) + len(found.pointless)
    which = f"The best of {asked} defenses" if asked > 1 else "The only defense"
    which = f"{which} that faced every attack is {best.name}"
    if best.leaks is None:
        return f"{which}; whether its faces are matched more often than strangers is not known."
    return f"None is safe. {which}, and {what_leaks(best)}."


def _headline_of_none(found: Recommendation) -> str:
    """Return the verdict if all defenses that faced every attack leak like no protection."""
    names = [e.name for e in found.pointless]
    if len(names) == 1:
        who = f"{names[0]}, the only defense that faced every attack, leaks"
    else:
        which = "both" if len(names) == 2 else f"all {len(names)}"
        who = f"{which} defenses that faced every attack leak"
    return f"None is safe, and none is best: {who} like no protection."


def what_leaks(entry: AssessedDefense) -> str:
    """Return what attacks found of a defense that leaks, channel by channel, as the end of a sentence."""
    leaking, said = entry.leaking, []
    if {"recognition", "reconstruction"} & set(leaking):
        said.append("its faces are matched more often than strangers are")
    if "linkage" in leaking:
        said.append("two uploads of one person can be linked")
    if "attributes" in leaking:
        said.append(f"it reveals attributes ({listed(revealed(entry))})")
    return " and ".join(said)


def revealed(entry: AssessedDefense) -> list[str]:
    """Return the attributes that attacks on a defense found beyond chance."""
    found = [f for a in entry.attacks if a.channel == "attributes" for f in a.findings if f.leaks]
    return list(dict.fromkeys(f.metric.name.partition(":")[2] for f in found))


def power(entry: AssessedDefense) -> str:
    """Return the words for a defense on which no attack beat chance, with the leak that would have been seen."""
    said = [f"no attack of {entry.suite_version or 'this run'} beat chance"]
    of: Sequence[tuple[str, str, Sequence[Channel]]] = (
        ("a leak", "leak", ("recognition", "reconstruction")),
        ("links", "links", ("linkage",)),
    )
    for what, noun, channels in of:
        if people := entry.people(*channels):
            who = plural(people, "independent person", "independent people")
            least = entry.detectable(*channels)
            seen = f"{what} of {100 * (least or 0):.1f} points would have been seen with 80 % power"
            said.append(f"with {who} {seen if least is not None else f'no {noun} would have been seen'}")
    return "; ".join(said)


def sentences(found: Recommendation, several: bool) -> list[Sentence]:
    """Return the sentences below the headline: utility and leakage of the best defense, how certain the choice is,
    which defenses leak like no protection, and which were not compared. ``several``: whether the run has several
    experiments, so that attacks name theirs."""
    best = found.best
    made: list[Sentence] = []
    if best is not None:
        made += [*about(found, best, several), [_certainty(found, best)]]
    if note := found.purpose.note:
        made.append([f"{note[0].upper()}{note[1:]}."])
    if found.pointless:
        names = listed([f"{e.name} ({LEAKAGE.shown(e.leakage.value)} % matched)" for e in found.pointless])
        made.append([f"Best at nothing, because as much leaks as without protection: {names}."])
    by_missing: dict[tuple[str, ...], list[str]] = {}
    for e in found.protections:
        if e.candidate and e.untried:
            by_missing.setdefault(tuple(e.untried), []).append(e.name)
    for missing, without in by_missing.items():
        which = f"{listed(without)} (not attacked by {listed(missing)})"
        claim = "Lower numbers for them are no evidence of better protection."
        made.append([f"Not attacked as the others were, and so not compared: {which}. {claim}"])
    aside = dict.fromkeys(f"{a.label} ({why})" for e in found.entries for a, why in e.aside)
    if aside:
        made.append([f"Not counted, because the attacker failed on a control: {listed(list(aside))}."])
    blind = [e.name for e in found.protections if not e.complete]
    if blind:
        made.append([f"Without a utility or without a leakage, and so without a verdict: {listed(blind)}."])
    return made


def about(found: Recommendation, entry: AssessedDefense, several: bool) -> list[Sentence]:
    """Return the sentences on the utility of a defense that has one, and on what leaks of it in each channel.
    ``several``: as for `sentences`."""
    return [_utility_and_leakage(found, entry, several), *_other_channels(entry, several)]


def _utility_and_leakage(found: Recommendation, best: AssessedDefense, several: bool) -> Sentence:
    """Return the sentence with the utility and leakage of a defense, beside chance and no protection."""
    most_useful = not found.useful and best is found.best
    start = f"With {best.name}, the most useful," if most_useful else f"With {best.name},"
    worst = best.worst
    attack = attack_name(worst, several) if worst else "no attack"
    n = len({a.attacker for a in best.on_faces})
    tried = f"the strongest of {n} attacks" if n > 1 else "the only attack"
    pieces: list[str | tuple[TableMetric, Measurement]] = [*_kept(found, best, start)]
    if worst is not None and worst.channel == "linkage":
        pieces += [f"and {tried} ({attack}) links", (LEAKAGE, best.leakage), "of pairs of uploads of one person."]
    else:
        pieces.append(f"and after {tried} ({attack}) held-out recognisers match")
        pieces += [(LEAKAGE, best.leakage), "of faces to the very photo."]
    if best.leakage.interval == "drawn":
        pieces.append("Its interval allows for the choice of the strongest attack.")
    if worst is not None and worst.chance.value is not None:
        what = "linked" if worst.channel == "linkage" else "matched"
        pieces += [f"Strangers are {what} in", (CHANCE, worst.chance), "."]
    reference = found.reference
    if reference is not None and reference.leakage.value is not None:
        links = reference.worst is not None and reference.worst.channel == "linkage"
        pieces += ["Without protection,", (LEAKAGE, reference.leakage)]
        pieces.append("of pairs are linked." if links else "of faces are matched.")
    other = best.enrolled
    if other is not None:
        after = "the same attack" if other is worst else f"the strongest for it ({attack_name(other, several)})"
        beyond = "more than" if other.enrolled_test and other.enrolled_test.beyond else "not distinguished from"
        pieces += [f"To another photo of the person, after {after}, they match", (ENROLLED, other.enrolled)]
        pieces += [f"of faces, {beyond} strangers:", (CHANCE, other.enrolled_chance), "."]
    return pieces


def _other_channels(best: AssessedDefense, several: bool) -> list[Sentence]:
    """Return a sentence on each channel of a defense that its leakage does not show: links and attributes."""
    made: list[Sentence] = []
    for name, attack in best.channels.items():
        worst = attack.worst
        beyond = "more than" if attack.leaks else "not distinguished from"
        chance = worst.metric.shown(worst.chance.value)
        if name == "linkage" and attack is not best.worst:
            about = f"Of two uploads of one person, {attack_name(attack, several)} links"
            made.append([about, (LINKED, attack.measurement), f"of pairs, {beyond} strangers."])
        elif name == "attributes":
            about = f"Of attributes, {attack_name(attack, several)} shows most: {worst.metric.label}"
            made.append(
                [about, (worst.metric, worst.measurement), f", {beyond} the answers on other people ({chance})."]
            )
    return made


def _kept(found: Recommendation, best: AssessedDefense, start: str) -> Sentence:
    """Return the beginning of a sentence with the utility of the best defense."""
    utility = found.purpose.utility, best.utility
    if found.purpose.metric == "ssim":
        return [f"{start} pictures keep an SSIM of", utility, "to the original,"]
    if found.purpose.of_picture:
        return [f"{start}", utility, "of pictures still show a face with its landmarks in place,"]
    who = "models that others authorise" if best.kind == "model-free" else "authorised models"
    who = "its own recogniser decides" if found.goal == "template" else f"{who} decide"
    return [f"{start} {who}", utility, "of pairs correctly,"]


def _certainty(found: Recommendation, best: AssessedDefense) -> str:
    """Return the sentence that says in how many draws of people the same defense is chosen, and of which ones."""
    bars = " and ".join(f"{b.metric.label} {b.text}" for b in found.purpose.utility_bars)
    conditions = [f"faced every attack ({listed(found.attackers)})", "leaked less than no protection"]
    if found.useful and bars:
        conditions.append(f"met the bars for utility ({bars})")
    which = f"{', '.join(conditions[:-1])} and {conditions[-1]}"
    missed = "" if found.useful else f" No such defense meets the bars for utility ({bars})."
    if found.share is None:
        return f"It is the only defense that {which}.{missed}"
    rivals = len(found.useful or found.fair)
    most = "leaks least" if found.useful else "keeps most"
    only = best.leaks is False and any(e.leaks for e in found.useful)
    chosen = " It is chosen because no attack beat chance on it, as attacks did on others." if only else ""
    return f"Of {rivals} defenses that {which}, it {most} in {_draws(found.share)}.{chosen}{missed}"


def _draws(share: float) -> str:
    return f"{100 * share:.0f} % of bootstrap draws of people"


def attack_name(tried: TriedAttack, several: bool) -> str:
    """Return the label of an attack, with its experiment if there are ``several``."""
    plain = tried.rebuilt or tried.channel == "linkage"
    what = tried.label if plain else f"{tried.label}, on the upload itself"
    return f"{what}; {tried.experiment}" if several else what


def listed(names: Sequence[str]) -> str:
    shown = joined_labels(names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")

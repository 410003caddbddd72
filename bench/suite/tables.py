"""The TOML tables of a suite file, and how a mistake in one is explained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from bench.core.domain import MAX_REPEATS, DataMode
from bench.core.errors import did_you_mean
from bench.core.paths import LONGEST_WRITTEN
from bench.core.text import shortened_repr
from bench.suite.claims import ClaimTable, SideTable
from bench.suite.limits import Limit, LimitTable
from bench.suite.overrides import toml_path
from bench.suite.strict_table import StrictTable
from bench.suite.version import PATTERN as VERSION_PATTERN

Reference = str | dict[str, Any]  # to a component: its name, or a table with ``plugin`` and parameters
# It also names folders, and is checked here so that nothing is computed for a suite whose results cannot be written.
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=LONGEST_WRITTEN)]


class SuiteHead(StrictTable):
    """``[suite]``: what holds for all experiments."""

    name: Name
    """The name of the suite, which also names its folders."""
    version: Annotated[str, Field(pattern=VERSION_PATTERN, max_length=LONGEST_WRITTEN)] | None = None
    """Names exactly these questions, in every row (see `bench.suite.version`)."""
    questions_of: str | None = None
    """The name of a published suite, whose questions are asked of the defenses of this one."""
    standard: Annotated[str, Field(pattern=VERSION_PATTERN, max_length=LONGEST_WRITTEN)] | None = None
    """The version of a suite whose reference run the report quotes first, on the same defenses."""
    title: str = ""
    """The heading of the report."""
    description: str = ""
    """Shown in the report."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """The seed from which every random stream is derived."""
    stage_timeout_s: Limit | None = None
    """The time limit of a stage in seconds: a number, or a table by kind of stage."""
    stage_memory_mb: Limit | None = None
    """The memory limit of a stage in MB: a number, or a table by kind of stage."""
    deterministic: bool = False
    """True forbids operations whose results vary on some devices; this makes a run slower."""
    check_defenses: bool = True
    """False leaves out the host's check of defenses, which protects a few faces again."""
    check_attacks: bool = True
    """False leaves out the host's check of attacks, which attacks a few faces again."""
    data: DataMode = "auto"
    """What happens if the files of a data set or model are missing: ``auto`` uses its synthetic stand-in and reports
    it, ``real`` is an error; ``stand-in`` uses stand-ins even if the files exist."""


class ExperimentTable(StrictTable):
    """``[[experiment]]``: axes, whose combinations are the cells, and the settings of all these cells.

    The axes are lists of references to components: names, or tables with ``plugin`` and parameters.
    """

    name: Name
    """Names the experiment in every row and its folders."""
    table: str | None = None
    """The table of the paper that the experiment reproduces."""
    figures: list[str] = []
    """The figures of the paper that the experiment reproduces."""
    datasets: Annotated[list[Reference], Field(min_length=1)]
    """An axis: the data sets."""
    authorised: Annotated[list[Reference | list[Reference]], Field(min_length=1)]
    """An axis of model sets: a reference, or a list of references for an image that several models are to recognise."""
    defenses: Annotated[list[Reference], Field(min_length=1)]
    """An axis: the defenses."""
    attacks: Annotated[list[Reference], Field(min_length=1)] = ["abuse"]
    """An axis: the attacks."""
    evaluated: Annotated[list[Reference], Field(min_length=1)]
    """An axis: the models that look at uploads and reconstructions."""
    surrogates: list[Reference] = []
    """The models that a client uses in place of unknown ones, all at once; defenses that need surrogates get them."""
    protects: Literal["auto", "probe", "gallery", "both"] = "auto"
    """Which pictures of a pair are protected: ``probe``, ``gallery``, ``both``, or ``auto``, the first of ``probe``,
    ``both`` and ``gallery`` that a defense supports."""
    pairs: Annotated[int, Field(ge=2, le=1_000_000)] = 104
    """The number of verification pairs per data set."""
    repeats: Annotated[int, Field(ge=1, le=MAX_REPEATS)] = 1
    """How often every cell is measured, each time with other seeds: random defenses are applied again, and attacks and
    defenses that learn are trained again."""
    kappa: Annotated[float, Field(gt=-1, lt=1)] = 0.2
    """The fixed threshold, which is reported beside the calibrated one."""
    fmr: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """The false match rate of the calibrated threshold and of the adversary's."""
    threshold: Literal["fmr", "accuracy"] = "fmr"
    """The rule of the calibrated threshold: ``fmr`` sets it at the false match rate ``fmr``, and ``accuracy`` where
    genuine and impostor pairs are separated best; both on pairs that are not scored with it."""
    adversary_threshold: Literal["scored", "calibration"] = "scored"
    """On whose pictures adversaries set their thresholds, which have the false match rate ``fmr`` too: ``scored`` for
    the scored people, without those of the probe's group; ``calibration`` for people of the calibration split, whose
    pictures are protected and attacked in the same way."""
    adversary_people: Annotated[int, Field(ge=2, le=5000)] = 60
    """How many people of the calibration split are protected for it, at most."""
    upload: Literal["images", "features"] = "images"
    """What leaves the client: ``images``, or the ``features`` of the authorised model at ``split``."""
    split: str = "last"
    """The split point of uploaded features: ``last``, ``all`` or a name."""
    auxiliary: Reference | None = None
    """The data set from whose further identities attacks learn; by default the scored data set."""
    metrics: list[Reference] = []
    """Further image metrics, a list of references; SSIM, PSNR and LPIPS are always computed."""
    noise_levels: list[Annotated[float, Field(ge=0, le=10)]] = []
    """Standard deviations of the noise on uploads, for UP (Equation 9)."""
    claims: str | None = None
    """A CSV file with the paper's numbers, beside the suite."""


Trained = Literal["model", "defense", "attack", "metric"]


class TrainTable(StrictTable):
    """``[[train]]``: one ``model``, ``defense``, ``attack`` or ``metric`` to train on ``data``."""

    model: Reference | None = None
    """The model to train."""
    defense: Reference | None = None
    """The defense to train."""
    attack: Reference | None = None
    """The attack to train."""
    metric: Reference | None = None
    """The metric to train."""
    data: Reference
    """The training set."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """The seed of the training."""
    recipe: dict[str, Any] = {}
    """Parameters that the plugin checks; a top-level ``[recipe]`` holds those that all entries share."""
    validate_on: list[Reference] = []
    """The data sets on which the result is validated."""
    validation_pairs: Annotated[int, Field(ge=20)] = 1200
    """The number of verification pairs of each of them."""

    @model_validator(mode="after")
    def _one_to_train(self) -> Self:
        if len(self._subjects()) != 1:
            raise PydanticCustomError("one_to_train", "expected one model, defense, attack or metric to train")
        return self

    @property
    def subject(self) -> tuple[Trained, Reference]:
        """The kind of the component to train, and the reference to it."""
        return self._subjects()[0]

    def _subjects(self) -> list[tuple[Trained, Reference]]:
        kinds: tuple[Trained, ...] = get_args(Trained)
        return [(kind, found) for kind in kinds if (found := getattr(self, kind)) is not None]


class SuiteFile(StrictTable):
    """A whole suite file."""

    suite: SuiteHead
    """What holds for all experiments."""
    experiment: list[ExperimentTable] = []
    """The experiments."""
    recipe: dict[str, Any] = {}
    """Parameters of training that all entries of ``[[train]]`` share."""
    train: list[TrainTable] = []
    """What ``bench train`` trains."""
    claims: list[ClaimTable] = []
    """The claims of a paper, which ``bench claims`` checks."""


_TABLES: Mapping[str, type[BaseModel]] = {
    "": SuiteFile,
    "suite": SuiteHead,
    "stage_timeout_s": LimitTable,
    "stage_memory_mb": LimitTable,
    "experiment": ExperimentTable,
    "train": TrainTable,
    "claims": ClaimTable,
    "left": SideTable,
    "right": SideTable,
}


# pydantic adds the tried member of a union to the location of an error; these parts begin so.
_UNION_TAGS = ("str", "dict[", "list[", "side", "number", "kinds")


def explain(error: ValidationError) -> list[str]:
    """Return one line per mistake in the tables of a suite: TOML path, what was expected, what was found."""
    lines: dict[str, str] = {}
    for item in error.errors(include_url=False):
        parts = item["loc"][:-1] if item["type"] == "extra_forbidden" else item["loc"]
        loc = [p for p in parts if not (isinstance(p, str) and p.startswith(_UNION_TAGS))]
        if item["type"] == "extra_forbidden":
            loc.append(item["loc"][-1])
        where = toml_path(loc)
        if item["type"] == "extra_forbidden":
            parent = next((str(p) for p in reversed(loc[:-1]) if isinstance(p, str)), "")
            known = _TABLES[parent].model_fields if parent in _TABLES else {}
            lines.setdefault(where, f"{where}: unknown key {str(loc[-1])!r}; {did_you_mean(str(loc[-1]), known)}")
        elif item["type"] == "missing":
            lines.setdefault(where, f"{where}: expected a value, found none; add it")
        elif item["type"] == "too_short":
            lines.setdefault(where, f"{where}: expected at least one entry, found none; add one")
        else:
            found = shortened_repr(item["input"])
            expected = f"{item['msg'][0].lower()}{item['msg'][1:]}"
            before = lines.get(where, "")
            if before.endswith(f", found {found}") and expected not in before:
                # This error is about another member of the same union.
                lines[where] = before.removesuffix(f", found {found}") + f" or {expected}, found {found}"
            else:
                lines.setdefault(where, f"{where}: {expected}, found {found}")
    return [line.replace("or input should be", "or").replace("dictionary", "table") for line in lines.values()]

"""The columns of result files. An older schema is mapped to these by `bench.store.old_schemas`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

SCHEMA_VERSION = 4
SAMPLES = ("verification", "images", "sets", "baselines", "people", "examples", "attributes", "up", "links")
# A metric of a plugin is a column of ``images`` that begins with `METRIC_PREFIX`. If it may be infinite, such a value
# is null and marked in a second column, which ends with `INFINITE`.
METRIC_PREFIX, INFINITE = "metric_", "_infinite"
# The table of a score artifact with the values of one metric of a plugin, which become columns of the table of images.
METRICS = "metrics"
_TEXT, _NUMBER, _COUNT, _FLAG = pa.string(), pa.float64(), pa.int64(), pa.bool_()
_TEXTS = pa.list_(_TEXT)
CELLS = pa.schema(
    [
        *(
            (name, _TEXT)
            for name in ("cell", "suite_version", "experiment", "table", "dataset", "dataset_stands_in_for")
        ),
        ("synthetic", _FLAG),
        *((name, _TEXT) for name in ("people_of", "defense", "defense_params")),
        *((name, _TEXTS) for name in ("authorised", "authorised_stand_in_for")),
        ("surrogates", _TEXTS),
        *((name, _TEXT) for name in ("goal", "protects", "bound", "control")),
        *((name, _TEXT) for name in ("attack", "via", "upload")),
        ("splits", _TEXTS),
        ("outputs", _TEXT),
        ("embeds", _FLAG),
        ("insider", _FLAG),
        ("budget", _TEXT),
        ("knowledge", _COUNT),
        ("leaky", _FLAG),
        *((name, _TEXT) for name in ("learner_overlap", "training_overlap")),
        *((name, _TEXT) for name in ("adversary_threshold", "threshold_note")),
        *((name, _TEXT) for name in ("evaluated", "evaluated_stands_in_for", "role")),
        ("repeat", _COUNT),
        ("pairs", _COUNT),
        ("kappa", _NUMBER),
        *((name, _TEXT) for name in ("badges", "unstable", "attack_unstable")),
        *((name, _TEXT) for name in ("threat", "status", "reason", "failed_stage", "traceback", "log")),
        ("batch", _COUNT),
        ("seconds", _NUMBER),
        ("peak_mb", _NUMBER),
        ("cached", _FLAG),
        *((name, _TEXT) for name in ("device", "stages", "protect", "components")),
    ]
)

STAGES = pa.schema(
    [
        *((name, _TEXT) for name in ("key", "kind", "name", "metric", "status")),
        ("cached", _FLAG),
        ("seconds", _NUMBER),
        ("peak_mb", _NUMBER),
        ("device", _TEXT),
        ("batch", _COUNT),
        ("attempts", _COUNT),
        ("seed", _COUNT),
        *((name, _TEXT) for name in ("reason", "failed_stage", "traceback", "log")),
        ("client_flops", _COUNT),
        ("client_seconds", _NUMBER),
        ("client_reason", _TEXT),
        ("checked", _COUNT),
        ("unstable", _TEXT),
        ("inputs", _TEXT),
    ]
)


# ---- samples ---------------------------------------------------------------------------------------------------------

_LABELS = dict.fromkeys(("defense", "authorised", "attack"), _TEXT)
_UPLOAD = {"suite_version": _TEXT, "dataset": _TEXT, "synthetic": _FLAG, **_LABELS, "repeat": _COUNT}
_SCORED = {"cell": _TEXT, **_UPLOAD, "evaluated": _TEXT, "via": _TEXT}
_COSINES = dict.fromkeys(("cos_self", "cos_cross", "cos_clean", "flip_cross", "flip_clean"), _NUMBER)
_RANKS = dict.fromkeys(("rank", "rank_enrolled", "gallery", "kappa_calibrated", "fmr"), _NUMBER)
_PICTURE = {"sample_id": _TEXT, "subject": _COUNT}
_SHOWN = ("sample_id", "original", "protected", "ssim")
_BLANK_IMAGES = ("another_face", "grey", "mean_face", "noise", "wide_noise")
_PAIR = {"left_id": _TEXT, "left_subject": _COUNT, "same": _FLAG, "fold": _COUNT, **_COSINES, **_RANKS}
# Columns that a version of bench began to write together. Rows of older versions lack them.
_THRESHOLDS = ("fmr_realised", "calibration_people", "adversary_impostors", "adversary_people")
_AT_THRESHOLDS = ("kappa_adversary", "impostor_match_adversary", "impostor_match_enrolled", "impostor_match")
_RANK_CHANCES = ("rank_chance", "rank_enrolled_chance")
_NEWER = {"threshold_rule": _TEXT, **dict.fromkeys((*_THRESHOLDS, *_AT_THRESHOLDS, *_RANK_CHANCES), _NUMBER)}
# The probabilities of rank 1 if equal scores are ordered at random; rows of older versions lack them.
_FIRST = ("rank_first", "rank_enrolled_first")
# Columns that say which sides of a pair are protected; rows of older versions, which protect left pictures, lack them.
_OF_SIDES = ("cos_probe", "cos_gallery", "cos_protected", "kappa_enrolled")
# Columns on whose pictures the adversary's thresholds are set (``scored`` or ``calibration``), and on the share of
# these impostor scores above them; rows of older versions lack them.
ADVERSARY_RULE, ADVERSARY_RULES = "adversary_rule", ("scored", "calibration")
_REALISED = ("adversary_fmr_realised", "enrolled_fmr_realised")
COMPARED_WITH = "compared_with"  # ``originals``, or ``protected`` pictures where a defense has its own recogniser
# The columns of each table of samples that bench reads, with their types. A table may have further columns.
SAMPLE_COLUMNS: Mapping[str, Mapping[str, pa.DataType]] = {
    "verification": {
        **_SCORED,
        **_PAIR,
        "right_subject": _COUNT,
        "calibration_impostors": _NUMBER,
        **_NEWER,
        **dict.fromkeys((*_FIRST, *_OF_SIDES, *_REALISED), _NUMBER),
        COMPARED_WITH: _TEXT,
        ADVERSARY_RULE: _TEXT,
    },
    "images": {**_UPLOAD, **_PICTURE, "ssim": _NUMBER, "psnr": _NUMBER, "psnr_infinite": _FLAG, "lpips": _NUMBER},
    "sets": {
        **_UPLOAD,
        "metric": _TEXT,
        **dict.fromkeys(("value", "low", "high"), _NUMBER),
        **dict.fromkeys(("n", "people"), _COUNT),
        "reason": _TEXT,
    },
    "baselines": {
        "suite_version": _TEXT,
        "dataset": _TEXT,
        "sample_id": _TEXT,
        **{f"{metric}_{image}": _NUMBER for metric in ("ssim", "psnr", "lpips") for image in _BLANK_IMAGES},
    },
    "people": {
        "suite_version": _TEXT,
        "dataset": _TEXT,
        "subject": _COUNT,
        "attribute": _TEXT,
        "label": _TEXT,
        "value": _NUMBER,
        "pictures": _COUNT,
    },
    "examples": {**_UPLOAD, "sample_id": _TEXT, "original": pa.binary(), "protected": pa.binary(), "ssim": _NUMBER},
    "attributes": {
        **_SCORED,
        **_PICTURE,
        "attribute": _TEXT,
        "reference": _TEXT,
        **dict.fromkeys(("value", "permuted", "baseline"), _NUMBER),
    },
    "up": {**_SCORED, **_PICTURE, **dict.fromkeys(("sigma", "cosine", "dist", "lpips"), _NUMBER)},
    "links": {
        **_SCORED,
        **dict.fromkeys(
            ("pair", "left_subject", "right_subject", "fold", "kappa_impostors", "kappa_people", "alike_subject"),
            _COUNT,
        ),
        **dict.fromkeys(("left_id", "right_id"), _TEXT),
        "same": _FLAG,
        **dict.fromkeys(("score", "permuted", "alike", "kappa", "fmr", "kappa_fmr_realised", "auc"), _NUMBER),
        ADVERSARY_RULE: _TEXT,
    },
}
# The newer columns, by table: a file has all of them, or none.
WRITTEN_TOGETHER: Mapping[str, Sequence[str]] = {"verification": tuple(_NEWER)}
# Those of them that metrics are computed from, row by row; the others describe a threshold. A metric of these columns
# means something else in rows that lack them (`bench.analysis.verification_scores.VerificationScores`).
NEWER_COLUMNS = frozenset((*_AT_THRESHOLDS, *_RANK_CHANCES))
# The columns without which nothing can be computed from a table.
SAMPLES_NEEDED: Mapping[str, Sequence[str]] = {
    "verification": ("experiment", "cell", *_PAIR, "calibration_impostors"),
    "images": ("experiment", "dataset", "repeat", *_LABELS, *_PICTURE),
    "sets": ("experiment", "dataset", "repeat", *_LABELS, "metric", "value"),
    "baselines": ("experiment", "dataset", "sample_id"),
    "people": ("experiment", "dataset", "subject", "attribute"),
    "examples": (
        "experiment",
        "dataset",
        "synthetic",
        "repeat",
        *_LABELS,
        "sample_id",
        "original",
        "protected",
        "ssim",
    ),
    "attributes": ("experiment", "cell", "subject", "attribute", "value"),
    "up": ("experiment", "cell", "subject", "sigma", "cosine"),
    "links": ("experiment", "cell", "left_subject", "right_subject", "same", "score"),
}

# ---- values of samples -----------------------------------------------------------------------------------------------

Range = tuple[float, float]
_MOST = 2.0**53  # The largest count that a float holds exactly.
_COSINE, _SHARE, _FROM_ZERO, _FROM_ONE = (-1.0, 1.0), (0.0, 1.0), (0.0, _MOST), (1.0, _MOST)
_SIMILAR: Mapping[str, Range] = {"ssim": _COSINE, "psnr": _FROM_ZERO, "lpips": _FROM_ZERO}
# The lowest and the highest value of columns of samples. None of these columns holds an infinite number.
RANGES: Mapping[str, Mapping[str, Range]] = {
    "verification": {
        **dict.fromkeys((*_COSINES, "kappa_calibrated", "kappa_adversary", *_OF_SIDES), _COSINE),
        **dict.fromkeys(("fmr", "fmr_realised", *_REALISED, *_AT_THRESHOLDS[1:], *_RANK_CHANCES, *_FIRST), _SHARE),
        **dict.fromkeys(("calibration_impostors", *_THRESHOLDS[1:]), _FROM_ZERO),
        **dict.fromkeys(("rank", "rank_enrolled", "gallery"), _FROM_ONE),
    },
    "images": _SIMILAR,
    "baselines": {f"{metric}_{image}": _SIMILAR[metric] for metric in _SIMILAR for image in _BLANK_IMAGES},
    "examples": {"ssim": _COSINE},
    "attributes": dict.fromkeys(("value", "permuted", "baseline"), (-1.0, _MOST)),
    "up": {"sigma": _FROM_ZERO, "cosine": _COSINE, "dist": _SHARE, "lpips": _FROM_ZERO},
    "links": {
        **dict.fromkeys(("score", "permuted", "alike", "kappa"), (-_MOST, _MOST)),
        **dict.fromkeys(("fmr", "kappa_fmr_realised", "auc"), _SHARE),
        **dict.fromkeys(("kappa_impostors", "kappa_people"), _FROM_ZERO),
    },
}
# The ranges of the columns of attributes by the measure of the attribute, where a file has the column ``measure``.
MEASURES: Mapping[str, Range] = {"cosine": _COSINE, "years": _FROM_ZERO}
# Columns of samples with a value in every row.
FILLED: Mapping[str, Sequence[str]] = {
    "verification": (
        *("left_id", "left_subject", "same", "fold", "cos_self", "cos_cross", "cos_clean"),
        *("kappa_calibrated", "gallery", "threshold_rule", *_THRESHOLDS),
    ),
    "links": ("left_id", "right_id", "left_subject", "right_subject", "same", "score", "fmr"),
}
# Of these, the columns that only hold a value where a protected picture is compared with originals.
OF_ORIGINALS: Mapping[str, Sequence[str]] = {"verification": ("cos_clean",)}
# What identifies a row of a table: the columns of the group that it is written with, and those within the group. A row
# occurs once, and the rows of a group stand together.
IDENTITY: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "verification": (("cell",), ("pair",)),
    **dict.fromkeys(
        ("images", "examples"),
        (("experiment", "dataset", "defense", "authorised", "repeat", "attack"), ("sample_id",)),
    ),
    "sets": (("experiment", "dataset", "defense", "authorised", "repeat", "attack"), ("metric",)),
    "baselines": (("experiment", "dataset"), ("sample_id",)),
    "people": (("experiment", "dataset"), ("attribute", "subject")),
    "attributes": (("cell",), ("attribute", "sample_id")),
    "up": (("cell",), ("sigma", "sample_id")),
    "links": (("cell",), ("pair",)),
}

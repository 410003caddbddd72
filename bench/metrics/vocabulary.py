"""The names of all metrics that a claim or a command can use.

`bench.analysis.measures` defines how each is computed from rows; a test keeps the two in step. The names live here so
that a suite can be checked before anything is computed.
"""

from __future__ import annotations

from collections.abc import Collection

from bench.core.errors import SuiteError, did_you_mean

# The image metrics that every experiment computes, by the names under which a plugin registers them.
IMAGE_METRICS = ("ssim", "psnr", "lpips")
METRIC_NAMES = (
    # from rows of verification pairs
    "accuracy",
    "accuracy-fixed",
    "clean-accuracy",
    "clean-accuracy-fixed",
    "accuracy-drop",
    "accuracy-chance",
    "accuracy-chance-fixed",
    "ten-fold",
    "clean-ten-fold",
    "cosine",
    "srra",
    "srra-fixed",
    "rank-1",
    "rank-1-enrolled",
    "fmr-match",
    "enrolled-match",
    "fmr-match-deployed",
    "impostor-match",
    "impostor-match-enrolled",
    "impostor-match-deployed",
    "rank-1-chance",
    "rank-1-enrolled-chance",
    # from rows of images
    "ssim",
    "psnr",
    "lpips",
    "upload-bytes",
    # from rows of estimated attributes, with noise on the upload
    "up",
    "up-lpips",
    "utility",
    "privacy",
    "privacy-lpips",
    "age-difference",
    # from rows of pairs of two uploads
    "link-auc",
    "link-match",
    "link-auc-chance",
    "link-match-chance",
)
# These are followed by the name of an attribute, as in ``similarity:gender``.
ATTRIBUTE_FAMILIES = ("similarity", "permuted", "excess", "baseline")
OF_SET = ":set"  # It follows the name of a metric of a plugin with values of samples and of sets, for the latter.
_FORMER_FAMILIES = {"floor": "baseline"}


def current_name(name: str) -> str:
    """Return today's name of a metric whose family was renamed: ``floor:age`` is ``baseline:age``."""
    family, colon, attribute = name.partition(":")
    return _FORMER_FAMILIES.get(family, family) + colon + attribute


def check_metric_name(name: str, further: Collection[str] = ()) -> None:
    """Raise `SuiteError` unless ``name`` is one of `METRIC_NAMES`, a family and an attribute, or one of the ``further``
    metrics that plugins provide."""
    family, _, attribute = name.partition(":")
    if name in METRIC_NAMES or (family in ATTRIBUTE_FAMILIES and attribute):
        return
    if name.removesuffix(OF_SET) in further:
        return
    known = [*METRIC_NAMES, *further, *(f"{family}:<attribute>" for family in ATTRIBUTE_FAMILIES)]
    raise SuiteError(f"no metric {name!r}; {did_you_mean(name, known)}")

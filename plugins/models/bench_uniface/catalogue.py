"""The files of uniface that bench uses: what each is, how large, and under which terms. No torch, no uniface.

Addresses and digests are not repeated here: `bench_uniface.library` reads them from the installed library. Sizes,
training sets and backbones are those that the documentation of uniface states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_MS1M = (
    "MIT (code); trained on MS1MV2, whose terms apply to the weights: see https://github.com/yakhyo/face-recognition"
)
_INSIGHTFACE = (
    "MIT (code); InsightFace publishes its weights for non-commercial research only: see "
    "https://github.com/deepinsight/insightface"
)
_ADAFACE = (
    "MIT (code); trained on {}, whose terms apply to the weights: see https://github.com/mk-minchul/AdaFace and "
    "https://github.com/yakhyo/adaface-onnx"
)
_EDGEFACE = (
    "uniface states neither license nor training set of these weights: see https://github.com/otroshi/edgeface and "
    "https://github.com/yakhyo/edgeface-onnx"
)
_FAIRFACE = "trained on FairFace, CC BY 4.0 according to uniface: see https://github.com/yakhyo/fairface-onnx"


@dataclass(frozen=True, kw_only=True)
class Fetchable:
    """A weights file: the ``stem`` of its name, which is also its identifier in uniface, ``what`` it is, ``megabytes``
    (about), and the ``license``: the terms of code, weights and training set as far as they are known."""

    stem: str
    what: str
    megabytes: int
    license: str

    @property
    def name(self) -> str:
        """The name in bench: uniface's identifier with hyphens."""
        return self.stem.replace("_", "-")

    @property
    def file(self) -> str:
        """The name of the file in uniface's cache."""
        return f"{self.stem}.onnx"


def _file(stem: str, what: str, megabytes: int, license: str) -> Fetchable:
    return Fetchable(stem=stem, what=what, megabytes=megabytes, license=license)


RECOGNISERS: Mapping[str, Fetchable] = {
    file.name: file
    for file in (
        _file("mobilenetv1_025", "MobileNetV1 of a quarter of the width", 1, _MS1M),
        _file("mobilenetv2", "MobileNetV2", 4, _MS1M),
        _file("mobilenetv3_small", "MobileNetV3, small", 3, _MS1M),
        _file("mobilenetv3_large", "MobileNetV3, large", 10, _MS1M),
        _file("sphere20", "SphereFace's network of 20 layers", 50, _MS1M),
        _file("sphere36", "SphereFace's network of 36 layers", 92, _MS1M),
        _file("arcface_mnet", "MobileFaceNet trained with ArcFace (InsightFace's w600k_mbf)", 8, _INSIGHTFACE),
        _file("arcface_resnet", "IR50 trained with ArcFace (InsightFace's w600k_r50)", 166, _INSIGHTFACE),
        _file("adaface_ir_18", "IR18 trained with AdaFace", 92, _ADAFACE.format("WebFace4M")),
        _file("adaface_ir_50", "IR50 trained with AdaFace", 166, _ADAFACE.format("WebFace4M")),
        _file("adaface_ir_101", "IR101 trained with AdaFace", 249, _ADAFACE.format("WebFace12M")),
        _file("edgeface_xxs", "EdgeFace XXS (EdgeNeXt)", 5, _EDGEFACE),
        _file("edgeface_xs_gamma_06", "EdgeFace XS, gamma 0.6 (EdgeNeXt)", 7, _EDGEFACE),
        _file("edgeface_s_gamma_05", "EdgeFace S, gamma 0.5 (EdgeNeXt)", 14, _EDGEFACE),
        _file("edgeface_base", "EdgeFace base (EdgeNeXt)", 70, _EDGEFACE),
    )
}
ATTRIBUTES: Mapping[str, Fetchable] = {
    file.name: file
    for file in (
        _file("fairface", "race and gender, for the attack attributes", 44, _FAIRFACE),
        _file("age_gender", "age in years, for the attack attributes", 8, _INSIGHTFACE),
    )
}
FETCHABLE: Mapping[str, Fetchable] = {**RECOGNISERS, **ATTRIBUTES}

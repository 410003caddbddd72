"""Published figures: read strictly, matched by the paper's own names."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.claims import COLUMNS, parse_claims, read_claims
from bench.errors import SuiteError

HEADER = ",".join(COLUMNS)
REPOSITORY = Path(__file__).parent.parent


def test_the_papers_table_vii_is_complete() -> None:
    claims = parse_claims(read_claims(REPOSITORY / "suites" / "claims" / "table-vii.csv", "x"))
    models = {"MobileFace", "ArcFace", "ResNet50", "IR50-Softmax", "IR50-SphereFace"}
    sets = {"LFW", "AgeDB-30", "CALFW", "CFP-FF"}
    assert set(claims) == {(s, "pmt", a, e) for s in sets for a in models for e in models} | {
        (s, "identity", "Clean", e) for s in sets for e in models
    }
    assert claims["LFW", "pmt", "ArcFace", "ArcFace"] == 1.0
    assert claims["CALFW", "pmt", "IR50-Softmax", "MobileFace"] == pytest.approx(0.213)
    assert claims["AgeDB-30", "identity", "Clean", "ResNet50"] == pytest.approx(0.969)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the columns"),
        ("dataset,authorised\n", "expected the columns"),
        (f"{HEADER}\nLFW,pmt,A,B,ninety\n", "line 2: expected 5 values, the last a share in percent"),
        (f"{HEADER}\nLFW,pmt,A,B,100.1\n", "line 2"),
        (f"{HEADER}\nLFW,pmt,A,B,1\nLFW,pmt,A,2\n", "line 3"),
        (f"{HEADER}\nLFW,pmt,A,B,nan\n", "line 2"),
    ],
)
def test_a_line_without_a_figure_is_an_error_that_names_it(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "claims.csv"
    path.write_text(text)
    with pytest.raises(SuiteError, match=message) as caught:
        read_claims(path, "experiment[0].claims")
    assert str(caught.value).startswith(f"experiment[0].claims: {path}")


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="expected a CSV file beside the suite"):
        read_claims(tmp_path / "nothing.csv", "experiment[0].claims")

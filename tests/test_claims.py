"""The paper's figures: every line of the file beside a suite is checked before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.claims import COLUMNS, parse_claims, read_claims
from bench.errors import SuiteError

HEADER = ",".join(COLUMNS)
LINE = "LFW,pmt,MobileFace,ArcFace,6.7"


def test_figures_are_shares_by_what_they_are_about(tmp_path: Path) -> None:
    path = tmp_path / "claims.csv"
    path.write_text(f'{HEADER}\n{LINE}\n"LFW",identity,Clean,ArcFace,100\n')
    text = read_claims(path, "here")
    assert parse_claims(text) == {
        ("LFW", "pmt", "MobileFace", "ArcFace"): pytest.approx(0.067),
        ("LFW", "identity", "Clean", "ArcFace"): 1.0,
    }


def test_no_figures_are_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "claims.csv").write_text(f"{HEADER}\n")
    assert parse_claims(read_claims(tmp_path / "claims.csv", "here")) == {}


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        (None, ["expected a CSV file beside the suite"]),
        ("", ["expected the columns", HEADER]),
        ("a,b\n", ["expected the columns", HEADER, "'a,b'"]),
        (f"{HEADER}\n{LINE}\nLFW,pmt,1\n", ["line 3", "expected 5 values", "'LFW,pmt,1'"]),
        (f"{HEADER}\nLFW,pmt,MobileFace,ArcFace,\n", ["line 2", "percent"]),
        (f"{HEADER}\nLFW,pmt,MobileFace,ArcFace,many\n", ["line 2", "percent", "many"]),
        (f"{HEADER}\nLFW,pmt,MobileFace,ArcFace,100.5\n", ["line 2", "percent", "100.5"]),
        (f"{HEADER}\nLFW,pmt,MobileFace,ArcFace,-1\n", ["line 2", "percent", "-1"]),
        (f"{HEADER}\nLFW,pmt,MobileFace,ArcFace,nan\n", ["line 2", "percent", "nan"]),
        (f"{HEADER}\n{LINE}\nLFW,pmt,MobileFace,ArcFace,6.8\n", ["line 3", "LFW", "twice"]),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str | None, fragments: list[str]) -> None:
    path = tmp_path / "claims.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SuiteError) as caught:
        read_claims(path, "experiment[0].claims")
    for fragment in ["experiment[0].claims", "claims.csv", *fragments]:
        assert fragment in str(caught.value)


def test_a_binary_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "claims.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SuiteError, match=r"claims\.csv"):
        read_claims(tmp_path / "claims.csv", "here")


def test_the_published_claims_are_well_formed() -> None:
    files = sorted((Path(__file__).parent.parent / "suites" / "claims").glob("*.csv"))
    assert files
    for path in files:
        claims = parse_claims(read_claims(path, path.name))
        assert claims
        assert all(0 <= share <= 1 for share in claims.values())

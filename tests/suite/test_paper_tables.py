"""The paper's published numbers: every line of a file beside a suite is checked before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

import bench
from bench.core.errors import SuiteError
from bench.suite.paper_tables import COLUMNS, canonical, parse_claims, published, read_claims

HEADER = ",".join(COLUMNS)
LINE = "LFW,pmt,MobileFace,ArcFace,6.7,%"


def test_published_numbers_are_shares_by_row_and_column(tmp_path: Path) -> None:
    path = tmp_path / "claims.csv"
    path.write_text(f'{HEADER}\n{LINE}\n"LFW",identity,Clean,ArcFace,100,%\nLFW,pmt,B+A,Age,-8.93,years\n')
    text = read_claims(path, "here")
    assert parse_claims(text) == {
        ("LFW", "pmt", "MobileFace", "ArcFace"): pytest.approx(0.067),
        ("LFW", "identity", "Clean", "ArcFace"): 1.0,
        ("LFW", "pmt", canonical("A+B"), "Age"): -8.93,
    }


def test_an_experiment_needs_no_published_numbers(tmp_path: Path) -> None:
    (tmp_path / "claims.csv").write_text(f"{HEADER}\n")
    assert parse_claims(read_claims(tmp_path / "claims.csv", "here")) == {}


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        (None, ["expected a CSV file beside the suite"]),
        ("", ["expected the columns", HEADER]),
        ("a,b\n", ["expected the columns", HEADER, "'a,b'"]),
        (f"{HEADER}\n{LINE}\nLFW,pmt,1\n", ["line 3", "expected 6 values", "'LFW,pmt,1'"]),
        (f"{HEADER}\nLFW,pmt,MobileFace,ArcFace,,%\n", ["line 2", "number"]),
        (f"{HEADER}\nLFW,pmt,MobileFace,ArcFace,many,%\n", ["line 2", "number", "many"]),
        (f"{HEADER}\nLFW,pmt,MobileFace,ArcFace,nan,%\n", ["line 2", "number", "nan"]),
        (f"{HEADER}\nLFW,pmt,MobileFace,ArcFace,100.5,%\n", ["line 2", "percent", "100.5"]),
        (f"{HEADER}\nLFW,pmt,MobileFace,ArcFace,-1,%\n", ["line 2", "percent", "-1"]),
        (f"{HEADER}\nLFW,pmt,MobileFace,ArcFace,1,miles\n", ["line 2", "dB, years or nothing", "miles"]),
        (f"{HEADER}\n{LINE}\nLFW,pmt,MobileFace,ArcFace,6.8,%\n", ["line 3", "LFW", "twice"]),
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


@pytest.mark.parametrize(
    ("table", "figures"),
    [("III", 6), ("IV", 12), ("V", 6), ("VI", 96), ("VII", 120), ("VIII", 32), ("IX", 120), ("X", 24)],
)
def test_the_papers_tables_are_in_the_package(table: str, figures: int) -> None:
    path = Path(bench.__file__).parent / "suite" / "paper" / f"table-{table.lower()}.csv"
    claims = parse_claims(read_claims(path, path.name))
    assert published(table) == path.read_text(encoding="utf-8")
    assert len(claims) == figures
    assert {dataset for dataset, *_ in claims} <= {"LFW", "AgeDB-30", "CALFW", "CFP-FF"}


@pytest.mark.parametrize("table", ["II", "XII", "", "../paper/table-x", "vii"])
def test_other_tables_are_not_in_the_package(table: str) -> None:
    assert published(table) is None


def test_some_numbers_are_as_the_paper_prints_them() -> None:
    def figure(table: str, *key: str) -> float:
        dataset, defense, row, column = key
        return parse_claims(published(table) or "")[dataset, defense, canonical(row), column]

    assert figure("III", "AgeDB-30", "pmt", "Random Blur", "Unauthorised") == pytest.approx(0.99)
    assert figure("IV", "AgeDB-30", "pmt", "Layer Aggregation: No", "Unauthorised") == pytest.approx(0.154)
    assert figure("V", "AgeDB-30", "pmt", "Gaussian Kernel", "Authorised") == pytest.approx(0.99)
    assert figure("VI", "CALFW", "pmt-noise", "Random Noise", "Black-Box PSNR") == pytest.approx(17.01)
    assert figure("VIII", "CFP-FF", "noise", "x+delta", "Age") == pytest.approx(4.2)
    assert figure("IX", "LFW", "mr-pmt", "IR50-Softmax+ResNet50", "ArcFace") == pytest.approx(0.288)
    assert figure("X", "LFW", "pmt", "✔/✔/✔", "UP") == pytest.approx(1.848)


def test_the_average_of_table_vii_that_is_misprinted() -> None:
    """AgeDB30 for ArcFace: the paper prints 6.7 %; the numbers of the row give 9.4 %. All others agree."""
    claims = parse_claims(published("VII") or "")
    row = [v for (d, _, r, c), v in claims.items() if (d, r) == ("AgeDB-30", "ArcFace") and c != "ArcFace"]
    assert sum(row) / len(row) == pytest.approx(0.09375)

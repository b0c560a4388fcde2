"""The papers themselves, and the command line: the real cells, but few and short."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from report_pages import Page, check_page, check_row, markdown_claims

import paper_repro
from paper_repro import diagonal_ssm
from paper_repro.__main__ import main
from paper_repro.paper import load, matches

ROOT = Path(paper_repro.__file__).parent
SETTINGS = tuple(
    word
    for setting in ("seed=0", "max_steps=100", "N=64", "length=1024", "d=64", "entries=65536")
    for word in ("--set", setting)
)
SHORT = (*SETTINGS, "--jobs", "1", "--quiet")


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """The folder of a report on the real papers, of one seed and few steps, made by the command line."""
    folder = tmp_path_factory.mktemp("short")
    places = ("--results", str(folder / "results"), "--out", str(folder / "out"))
    assert main([*SHORT, *places]) == 0
    return folder


def pages(folder):
    return Page((folder / "out" / "index.html").read_text()), (folder / "out" / "REPORT.md").read_text()


def test_the_real_papers_make_a_page(short):
    page, markdown = pages(short)
    check_page(page)
    assert sum(image["src"].startswith("data:image/svg+xml") for image in page.images) >= 4
    twin = markdown_claims(markdown)
    assert list(page.claims) == list(twin)
    for name, rows in page.claims.items():
        claims = json.loads((short / "results" / name / "claims.json").read_text())
        assert len(rows) == len(twin[name]) == len(claims) > 0
        for row, other, claim in zip(rows, twin[name], claims, strict=True):
            check_row(row, claim)
            check_row(other, claim)


def test_one_seed_reproduces_nothing(short):
    page, markdown = pages(short)
    assert "not the preset as it comes: --set seed=0 --set max_steps=100" in page.text
    statuses = [cells.split(" | ")[2] for cells in re.findall(r"(?m)^\| ([TE]\d+ \| .*) \|$", markdown)]  # have seeds
    assert "inconclusive (0 of 6 claims hold)" in statuses
    assert not any(status.startswith("reproduced") for status in statuses)


def test_nothing_that_is_stored_runs_again_and_figures_are_the_runs_own(short, tmp_path, capsys):
    stored = {path.name: path.stat().st_mtime_ns for path in (short / "results").rglob("cells/*")}
    assert stored
    names = [study.experiment for name in paper_repro.PAPERS for study in load(name).studies]
    files = sorted(f"{name}.{suffix}" for name in names for suffix in ("png", "svg"))
    before = {file: (short / "results" / file.replace(".", "/figure.")).read_bytes() for file in files}
    assert main([*SHORT, "--results", str(short / "results"), "--figures", str(tmp_path / "figures")]) == 0
    assert {path.name: path.stat().st_mtime_ns for path in (short / "results").rglob("cells/*")} == stored
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == files
    for file in files:  # drawn anew from the store
        assert (tmp_path / "figures" / file).read_bytes() == before[file]
    assert capsys.readouterr().out.count("figure: ") == len(files)


def test_every_paper_is_listed_and_complete():
    written = {path.stem for path in ROOT.glob("*.py") if re.search(r"(?m)^paper = Paper\(", path.read_text())}
    assert written == set(paper_repro.PAPERS)
    for name in paper_repro.PAPERS:
        paper = load(name)
        assert paper.name == name
        items = [row.item for row in paper.coverage]
        assert len(set(items)) == len(items)
        for study in paper.studies:
            for panel in study.panels:
                assert bool(panel.alt) == panel.has_picture
                assert panel.expected


def test_the_pages_account_for_the_whole_list_of_sensing():
    items = [row.item for name in paper_repro.PAPERS for row in load(name).coverage]
    listed = [f"T{i}" for i in range(1, 10)] + [f"E{i}" for i in range(1, 13)]
    assert sorted(item for item in items if re.fullmatch(r"[TE]\d+", item)) == sorted(listed)


def test_every_experiment_is_on_one_page():
    shown = [study.experiment for name in paper_repro.PAPERS for study in load(name).studies]
    assert sorted(shown) == sorted(path.stem for path in (ROOT.parent / "experiments").glob("*.py"))


@pytest.mark.parametrize("name", paper_repro.PAPERS)
def test_every_claim_is_shown_and_counted_and_every_pattern_names_one(short, name):
    paper = load(name)
    page, _ = pages(short)
    claims = {study.experiment: [row["claim"] for row in page.claims[study.experiment]] for study in paper.studies}
    for study in paper.studies:
        patterns = [pattern for panel in study.panels for pattern in panel.claims]
        for pattern in patterns:
            assert any(matches(claim, (pattern,)) for claim in claims[study.experiment]), pattern
    shown = [pattern for study in paper.studies for panel in study.panels for pattern in panel.claims]
    counted = [pattern for row in paper.coverage for pattern in row.claims]
    ids = [claim for found in claims.values() for claim in found]
    for patterns in (shown, counted):
        for pattern in patterns:
            assert any(matches(claim, (pattern,)) for claim in ids), pattern
        for claim in ids:
            assert matches(claim, tuple(patterns)), claim


def test_wrong_usage_is_one_line(capsys, tmp_path):
    for arguments in (["overparam"], ["--preset", "tiny"], ["--set", "q=1"], ["--nonsense"]):
        assert main([*arguments, "--results", str(tmp_path), "--out", str(tmp_path)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert main(["--list", "overparam_sensing", "overparam_sensing"]) == 0  # one page has a paper once
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("overparam_sensing: How Over-Parameterization")


@pytest.mark.parametrize("option", ["--out", "--figures"])
def test_a_folder_that_cannot_be_written_is_said_before_anything_runs(option, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert main([option, str(tmp_path / "file"), "--results", str(tmp_path / "results")]) == 2
    assert capsys.readouterr().err == f"error: cannot write to {tmp_path / 'file'}: File exists\n"
    assert not (tmp_path / "results").exists()


def test_quoted_accuracies_have_the_averages_that_were_published_with_them():
    published = {
        "S4D-LegS": "84.89",
        "S4D-Inv": "85.50",
        "S4D-Lin": "78.39",
        "S4-LegS": "86.09",
        "S4-FouT": "77.90",
        "DSS": "79.45",
    }
    texts = [expected.text for expected in diagonal_ssm.QUOTED.expected]
    for model, average in published.items():
        (text,) = (text for text in texts if text.startswith(f"{model}:"))
        assert text.endswith(f"on average {average}.")

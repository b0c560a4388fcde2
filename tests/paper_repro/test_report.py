"""The page and its twin, of a toy paper: structure, texts, warnings, pictures. No browser."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from report_pages import Page, check_page, check_row, markdown_claims

from lrtheory.sweep import UsageError
from paper_repro import pictures, report, words
from paper_repro.paper import Covered, Expected
from paper_repro.results import Run, gather, ranges


@pytest.fixture
def page(toy):
    return Page(toy.html.read_text())


def test_page_keeps_its_promises(toy, page):
    check_page(page)
    assert len(page.images) == 2
    assert len(page.drawings) == 3
    assert page.links == ["https://example.org/toys"]


@pytest.mark.parametrize(
    ("what", "pattern", "by"),
    [
        ("without alt", r'alt="dots[^"]*"', 'alt=""'),
        ("not inlined", r'src="data:image/svg\+xml;base64,[^"]*"', 'src="figure.svg"'),
        ("leads nowhere", r'id="toys-coverage"', 'id="elsewhere"'),
        ("used twice", r'id="toys-coverage"', 'id="reading"'),
        ("loads something", r"<h1>", '<h1><link rel="stylesheet" href="https://example.org/a.css">'),
        ("loads something", r"body \{", "body { background: url(https://example.org/a.png);"),
        ("closes something else", r"</article>", "</section></article>"),
    ],
)
def test_a_broken_page_is_seen(toy, what, pattern, by):
    text, count = re.subn(pattern, lambda _: by, toy.html.read_text(), count=1)
    assert count == 1
    with pytest.raises(AssertionError, match=what):
        check_page(Page(text))


def test_claims_table_equals_claims_json(toy, page):
    claims = toy.claims("toy")
    assert {claim["verdict"] for claim in claims} == {"holds", "fails", "inconclusive"}
    for rows in (page.claims["toy"], markdown_claims(toy.markdown.read_text())["toy"]):
        assert len(rows) == len(claims)
        for row, claim in zip(rows, claims, strict=True):
            check_row(row, claim)


@pytest.mark.parametrize(
    ("key", "value"),
    [("verdict", "holds"), ("measured", 0.4), ("statement", "mean of y"), ("predicted", [0, None]), ("source", "x")],
)
def test_a_wrong_row_is_seen(toy, page, key, value):
    claim = toy.claims("toy")[1]
    check_row(page.claims["toy"][1], claim)
    with pytest.raises(AssertionError):
        check_row(page.claims["toy"][1], claim | {key: value})


def test_the_two_say_the_same(toy, page):
    markdown = toy.markdown.read_text()
    for text in (
        'dots of "y" against t Claims: A.one holds, A.low fails.',
        toy.view.studies[0].results.command,
        "not reproduced",
    ):
        assert text in markdown
        assert text in page.text or any(text in image["alt"] for image in page.images)
    assert markdown.count("![") == len(page.images)
    for target in re.findall(r"\]\((images/[^)]+)\)", markdown):
        assert (toy.markdown.parent / target).read_bytes().startswith(b"\x89PNG")
    assert "<toy>" in page.text
    assert "&lt;toy>" in markdown  # else a renderer drops it


def test_only_the_data_make_a_reproduction(toy):
    found = {row.item: (status, held) for row, status, held in toy.view.coverage}
    assert found == {
        "C1": ("reproduced", "1 of 1 claims hold"),
        "C2": ("not reproduced", "1 of 2 claims hold"),
        "C3": ("inconclusive", "0 of 1 claims hold"),
        "C4": ("inconclusive", "0 of 0 claims hold"),
        "C5": ("reconstructed", ""),
        "C6": ("not attempted", ""),
    }
    two = Covered("C", "what", "reproduced", "because", ("A.one", "D.*"))
    assert two.found({"A.one": "holds"}) == ("inconclusive", "1 of 1 claims hold")  # the other was not even made
    assert two.found({"A.one": "holds", "D.x": "holds"}) == ("reproduced", "2 of 2 claims hold")
    with pytest.raises(ValueError, match="which claims"):
        Covered("C", "what", "reproduced", "because")
    with pytest.raises(ValueError, match="status"):
        Covered("C", "what", "not reproduced", "because")
    with pytest.raises(ValueError, match="basis"):
        Expected("printed", "text")


def test_warnings_and_failed_cells_stand_first(toy, page):
    shown = toy.view.studies[0].warnings
    assert any("2 of 10 cells failed" in text for text in shown)
    assert any("seed = 4: RuntimeError: no <seed> four & no | five" in text for text in shown)
    assert not toy.view.studies[0].results.complete
    for text in shown:
        assert text in page.text
    assert page.text.index(shown[0]) < page.text.index("(a) y")
    assert str(Path.home()) not in page.text


def test_settings_and_other_code_are_said(toy, tmp_path):
    path = Path(toy.paper.studies[0].experiment)
    copy = tmp_path / "toy.py"
    copy.write_text(path.read_text())
    run = Run(results=tmp_path / "results", settings=("seed=0:2",), jobs=1)
    first = gather(str(copy), run)
    assert first.complete
    assert first.record["cells_run"] == 4
    assert first.command.endswith("--preset small --set seed=0:2")
    copy.write_text(path.read_text() + "\n# changed\n")
    assert gather(str(copy), run).record["cells_run"] == 0  # nothing that is stored is run again
    second = gather(str(copy), replace(run, settings=("seed=0:3",)))
    shown = report.StudyView(second, [])
    assert [origin["cells"] for origin in second.origins] == [4, 2]
    for text in ("--set seed=0:3", "from other code", "under 2 circumstances"):
        assert any(text in warning for warning in shown.warnings), text
    assert shown.seeds == {"seed": "0–2"}
    with pytest.raises(UsageError, match="no preset"):
        gather(str(copy), replace(run, preset="huge"))


def test_no_figure_and_no_claims_is_a_page_too(toy, tmp_path):
    source = Path(toy.paper.studies[0].experiment).read_text()
    broken = tmp_path / "toy.py"
    broken.write_text(re.sub(r"def (figure|claims)\(frame\):", r"\g<0>\n    raise ValueError('not today')", source))
    run = Run(results=tmp_path / "results", jobs=1)
    # of an earlier call: must not be taken for this one's
    (tmp_path / "results" / "toy").mkdir(parents=True)
    (tmp_path / "results" / "toy" / "claims.json").write_text(json.dumps(toy.claims("toy")))
    study = replace(toy.paper.studies[0], experiment=str(broken))
    view = report.view(replace(toy.paper, studies=(study,)), run)
    html, markdown = report.render([view], run)
    assert not view.studies[0].results.complete
    for text in (html, markdown):
        assert "No claims" in text
        assert text.count("No figure could be drawn") == 2
        assert "not today" in text
    assert not Page(html).claims
    assert view.covered["reproduced"] == 0


def test_panels_are_cut_out_whole_and_deterministically(toy):
    figure = toy.view.studies[0].results.figure()
    whole = pictures.crop(figure, None)
    left = pictures.crop(figure, 0)
    again = pictures.crop(toy.view.studies[0].results.figure(), 0)
    assert left == again
    assert pictures.crop(figure, None) == whole  # it was put back
    assert pictures.crop(figure, 1) != left
    wide, narrow = pictures.size(whole["svg"]), pictures.size(left["svg"])
    assert 0.4 * wide[0] < narrow[0] < 0.6 * wide[0]
    with pytest.raises(IndexError, match="2 panels"):
        pictures.crop(figure, 2)
    with pytest.raises(ValueError, match="no SVG"):
        pictures.size(b"<svg width='3'>")


def test_a_colour_bar_stays_with_its_panel():
    figure = Figure(figsize=(6, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    right.plot([0, 1])
    figure.colorbar(left.imshow([[0, 1]]))
    cut = {i: pictures.crop(figure, i)["svg"] for i in range(3)}
    assert pictures.size(cut[0])[0] > pictures.size(cut[2])[0] + 60  # the bar alone, as if it were a panel
    assert cut[0].count(b"<image") == 2  # the picture and the bar's colours
    assert cut[1].count(b"<image") == 0


def claim(predicted, measured, interval):
    return {"predicted": predicted, "measured": measured, "interval": interval}


def test_the_strip_shows_the_verdict():
    inside = words.strip(claim([0, 4], 1, [0.5, 2]))
    assert inside.band[0] < inside.bar[0] < inside.dot < inside.bar[1] < inside.band[1]
    outside = words.strip(claim([0, 1], 3, [2, 4]))
    assert outside.band[1] < outside.bar[0]
    open_side = words.strip(claim([3, None], 5, [4, 6]))
    assert open_side.band[1] == words.WIDTH
    assert words.strip(claim([None, None], None, [None, None])) == words.Strip((0.0, words.WIDTH), None, None)
    point = words.strip(claim([1, 1], 1, [1, 1]))
    assert point.dot == words.WIDTH / 2


def test_numbers_and_ranges_in_words():
    assert words.predicted(claim([None, -2], 0, [0, 0])) == "≤ −2"
    assert words.predicted(claim([None, None], 0, [0, 0])) == "any"
    assert words.interval(claim([0, 1], 0, [None, 2.0])) == "[–, 2.0000]"
    assert words.number(-0.0000123456, 5) == "−1.2346e−05"
    assert ranges([0, 1, 2, 5, 7, 8]) == "0–2, 5, 7, 8"
    assert ranges([True, False]) == "True, False"
    assert ranges([1 / 3, 1]) == "0.3333, 1"


def test_marks():
    assert str(words.html("`a<b` and *c* & d")) == "<code>a&lt;b</code> and <em>c</em> &amp; d"
    assert words.plain("a|b *c* <d>\ne") == r"a\|b \*c\* &lt;d> e"

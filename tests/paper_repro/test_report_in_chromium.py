"""The report in a real browser."""

from __future__ import annotations

import json

import pytest
from chromium import Chromium, missing
from report_pages import check_row

from paper_repro.__main__ import main

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(bool(missing()), reason=f"{missing()} not installed: make chromium, on Debian"),
]

IMAGES = "return [...document.images].map(i => [i.complete, i.naturalWidth, i.alt, i.getBoundingClientRect().width])"
DEAD = """return [...document.querySelectorAll('a[href^="#"]')].map(a => a.getAttribute('href'))
  .filter(h => document.getElementById(h.slice(1)) === null)"""
ROWS = """return [...document.querySelectorAll('table.claims')].map(t => [t.dataset.experiment,
  [...t.tBodies[0].rows].map(r => ({claim: r.cells[0].textContent,
    statement: r.querySelector('.statement').textContent, source: r.querySelector('.source').textContent,
    predicted: r.cells[2].textContent, measured: r.cells[3].textContent, verdict: r.cells[4].textContent}))])"""
WIDTHS = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
# boxes that stick out of the window, but for those inside something that scrolls
OUT = """return [...document.body.querySelectorAll('*')].filter(e => !e.closest('.scroll, svg')
  && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
CONTRAST = """
const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(x => x / 255)
  .map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b };
const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
  if (!/, 0\\)$/.test(c)) return c } return 'rgb(255, 255, 255)' };
return [...document.querySelectorAll('p, li, td, th, .verdict, .source, .basis, dt, dd, a, h1, h2, h3, h4, code')]
  .map(e => { const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
  return [(a + 0.05) / (b + 0.05), e.outerHTML.slice(0, 80)] }).filter(([ratio]) => ratio < 4.5)"""


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("profile")) as window:
        yield window


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The report on the real papers, of five seeds and few steps."""
    folder = tmp_path_factory.mktemp("real")
    places = ["--results", str(folder / "results"), "--out", str(folder)]
    assert main(["--set", "seed=0:5", "--set", "max_steps=300", "--jobs", "1", "--quiet", *places]) == 0
    return folder / "index.html", folder / "results"


@pytest.fixture(params=["toy", "real"])
def report(request):
    """Return the page, and the folder of results."""
    found = request.getfixturevalue(request.param)
    return found if request.param == "real" else (found.html, found.results)


def test_page_loads_whole_and_quietly(window, report):
    page, _ = report
    window.console(), window.requests(page)
    window.look(1200)
    window.open(page)
    assert window.console() == []
    asked = [address for address in window.requests(page) if not address.startswith("data:")]
    assert asked == [page.resolve().as_uri()]
    images = window.run(IMAGES)
    assert images
    for complete, natural, alt, width in images:
        assert complete
        assert natural > 0
        assert width > 200
        assert alt
    assert window.run("return document.querySelectorAll('a[href^=\"#\"]').length") > 0
    assert window.run(DEAD) == []


def test_rows_equal_claims_json(window, report):
    page, results = report
    window.open(page)
    tables = window.run(ROWS)
    assert tables
    for experiment, rows in tables:
        claims = json.loads((results / experiment / "claims.json").read_text())
        assert len(rows) == len(claims) > 0
        for row, claim in zip(rows, claims, strict=True):
            check_row(row | {"statement": " ".join(row["statement"].split())}, claim)


@pytest.mark.parametrize(
    ("width", "media"),
    [(320, ""), (390, ""), (768, ""), (1200, ""), (695, "print"), (1000, "print")],  # 695: A4 within its margins
)
def test_nothing_sticks_out(window, report, width, media):
    window.look(width, media=media)
    window.open(report[0])
    inside, outside = window.run(WIDTHS)
    assert inside <= outside
    assert window.run(OUT) == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1200])
def test_texts_can_be_read(window, report, width, dark):
    window.look(width, dark)
    window.open(report[0])
    grounds = window.run("return getComputedStyle(document.body).backgroundColor")
    assert (grounds == "rgb(255, 255, 255)") != dark
    assert window.run(CONTRAST) == []  # WCAG AA


def test_a_broken_page_is_seen(window, toy, tmp_path):
    text = toy.html.read_text()
    text = text.replace('id="toys-coverage"', 'id="elsewhere"').replace("base64,", "base64,AAAA", 1)
    text = text.replace("</body>", '<script>missing()</script><img src="https://127.0.0.1:9/a.png" alt="a"></body>')
    text = text.replace("<h1>", '<h1 style="width: 2000px; color: #eee">')
    page = tmp_path / "broken.html"
    page.write_text(text)
    window.console(), window.requests(page)
    window.look(390)
    window.open(page)
    assert any("missing is not defined" in line for line in window.console())
    assert "https://127.0.0.1:9/a.png" in window.requests(page)
    assert [natural for _, natural, _, _ in window.run(IMAGES)].count(0) == 2
    assert set(window.run(DEAD)) == {"#toys-coverage"}
    assert window.run(OUT)
    assert any("<h1" in start for _, start in window.run(CONTRAST))

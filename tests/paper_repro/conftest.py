"""A toy paper with one claim of each verdict, a cell that fails, and texts that need escaping."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from paper_repro import report
from paper_repro.paper import NO_PICTURE, Covered, Expected, Panel, Paper, Study
from paper_repro.results import Run

TOY = """
import numpy as np
from matplotlib.figure import Figure
from lrtheory.sweep import Claim, Experiment, grid

def run(cells, device):
    for cell in cells:
        if cell["seed"] == 4:
            raise RuntimeError("no <seed> four & no | five")
        yield cell, {"t": np.arange(1, 5), "y": cell["k"] / np.arange(1.0, 5.0) + cell["seed"]}

def figure(frame):
    figure = Figure(figsize=(6, 3), layout="constrained")
    for ax, letter in zip(figure.subplots(1, 2), "ab"):
        ax.plot(frame["t"], frame["y"], ".")
        ax.set_title(letter)
    return figure

def claims(frame):
    mean = float(frame["y"].mean())
    return [
        Claim("A.one", "mean of y, *times* `one`", "toy (a_b)", (mean - 1, mean + 1), mean, (mean - 0.25, mean + 0.5)),
        Claim("A.low", "y is <b>small</b> & a|b", "toy", (None, -1e-3), mean, (mean, mean)),
        Claim("B/odd name", "nothing [to] measure, \\\\ or so", "identity: toy", (0.0, None), np.nan, (np.nan, np.nan)),
    ]

experiment = Experiment(
    name="toy", title="A <toy>", run=run, figure=figure, claims=claims,
    presets={"small": grid(k=[1, 2], seed=range(5)), "paper": grid(k=3, seed=range(2))},
)
"""


def toy_paper(path: Path) -> Paper:
    shown = Expected("stated", "y < 1 & *falls*")
    return Paper(
        name="toys",
        title="On toys & <others>",
        authors="A. Author",
        venue="Nowhere",
        link="https://example.org/toys",
        summary=("It is `about` toys.",),
        sources=("All of it.",),
        studies=(
            Study(
                str(path),
                (
                    Panel(0, "(a) y", 'dots of "y" against t', (shown,), ("A.*",), "A note."),
                    Panel(1, "(b) y again", "the same dots", (shown,), ("none",)),
                    Panel(NO_PICTURE, "words", "", (shown,), ("B*",)),
                ),
            ),
        ),
        coverage=(
            Covered("C1", "holds", "reproduced", "it does", ("A.one",)),
            Covered("C2", "fails", "reproduced", "it does not", ("A.*",)),
            Covered("C3", "open", "reproduced", "nobody knows", ("B*",)),
            Covered("C4", "no claim", "reproduced", "none was made", ("C*",)),
            Covered("C5", "ours", "reconstructed", "left | open"),
            Covered("C6", "nothing", "not attempted", "no time"),
        ),
    )


@dataclass
class Written:
    """A report on disk, and where its results are."""

    paper: Paper
    view: report.PaperView
    html: Path
    markdown: Path
    results: Path

    def claims(self, experiment: str) -> list[dict]:
        return json.loads((self.results / experiment / "claims.json").read_text())


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("toys")
    (folder / "toy.py").write_text(TOY)
    paper = toy_paper(folder / "toy.py")
    run = Run(results=folder / "results", jobs=1)
    view = report.view(paper, run)
    html, markdown = report.write([view], run, folder / "out")
    return Written(paper, view, html, markdown, run.results)

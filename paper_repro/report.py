"""The report: one self-contained HTML page, and the same in Markdown with its pictures beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from lrtheory.sweep.store import write_atomically

from . import pictures, words
from .paper import BASES, STATUSES, Covered, Panel, Paper, Study
from .results import Results, Run, gather, ranges

HERE = Path(__file__).parent


@dataclass
class PanelView:
    """A panel with its picture and the claims that bear on it."""

    panel: Panel
    claims: list[dict[str, Any]]
    image: dict[str, bytes] = field(default_factory=dict)
    file: str = ""

    @property
    def alt(self) -> str:
        """The picture in words, and what came of the claims that bear on it."""
        verdicts = ", ".join(f"{claim['id']} {claim['verdict']}" for claim in self.claims)
        return self.panel.alt + (f" Claims: {verdicts}." if verdicts else "")

    @property
    def uri(self) -> str:
        return pictures.data_uri(self.image["svg"])

    @property
    def size(self) -> tuple[int, int]:
        return pictures.size(self.image["svg"])


@dataclass
class StudyView:
    """An experiment as the page shows it."""

    results: Results
    panels: list[PanelView]

    @property
    def name(self) -> str:
        return self.results.experiment.name

    @property
    def counts(self) -> dict[str, int]:
        """How many claims have which verdict, in the order of the symbols."""
        found = Counter(claim["verdict"] for claim in self.results.claims)
        return {verdict: found[verdict] for verdict in words.SYMBOLS}

    @property
    def warnings(self) -> list[str]:
        """What run.json warns of, its failed cells, and what this page adds."""
        record = self.results.record
        found = list(record["warnings"])
        for failure in record["failed"][:5]:
            cell = ", ".join(f"{name} = {value}" for name, value in failure["cell"].items())
            found.append(f"failed: {cell}: {failure['error']}")
        if len(record["failed"]) > 5:
            found.append(f"and {len(record['failed']) - 5} more failed cells, which run.json names")
        if record["set"]:
            found.append("not the preset as it comes: " + " ".join(f"--set {setting}" for setting in record["set"]))
        if len(self.results.origins) > 1:
            found.append(f"the cells were computed under {len(self.results.origins)} circumstances, listed below")
        if any((origin["git"] or {}).get("dirty") for origin in self.results.origins):
            found.append("some cells were computed from a clone with uncommitted changes")
        return found

    @property
    def seeds(self) -> dict[str, str]:
        return {name: ranges(values) for name, values in self.results.record["seeds"].items()}

    @property
    def grids(self) -> list[str]:
        """The sub-grids in words."""
        return ["; ".join(f"{axis} = {ranges(values)}" for axis, values in part.items()) for part in self.results.parts]


@dataclass
class PaperView:
    """A paper as the page shows it."""

    paper: Paper
    studies: list[StudyView]

    @property
    def counts(self) -> dict[str, int]:
        return {verdict: sum(study.counts[verdict] for study in self.studies) for verdict in words.SYMBOLS}

    @property
    def coverage(self) -> list[tuple[Covered, str, str]]:
        """The rows of the coverage table, each with its status and how many of its claims hold."""
        verdicts = {claim["id"]: claim["verdict"] for study in self.studies for claim in study.results.claims}
        return [(row, *row.found(verdicts)) for row in self.paper.coverage]

    @property
    def covered(self) -> dict[str, int]:
        """How many rows have which status."""
        found = Counter(status for _, status, _ in self.coverage)
        return {status: found[status] for status in STATUSES}


def view(paper: Paper, run: Run) -> PaperView:
    """Run what is missing of a paper's experiments, and return what the page shows of it."""
    return PaperView(paper, [_study(study, gather(study.experiment, run)) for study in paper.studies])


def _study(study: Study, results: Results) -> StudyView:
    figure = results.figure()
    panels = []
    for i, panel in enumerate(study.panels):
        shown = PanelView(panel, [claim for claim in results.claims if panel.bears(claim["id"])])
        if figure is not None and panel.has_picture:
            shown.image = pictures.crop(figure, panel.index)
            shown.file = f"images/{words.slug(results.experiment.name)}-{i + 1}.png"
        panels.append(shown)
    return StudyView(results, panels)


def render(papers: Sequence[PaperView], run: Run) -> tuple[str, str]:
    """Return the page as HTML and as Markdown."""
    common = {"papers": papers, "run": run, "words": words, "statuses": STATUSES, "bases": BASES}
    pages = []
    for name, escaping in (("template.html", True), ("template.md", False)):
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE),
            autoescape=escaping,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        pages.append(environment.get_template(name).render(common))
    return pages[0], pages[1]


def write(papers: Sequence[PaperView], run: Run, out: Path) -> list[Path]:
    """Write index.html, REPORT.md and the pictures of the latter; return the paths of the two pages."""
    page, twin = render(papers, run)
    (out / "images").mkdir(parents=True, exist_ok=True)
    for paper in papers:
        for study in paper.studies:
            for panel in study.panels:
                if panel.image:
                    write_atomically(out / panel.file, panel.image["png"])
    paths = [out / "index.html", out / "REPORT.md"]
    for path, text in zip(paths, (page, twin), strict=True):
        write_atomically(path, text.encode())
    return paths

"""What a test sees of a report: the page by Python's own parser, the Markdown twin line by line."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

COLUMNS = ("claim", "statement", "source", "predicted", "measured", "verdict")
VOID = {"meta", "link", "img", "br", "line", "rect", "circle", "wbr"}
LOADING = {"src", "srcset", "data", "poster", "action", "formaction", "background"}  # and href, but for <a>


class Page(HTMLParser):
    """A page: images, anchors and their targets, what it loads, and the rows of its claims tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[dict[str, str]] = []
        self.drawings: list[dict[str, str]] = []
        self.ids: list[str] = []
        self.anchors: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.scripts = 0
        self.claims: dict[str, list[dict[str, str]]] = {}
        self.text = ""
        self._open: list[str] = []
        self._rows: list[dict[str, str]] | None = None
        self._column = ""
        self.feed(text)
        self.close()
        self.left_open = list(self._open)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self._open.append(tag)
        found = {name: value or "" for name, value in attributes}
        words = found.get("class", "").split()
        if "id" in found:
            self.ids.append(found["id"])
        self.loads += [found[name] for name in LOADING & set(found)]
        self.loads += re.findall(r"url\(([^)]*)\)", found.get("style", ""))
        if tag == "img":
            self.images.append(found)
        elif tag == "svg":
            self.drawings.append(found)
        elif tag == "script":
            self.scripts += 1
        elif tag == "a":
            (self.anchors if found.get("href", "").startswith("#") else self.links).append(found.get("href", ""))
        elif "href" in found:
            self.loads.append(found["href"])
        if tag == "table":
            self._rows = self.claims.setdefault(found["data-experiment"], []) if "claims" in words else None
        if self._rows is not None:
            if tag == "tr":
                self._rows.append(dict.fromkeys(COLUMNS, ""))
            named = [word for word in words if word in COLUMNS]
            if tag == "th":
                self._column = "claim" if found.get("scope") == "row" else ""
            elif named or tag == "td":
                self._column = named[0] if named else ""

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag: str) -> None:
        opened = self._open.pop() if self._open else None
        assert opened == tag, f"</{tag}> closes something else"
        if tag == "table":
            self._rows = None
        if tag == "thead" and self._rows is not None:
            self._rows.clear()  # the head is no claim

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.loads += re.findall(r"url\(([^)]*)\)|@import\s+(\S+)", data)
            return
        self.text += data
        if self._rows and self._column and not (self._column == "measured" and not data.strip()):
            self._rows[-1][self._column] += data
        elif self._rows and self._open and self._open[-1] == "span" and not self._column:
            self._rows[-1]["verdict"] += data


def check_page(page: Page) -> None:
    """Hold a page against what every report promises."""
    assert not page.left_open
    assert page.images
    for image in page.images:
        assert image.get("alt", "").strip(), "an image without alt"
        assert image["src"].startswith("data:image/"), "an image that is not inlined"
        assert int(image["width"]) > 0
        assert int(image["height"]) > 0
    for drawing in page.drawings:
        assert drawing.get("role") == "img"
        assert drawing.get("aria-label", "").strip(), "a drawing without a label"
    repeated = [name for name, count in Counter(page.ids).items() if count > 1]
    assert not repeated, f"ids used twice: {repeated}"
    assert page.anchors
    for anchor in page.anchors:
        assert anchor[1:] in page.ids, f"{anchor} leads nowhere"
    assert all(link.startswith("https://") for link in page.links)
    assert all(str(load).startswith("data:") for load in page.loads), "the page loads something"
    assert not page.scripts


def numbers(text: str) -> list[float]:
    """Return the numbers in a text that writes minus as a page does."""
    return [float(word) for word in re.findall(r"-?\d+\.?\d*(?:e[-+]?\d+)?", text.replace("−", "-"))]


def check_row(row: dict[str, str], claim: dict) -> None:
    """Hold a row of a claims table against the claim of claims.json."""
    assert row["claim"].strip() == claim["id"]
    assert row["statement"].strip() == " ".join(claim["statement"].split())
    assert row["source"].strip() == claim["source"]
    assert row["verdict"].split()[-1] == claim["verdict"]
    ends = [end for end in claim["predicted"] if end is not None]
    assert close(numbers(row["predicted"]), ends, 1e-5)
    found = [number for number in (claim["measured"], *claim["interval"]) if number is not None]
    assert close(numbers(row["measured"]), found, 1e-4), (row["measured"], found)


def close(shown: list[float], true: list[float], relative: float) -> bool:
    return len(shown) == len(true) and all(
        abs(a - b) <= relative * max(abs(b), 1e-300) for a, b in zip(shown, true, strict=True)
    )


def markdown_claims(text: str) -> dict[str, list[dict[str, str]]]:
    """Return the rows of the claims tables of a Markdown report, by experiment."""
    found: dict[str, list[dict[str, str]]] = {}
    for section in re.split(r"(?m)^### ", text)[1:]:
        named = re.match(r"Claims of `([^`]+)`\n", section)
        if named:
            rows = [line for line in section.splitlines() if line.startswith("| ")][2:]
            found[named[1]] = [dict(zip(COLUMNS, cells(row), strict=True)) for row in rows]
    return found


def cells(row: str) -> list[str]:
    """Return the cells of a table row, without what Markdown needs to take them literally."""
    parts = re.split(r"(?<!\\)\|", row)[1:-1]
    return [re.sub(r"\\([\\`*_|\[\]])", r"\1", part.strip()).replace("&lt;", "<") for part in parts]

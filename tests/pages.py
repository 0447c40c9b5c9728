"""The project's documents, read as Markdown: blocks, tables, headings and links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Block:
    """A fenced block, with its page and heading."""

    page: str
    heading: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.heading}"


class Page:
    """One document, named by its path below the project's folder."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = ROOT / name
        self.text = self.path.read_text(encoding="utf-8")

    def __str__(self) -> str:
        return self.name

    @property
    def prose(self) -> str:
        """The text without its blocks, where `#` begins a comment and not a heading."""
        return re.sub(r"^```.*?^```$", "", self.text, flags=re.M | re.S)

    def blocks(self, *languages: str) -> list[Block]:
        """Return the fenced blocks of some languages, in order."""
        found, heading = [], ""
        pattern = re.compile(
            r"^#+ (?P<heading>[^\n]*)$|^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S
        )
        for match in pattern.finditer(self.text):
            heading = match["heading"] or heading
            if match["language"] in languages:
                found.append(Block(self.name, heading, match["language"], match["text"]))
        return found

    def headings(self, level: str = "#+") -> list[str]:
        """Return the headings, of one level (`##`) or of all."""
        return re.findall(rf"^{level} (.*)$", self.prose, re.M)

    def anchors(self) -> list[str]:
        """Return the anchor of each heading."""
        return [anchor(heading) for heading in self.headings()]

    def links(self) -> list[str]:
        """Return the targets of links and pictures."""
        return re.findall(r"\]\(([^)]+)\)", self.prose)

    def tables(self, heading: str) -> list[list[list[str]]]:
        """Return the tables under a heading, as rows of cells, without their heads."""
        section = re.search(rf"^#+ {re.escape(heading)}$(.*?)(?=^#|\Z)", self.prose, re.M | re.S)
        assert section is not None, heading
        found = re.findall(r"(?:^\|.*\n)+", section[1], re.M)
        return [[_cells(line) for line in table.splitlines()[2:]] for table in found]


def anchor(heading: str) -> str:
    """Return the anchor of a heading on a web page."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _cells(line: str) -> list[str]:
    cells = re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|"))
    return [cell.strip().replace("\\|", "|") for cell in cells]


def codes(cell: str) -> list[str]:
    """Return the texts between backticks."""
    return re.findall(r"`([^`]*)`", cell)


README = Page("README.md")
RUSSIAN = Page("README.ru.md")
REFERENCE = Page("docs/reference.md")
LIBRARY = Page("docs/library.md")
CONTRIBUTING = Page("CONTRIBUTING.md")
CHANGELOG = Page("CHANGELOG.md")
FOR_USERS = (README, RUSSIAN, REFERENCE, LIBRARY)
ALL = (*FOR_USERS, CONTRIBUTING, CHANGELOG)


def blocks(*languages: str) -> list[Block]:
    """Return the blocks of some languages in all pages for users."""
    return [
        block for page in FOR_USERS for language in languages for block in page.blocks(language)
    ]

"""The commands of the operating pages, in the order in which they stand there."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("install", "deploy", "rollout", "drift", "alerts", "upgrade", "remove")
_FENCE = re.compile(r"^```(\S*)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Command:
    """A line of a fenced block."""

    page: str
    text: str
    on_cluster: bool

    @property
    def pipeline(self) -> list[list[str]]:
        """The words of each program of the line."""
        words, parts = shlex.split(self.text, comments=True), [[]]  # type: list[str], list[list[str]]
        for word in words:
            if word in ("|", "||", "&&"):
                parts.append([])
            elif word == ">":
                break
            else:
                parts[-1].append(word)
        return parts


def commands() -> list[Command]:
    """Return all commands of all pages."""
    return [
        Command(page, line, where == "cluster")
        for page in PAGES
        for language, where, body in _FENCE.findall((DOCS / f"{page}.md").read_text())
        if language == "sh"
        for line in body.splitlines()
        if line.strip()
    ]


def blocks(language: str) -> list[tuple[str, str]]:
    """Return page and content of the blocks of a language."""
    found = [(page, _FENCE.findall((DOCS / f"{page}.md").read_text())) for page in PAGES]
    return [(page, body) for page, fences in found for kind, _, body in fences if kind == language]

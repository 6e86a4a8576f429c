"""The chapters and their numbers: what book/_toc.yml says, and what the text says about them.

Numbers restart in each part, so text never types one: it links, as in `[chapter 5](05_batchnorm_fix.ipynb)`,
from another part or from a page outside `[part one, chapter 5](wavenet/05_batchnorm_fix.ipynb)`. That is
plain Markdown, which JupyterLab opens too; a role of MyST would show raw there. The displayed number is
not the writer's care: `make normalise` puts today's in. Several: `[chapters 1](...) to [6](...)`.
"""

import re
from pathlib import Path
from posixpath import normpath, relpath
from typing import NamedTuple

import yaml

BOOK = Path(__file__).resolve().parent.parent / "book"


class Chapter(NamedTuple):
    """A numbered chapter. `part` is how its part is called in text: "part one"."""

    page: str  # below book/, without its ending
    part: str
    number: int


def chapters(toc: Path = BOOK / "_toc.yml") -> dict[str, Chapter]:
    """{page: chapter} of all numbered parts, in the book's order."""
    parts = yaml.safe_load(toc.read_text(encoding="utf-8")).get("parts", [])
    return {
        entry["file"]: Chapter(entry["file"], part["caption"].partition(" · ")[0].lower(), number)
        for part in parts
        if part.get("numbered")
        for number, entry in enumerate(part["chapters"], start=1)
    }


# A fence of code, or HTML; the fence of a directive holds prose. Code within a line.
CODE = r"^(?P<fence>`{3,})(?:\w*|\{(?:raw|code[\w-]*)\}[^\n]*)\n.*?^(?P=fence)\s*$|`[^`\n]+`"
TARGET = r"(?P<target>[^)#\s]+)\.ipynb(?P<anchor>#[^)\s]*)?"
LINK = rf"\[(?P<part>[Pp]art \w+, )?(?P<word>[Cc]hapters? )?\d+\]\({TARGET}\)"
CODE_OR_LINK = re.compile(f"{CODE}|{LINK}", re.MULTILINE | re.DOTALL)
NUMBER = r"(?:\d+|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)"
TYPED = re.compile(rf"\bchapters?\s+{NUMBER}\b", re.IGNORECASE)


def linked(text: str, page: str, known: dict[str, Chapter] | None = None) -> str:
    """The Markdown of a page with today's numbers in its links to chapters."""
    known = chapters() if known is None else known
    folder = page.rpartition("/")[0]
    here = next((chapter.part for chapter in known.values() if chapter.page.rpartition("/")[0] == folder), "")

    def filled(match: re.Match) -> str:
        if not match["target"]:
            return match[0]
        chapter = known.get(normpath(f"{folder}/{match['target']}".lstrip("/")))
        if not chapter:
            return match[0]
        word = (match["word"] or "").lower()
        if word and chapter.part != here:
            word = f"{chapter.part}, {word}"
        if (match["part"] or match["word"] or "")[:1].isupper():
            word = word.capitalize()
        return f"[{word}{chapter.number}]({match['target']}.ipynb{match['anchor'] or ''})"

    return CODE_OR_LINK.sub(filled, text)


def link(target: str, page: str, capital: bool = False) -> str:
    """A link to a chapter, as it stands in the text of a page."""
    path = relpath(target, page.rpartition("/")[0] or ".")
    return linked(f"[{'Chapter' if capital else 'chapter'} 0]({path}.ipynb)", page)


def typed(text: str) -> list[str]:
    """Chapter numbers in a text that are no links, each with what stands before it. Code is not read."""
    prose = CODE_OR_LINK.sub("", text)
    return [prose[max(found.start() - 30, 0) : found.end()] for found in TYPED.finditer(prose)]

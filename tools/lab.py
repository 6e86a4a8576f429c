"""Open JupyterLab on the book, so that its notebooks read there as they do on the page.

    python tools/lab.py [options of JupyterLab]

JupyterLab draws MyST with the extension jupyterlab_myst. The extension of tools/lab adds what that one
cannot know: the words for citations, numbered figures and bare links, the numbers of exercises, what a term
of the glossary means, the captions of figures, margin notes that take room, and that a notebook is not
changed by being opened. It is put together under build/lab.

JupyterLab shows pictures (SVG) and marks (HTML) of a notebook only where it trusts it. These are the
book's own notebooks, whose code `make` runs anyway, so they are signed as trusted, as `jupyter trust` does.
"""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import chapters
import nbformat
import notebooks
from nbformat.sign import NotebookNotary

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
SOURCE = Path(__file__).resolve().parent / "lab"
BUILT = ROOT / "build" / "lab"
FIGURE = re.compile(r"^[`:]{3,}\{figure\}[^\n]*\n(?P<options>(?::[\w-]+:[^\n]*\n)*)", re.MULTILINE)
NAME = re.compile(r"^:name: *(\S+)", re.MULTILINE)
EXERCISE = re.compile(r"^[`:]{3,}\{exercise\}[^\n]*\n:label: *(\S+)", re.MULTILINE)
TERM = re.compile(r"\{term\}`(?P<shown>[^`<]+?)(?:\s*<(?P<entry>[^`>]+)>)?`")
GLOSSARY = re.compile(r"(?P<terms>(?:^\S.*\n)+)(?P<meaning>(?:^  .*\n)+)", re.MULTILINE)


def figure_names(nb) -> list[str]:
    """The names of a notebook's numbered figures, in order; empty for one without a name."""
    names = []
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            found = (NAME.search(figure["options"]) for figure in FIGURE.finditer(cell.source))
            names += [name[1] if name else "" for name in found]
        elif figure := cell.metadata.get("mystnb", {}).get("figure"):
            names.append(figure.get("name", "") if figure.get("caption") else "")
    return names


def numbered() -> Iterator[tuple[nbformat.NotebookNode, str, str]]:
    """All notebooks, with what stands before the number of a figure or an exercise, and where they are."""
    known = chapters.chapters()
    for path in notebooks.find_notebooks():
        nb, chapter = notebooks.read(path), known.get(path.relative_to(BOOK).with_suffix("").as_posix())
        if chapter:
            yield nb, f"{chapter.number}.", chapter.part
        else:
            yield nb, "", f"“{nb.cells[0].source.splitlines()[0].removeprefix('# ')}”"


def figure_words() -> dict[str, dict[str, str]]:
    """{name: its number and what it shows} of the figures in all notebooks, as the page numbers them."""
    words = {}
    for nb, before, where in numbered():
        for number, name in enumerate(figure_names(nb), start=1):
            text = f"Fig. {before}{number}"
            words[name] = {"text": text, "title": f"{text} of {where}"}
    return words


def exercise_words() -> dict[str, dict[str, str]]:
    """{label: its number} of the exercises in all notebooks, as the page numbers them."""
    words = {}
    for nb, before, where in numbered():
        labels = EXERCISE.findall("\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown"))
        for number, label in enumerate(labels, start=1):
            text = f"Exercise {before}{number}"
            words[label] = {"text": text, "title": f"{text} of {where}"}
    return words


def glossary(path: Path = BOOK / "glossary.md") -> dict[str, str]:
    """{term in lower case: what it means}, as plain text."""
    found = GLOSSARY.finditer(path.read_text(encoding="utf-8").partition("{glossary}\n")[2])
    meanings = {entry["terms"]: " ".join(entry["meaning"].split()).replace("`", "") for entry in found}
    return {term.lower(): meaning for terms, meaning in meanings.items() for term in terms.splitlines()}


def term_words() -> dict[str, dict[str, str]]:
    """{"term:" and how a text shows it: what it means}. ValueError where one text is shown for two terms."""
    known, words = glossary(), {}
    for path in notebooks.find_notebooks():
        for cell in notebooks.read(path).cells:
            for term in TERM.finditer(cell.source) if cell.cell_type == "markdown" else ():
                shown, entry = (" ".join((term[key] or "").split()) for key in ("shown", "entry"))
                word = {"text": shown, "title": known.get((entry or shown).lower(), "")}
                if words.setdefault(f"term:{shown}", word) != word:
                    raise ValueError(
                        f"{path.name}: expected one term behind {shown!r} in all notebooks, got two"
                    )
    return words


def people(persons) -> str:
    """Authors as a citation names them."""
    names = [" ".join(map(str, person.rich_prelast_names + person.rich_last_names)) for person in persons]
    return f"{names[0]} et al." if len(names) > 2 else " and ".join(names)


def citation_words(path: Path = BOOK / "references.bib") -> dict[str, dict[str, str]]:
    """{key: authors and year, by themselves and in a sentence, and the title} of all that the book cites."""
    from pybtex.database import parse_file
    from pybtex.richtext import Text

    words = {}
    for key, entry in parse_file(str(path)).entries.items():
        persons = entry.persons.get("author") or entry.persons.get("editor") or []
        title = str(Text.from_latex(entry.fields.get("title", key)))
        who, year = people(persons) or title, entry.fields.get("year", "no year")
        words[key] = {"text": f"({who}, {year})", "inSentence": f"{who} ({year})", "title": title}
    return words


def page_words() -> dict[str, dict[str, str]]:
    """{file: the title of its page} of everything in the book, for links without a text of their own."""
    texts = {path: path.read_text(encoding="utf-8") for path in notebooks.find_pages()}
    texts |= {path: notebooks.read(path).cells[0].source for path in notebooks.find_notebooks()}
    titles = {path: re.search(r"^# (.+)$", text, re.MULTILINE) for path, text in texts.items()}
    return {path.name: {"text": title[1], "title": title[1]} for path, title in titles.items() if title}


def build(out: Path = BUILT) -> Path:
    """Put the extension together; return the folder that JupyterLab is to look into."""
    static = out / "wavenet-book" / "static"
    static.mkdir(parents=True, exist_ok=True)
    shutil.copy(SOURCE / "package.json", static.parent)
    for name in ("book.js", "book.css"):
        shutil.copy(SOURCE / name, static)
    words = figure_words() | exercise_words() | term_words() | citation_words() | page_words()
    (static / "words.json").write_text(json.dumps(words, ensure_ascii=False), encoding="utf-8")
    return out


def trust() -> None:
    """Sign the book's notebooks, as `jupyter trust` does."""
    notary = NotebookNotary()
    for path in notebooks.find_notebooks():
        notary.sign(nbformat.read(path, as_version=4))


def main(options: list[str]) -> None:
    """Run JupyterLab until it is ended."""
    try:
        from jupyterlab.labapp import main as jupyterlab
    except ImportError:
        sys.exit("error: JupyterLab is not installed here: make setup")
    trust()
    jupyterlab([f"--LabApp.extra_labextensions_path={build()}", *options, str(BOOK)])


if __name__ == "__main__":
    main(sys.argv[1:])

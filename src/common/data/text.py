"""Texts for a model of characters: Shakespeare's plays, Python's own source, or any file."""

import re
import sysconfig
import tokenize
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from . import corpora
from .names import Splits

NOT_SOURCE = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
VAL_PLAYS = ("Julius Caesar", "Twelfth Night")
TEST_PLAYS = ("A Winter's Tale", "Macbeth")
UNTITLED = {"measure-for-measure": "Measure for Measure"}  # a file of the corpus that names no title


def read_text(path: str | Path | zipfile.Path, expected: str = "a text file in UTF-8") -> str:
    """The text of a file, or of one in a zip, its lines ended by a newline alone.

    ValueError names the file that is missing, empty, a folder or not UTF-8, and what was expected.
    """
    path = path if isinstance(path, zipfile.Path) else Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}; expected {expected}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is not UTF-8; expected {expected}") from None
    if "\0" in text:  # UTF-16 of plain letters passes for UTF-8
        raise ValueError(f"{path}: got zero bytes, as UTF-16 has them; expected {expected}")
    if not text.strip():
        raise ValueError(f"{path}: the file is empty; expected {expected}")
    return text


def plays() -> dict[str, str]:
    """Shakespeare's plays, title to text, by title; fetched at first use (`common.data.corpora`).

    The marks of Markdown are taken away: a speech is the speaker's name with a colon, then its lines; stage
    directions and headings are lines like others.
    """
    found = {}
    for name, data in corpora.read("plays").items():
        title, text = UNTITLED.get(PurePosixPath(name).stem), plain(data.decode("utf-8"))
        if title is None:
            title, _, text = text.partition("\n")
        found[title] = text.lstrip()
    return dict(sorted(found.items()))


def plain(text: str) -> str:
    """Markdown as the plays use it, without its marks.

    >>> plain("## ACT I\\n\\n_Thunder. Enter ROSS_\\n\\n**ROSS**  \\nWhat, \\\\--not he?  \\n")
    'ACT I\\n\\nThunder. Enter ROSS\\n\\nROSS:\\nWhat, --not he?\\n'
    """
    text = re.sub(r"^\*\*(.+)\*\* *$", r"\1:", text.replace("\r\n", "\n"), flags=re.MULTILINE)
    text = re.sub(r"^#+ +|[*_\\]| +$", "", text, flags=re.MULTILINE)
    return text.strip() + "\n"


def python_source() -> dict[str, str]:
    """The standard library of the Python that runs this, file to text, by name; its tests are left out.

    Another version of Python has another text. ValueError where it is kept without its source.
    """
    root = Path(sysconfig.get_path("stdlib"))
    found = {}
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        if not NOT_SOURCE & set(inside.parts):
            with tokenize.open(path) as file:  # in the encoding that the file names
                found[inside.as_posix()] = file.read()
    if not found:
        raise ValueError(f"expected Python's own source in {root}, got no file *.py")
    return found


def hold_out(texts: Mapping[str, str], val: Collection[str] = VAL_PLAYS,
             test: Collection[str] = TEST_PLAYS) -> Splits[str]:  # fmt: skip
    """Whole texts for validation and for testing, by title; the others are for training.

    So no sentence of a play that a model is tested on was in its training. ValueError for a title that is not
    there or is named twice, and where a part would be empty.

    >>> hold_out({"a": "one", "b": "two", "c": "three", "d": "four"}, val=["c"], test=["a"])
    Splits(train=['two', 'four'], val=['three'], test=['one'])
    """
    held = [*val, *test]
    for title in held:
        if title not in texts:
            raise ValueError(f"expected titles of {', '.join(texts)}; got {title!r}")
        if held.count(title) > 1:
            raise ValueError(f"expected every title held out once, got {title!r} twice")
    train = [title for title in texts if title not in held]
    parts = Splits(*([texts[title] for title in part] for part in (train, val, test)))
    if not all(parts):
        raise ValueError(f"expected at least one text in each part, got {[len(part) for part in parts]}")
    return parts

"""Pack the built book into one ZIP, for readers who have no Python. Run by ``make zip``.

    python tools/zip_book.py [FOLDER OF THE HTML [FOLDER FOR THE ZIP]]

One folder in it, named after the book and its version, with index.html in it. The same pages give the
same ZIP: sorted, with one date for all. What only builders and developers use stays out, and so do the
notebooks, which are half the size and need Python: the pages in the ZIP have no button to load them.
"""

import re
import sys
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "book" / "_build" / "html"
DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a ZIP can hold
LEFT_OUT = (
    ".buildinfo",  # Sphinx's own
    "objects.inv",  # for other books that link here
    "404.html",  # a server's
    "*.map",  # for those who debug the theme
    "_static/locales/*",  # the theme in other languages
    "_static/*webpack-macros.html",  # the theme's templates
    "_static/images/logo_*",  # of services that a page can be run on
    "_static/sphinx-thebe.*",  # connects a page to a remote kernel; no page does
    "_sources/*",  # the notebooks, behind the button of SOURCE_BUTTON
    "*.doctree",
)
SOURCE_BUTTON = re.compile(rb'<li>\s*<a class="[^"]*\bbtn-download-source-button\b.*?</li>\s*', re.DOTALL)
LETTER = """\
{title}, version {version}

Open the file index.html in this folder with your browser.

Everything is here: no installation and no network are needed. Keep the
folders beside index.html where they are. Quizzes, widgets and the search
work in your browser. To run the notebooks yourself you need Python; see
the README of the book's repository.

Code is under the MIT licence (LICENSE.txt), text under CC BY 4.0 (LICENSE-text.txt).
"""


def read_project() -> dict:
    """The table [project] of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def top_of(project: dict) -> str:
    """The one folder that the ZIP holds; the ZIP itself has its name and .zip."""
    return f"{project['name']}-{project['version']}-html"


def packed_files(html: Path) -> dict[str, Path]:
    """The files that a reader needs, by their place under the top folder."""
    files = {path.relative_to(html).as_posix(): path for path in html.rglob("*") if path.is_file()}
    return {name: path for name, path in files.items() if not any(fnmatch(name, left) for left in LEFT_OUT)}


def pack(html: Path, folder: Path) -> Path:
    """Write the ZIP of a built book into a folder, and return its path."""
    if not (html / "index.html").is_file():
        raise ValueError(f"expected a built book with an index.html, got {html}; run make book")
    project = read_project()
    top = top_of(project)
    letter = LETTER.format(title="WaveNet, one layer at a time", version=project["version"])
    content = {
        "READ-ME-FIRST.txt": letter.replace("\n", "\r\n").encode(),  # Windows' old editors want both
        "LICENSE.txt": (ROOT / "LICENSE").read_bytes(),
        "LICENSE-text.txt": (ROOT / "LICENSE-text").read_bytes(),
    }
    for name, path in packed_files(html).items():
        data = path.read_bytes()
        content[name] = SOURCE_BUTTON.sub(b"", data) if name.endswith(".html") else data
    folder.mkdir(parents=True, exist_ok=True)
    target, unfinished = folder / f"{top}.zip", folder / f"{top}.zip.part"
    with zipfile.ZipFile(unfinished, "w") as out:
        for name, data in sorted(content.items()):
            entry = zipfile.ZipInfo(f"{top}/{name}", DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # the same from every system
            out.writestr(entry, data, compresslevel=9)
    unfinished.replace(target)
    return target


def main() -> int:
    if len(sys.argv) > 3:
        print("error: expected at most two folders, got", *sys.argv[1:], file=sys.stderr)
        return 2
    html = Path(sys.argv[1]) if len(sys.argv) > 1 else HTML
    try:
        target = pack(html, Path(sys.argv[2]) if len(sys.argv) > 2 else html.parent)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with zipfile.ZipFile(target) as made:
        entries = made.infolist()
    size, unpacked = target.stat().st_size / 1e6, sum(entry.file_size for entry in entries) / 1e6
    print(f"{target}: {size:.1f} MB, {len(entries)} files, {unpacked:.1f} MB unpacked")
    return 0


if __name__ == "__main__":
    sys.exit(main())

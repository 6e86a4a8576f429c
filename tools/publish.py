"""Lay out a release for any web server: pages, PDF and ZIP. Run by ``make publish DIR=path``.

    python tools/publish.py DIR          print the PDF, pack the ZIP, lay all out in DIR
    python tools/publish.py --look DIR   only say whether DIR may be written

The start page of DIR is the book's own, which gets links to wavenet-book-VERSION.pdf, to
wavenet-book-VERSION-html.zip and to SHA256SUMS.txt, with the sums of all files.

A folder is filled beside DIR and then takes its place, so that no server shows half of it; between the two
renames there is no DIR for a moment. What stood there is replaced only where it is empty, or holds nothing
but what an earlier SHA256SUMS.txt of this book names. A command that is killed leaves DIR as it was, and a
folder .DIR-... beside it; if it died in that moment, what stood in DIR is there under the name "old".
"""

import argparse
import hashlib
import re
import shutil
import sys
import tempfile
from pathlib import Path

import pdf
import zip_book

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "book" / "_build"
SUMS = "SHA256SUMS.txt"
LINE = re.compile(r'(<p class="book-version">Version )([^<]+)\.(</p>)')  # book/_ext/book_version.py
DOWNLOADS = (
    r'\1\2: the whole book as <a href="{pdf}">PDF</a>, its pages as <a href="{zip}">ZIP</a>,'
    rf' with <a href="{SUMS}">SHA-256 sums</a>.\3'
)


def names(project: dict) -> dict[str, str]:
    """The names of the files to download, by their kind; `project` is that of pyproject.toml."""
    return {
        "pdf": f"{project['name']}-{project['version']}.pdf",
        "zip": f"{zip_book.top_of(project)}.zip",
    }


def summed(target: Path) -> set[str]:
    """The files that a folder's SHA256SUMS.txt names, where it is one of this book."""
    if not (target / SUMS).is_file():
        return set()
    named = {line[66:] for line in (target / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()}
    of_the_book = any(re.fullmatch(r"wavenet-book-[^/]+-html\.zip", name) for name in named)
    return named if of_the_book and "index.html" in named else set()


def check(target: Path) -> None:
    """ValueError for a folder that holds what `lay_out` did not write, and for a file."""
    if BUILT.resolve() in (target.resolve(), *target.resolve().parents):
        raise ValueError(f"expected a folder outside of {BUILT}, which make book removes, got {target}")
    if not target.exists():
        return
    if not target.is_dir():
        raise ValueError(f"expected a folder, got the file {target}")
    ours = summed(target)
    if not ours and any(target.iterdir()):
        raise ValueError(f"expected an empty folder, or one that make publish wrote, got {target}")
    if ours:
        held = (path for path in target.rglob("*") if path.is_symlink() or not path.is_dir())
        foreign = {path.relative_to(target).as_posix() for path in held} - ours - {SUMS}
        if foreign:
            raise ValueError(f"make publish did not write {sorted(foreign)[0]} in {target}: move it away")


def write_sums(folder: Path, first: list[str]) -> int:
    """Write the sums of all files, as sha256sum reads them, `first` at the top. Returns their number."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    lines = []
    for name in sorted(files, key=lambda name: (name not in first, name)):
        with open(files[name], "rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
    (folder / SUMS).write_text("".join(lines), encoding="utf-8", newline="\n")
    return len(lines)


def lay_out(html: Path, printed: Path, packed: Path, project: dict, target: Path) -> int:
    """Pages, PDF and ZIP into `target`, whole or not at all. Returns the number of files.

    html: the folder of the built pages. project: that of pyproject.toml. ValueError where `target` may not
    be written, and where the pages are of another version.
    """
    target, html = target.resolve(), html.resolve()
    if target == html or html in target.parents:
        raise ValueError(f"expected a folder outside of the built pages, got {target}")
    check(target)
    called = names(project)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
        new, old = Path(folder) / "new", Path(folder) / "old"
        shutil.copytree(html, new, ignore=shutil.ignore_patterns(".*"))
        shutil.copy(printed, new / called["pdf"])
        shutil.copy(packed, new / called["zip"])
        start = (new / "index.html").read_text(encoding="utf-8")
        if [found[2] for found in LINE.finditer(start)] != [project["version"]]:
            raise ValueError(f"{html}: expected pages of version {project['version']}; run make book")
        linked = LINE.sub(DOWNLOADS.format(**called), start)
        (new / "index.html").write_text(linked, encoding="utf-8", newline="\n")
        count = write_sums(new, list(called.values()))
        try:
            if target.exists():
                target.rename(old)
            new.rename(target)
        except BaseException:
            if old.exists() and not target.exists():
                old.rename(target)
            raise
    return count


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition(".")[0])
    parser.add_argument("target", type=Path, metavar="DIR")
    parser.add_argument("--look", action="store_true", help="only say whether DIR may be written")
    given = parser.parse_args(arguments)
    project = zip_book.read_project()
    try:
        if given.target == Path():
            raise ValueError("expected a folder: make publish DIR=path")
        check(given.target)
        if given.look:
            return 0
        pdf.main()
        packed = zip_book.pack(BUILT / "html", BUILT)
        count = lay_out(BUILT / "html", BUILT / "wavenet-book.pdf", packed, project, given.target)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{given.target}: {count} files of version {project['version']}, and {SUMS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

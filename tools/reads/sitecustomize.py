"""Notes which files of a folder a process opens, and which folders in it are listed.

Python imports a module of this name when it starts: `tools/reads/__init__.py` puts it on the path of
notebooks' kernels, for which BOOK_READS names the folder, the file of notes and the item that is running.
What opens files by other means than Python's (a library in C or Rust, another program) is not seen.
"""

import json
import os
import sys
from collections.abc import Callable

LISTED = {"os.listdir", "os.scandir"}


def watch(root: str, notes: str, item: Callable[[], str | None]) -> None:
    """From now on append lines "item, tab, path" to the file `notes`; a folder's path ends with a slash."""
    handle = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    starts = {os.path.join(os.path.abspath(root), ""), os.path.join(os.path.realpath(root), "")}
    noted = set()

    def note(event, arguments):
        if event != "open" and event not in LISTED:
            return
        try:
            path = arguments[0]
            importing = sys._getframe(1).f_code.co_filename.startswith("<frozen importlib")
            if (
                isinstance(path, int) or importing
            ):  # an open file; a module, only the first time it is imported
                return
            full = os.path.abspath(os.fsdecode(path or "."))
            start = next((start for start in starts if (full + os.sep).startswith(start)), None)
            who = item()
            if start and who:
                inner = full[len(start) :].replace(os.sep, "/") + "/" * (event in LISTED)
                if (who, inner) not in noted:
                    noted.add((who, inner))
                    os.write(handle, f"{who}\t{inner}\n".encode())
        except Exception:  # whatever goes wrong here is not the business of the one who opens a file
            pass

    sys.addaudithook(note)


if "BOOK_READS" in os.environ:
    _root, _notes, _item = json.loads(os.environ["BOOK_READS"])
    watch(_root, _notes, lambda: _item)

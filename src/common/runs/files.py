"""Files that are whole or not there."""

import contextlib
import errno
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside `path`, then move into place in one step: the old file or the new one, never half.

    OSError names the file, where a disk is full too.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    for folder in path.parents:  # what there is of them
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(partial)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with contextlib.suppress(OSError):  # where a folder is none, the error above says so
            partial.unlink(missing_ok=True)


def replace_files(contents: Mapping[Path, bytes]) -> None:
    """Several files at once. Where one cannot be written, those before it are put back as they were."""
    before = {path: path.read_bytes() if path.exists() else None for path in contents}
    done = []
    try:
        for path, content in contents.items():
            replace_file(path, _writer(content))
            done.append(path)
    except BaseException:
        for path in done:
            old = before[path]
            if old is None:
                path.unlink()
            else:
                replace_file(path, _writer(old))
        raise


def _writer(content: bytes) -> Callable[[Path], object]:
    return lambda partial: partial.write_bytes(content)


def check_folder(folder: Path) -> None:
    """ValueError where a file stands in the place of an output folder, or of one above it."""
    there = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    if not there.is_dir():
        raise ValueError(f"{there} is no folder; choose another --out")


def read_json(path: Path, expected: str = "a folder that `python -m common train` wrote") -> dict:
    """The JSON object of a file. ValueError where there is none, or where it is something else.

    Stricter than `json` is by itself: no NaN, and no name that stands there twice.
    expected: what to say where there is no such file.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if "\0" in text:
            raise ValueError("expected UTF-8 text")  # UTF-16 of plain letters passes for it
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
        if not isinstance(value, dict):
            raise ValueError(f"expected a JSON object, got {type(value).__name__}")
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{path}: no such file; expected {expected}") from None
    except IsADirectoryError:
        raise ValueError(f"{path}: is a folder; expected {expected}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text (byte {error.start}: {error.reason})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return value


def _once(pairs: list[tuple[str, object]]) -> dict:
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]!r} stands there twice")
    return dict(pairs)


def _refuse(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def write_json(path: Path, value: object) -> None:
    """Replace a file by a value as JSON. ValueError for NaN and infinity, which JSON does not have."""
    try:
        text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError as error:
        raise ValueError(f"{path}: expected finite numbers, as JSON has no others ({error})") from None
    replace_file(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def save_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, str] | None = None) -> None:
    """A file of tensors, whole or not there; about: notes that it carries."""
    # copies, for the library refuses a tensor that stands under two names
    whole = save({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}, about)
    replace_file(path, lambda partial: partial.write_bytes(whole))


def plain(value: Any) -> Any:
    """A value as it will be read from a file of JSON: lists for tuples."""
    return json.loads(json.dumps(value))

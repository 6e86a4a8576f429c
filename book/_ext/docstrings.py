"""A small Sphinx extension: the docstrings of this project, which are plain text, as reference pages.

What a reader of the code sees as it stands becomes in the page:

    x: (B, T, C) -> (B, T // n, C * n)        a definition list of arguments
    (B, T, C), [0, 1), `name`                 monospace
    y = tanh(a) * sigmoid(b), where ...       a line of its own for every equation, in monospace
    >>> Linear(10, 20)                        an example, which tests/test_reference.py runs

sphinx.ext.autodoc brings the docstrings; `to_rst` turns them into what docutils reads.
"""

import re

TERM = r"(?:-?\d+ [A-Za-z]\w*|-?\w+(?:\.\w+)*)"
ITEM = rf"(?:\.\.\.|{TERM}(?: ?(?://|\*\*?|[-+=/]) ?{TERM})*)"
# (B, T), (...), [0, 1); not (n - 1), which is arithmetic, nor (Polyak, 1964)
SHAPE = (
    r"(?<![\w)])(?=[(\[][^()\[\]]*(?:,|\.\.\.))(?![(\[][^()\[\]]*\b(?:19|20)\d\d\b)"
    rf"[(\[]{ITEM}(?:, {ITEM})*,?[)\]]"
)
# What is code in a sentence, and *this*, which docutils reads as it stands.
MARKED = re.compile(
    rf"``(?P<double>[^`]+)``|`(?P<single>[^`]+)`|(?P<shape>{SHAPE}(?: -> {SHAPE})*)"
    r"|(?P<name>\b[A-Za-z][\w.]*_\w+|\b\d\*\*\w+|\btorch(?:\.\w+)+|\b[A-Z]\w*Error\b)|(?P<stressed>\*\w+\*)"
)
FIELD = re.compile(r"(?P<names>[a-z_]\w*(?:, [a-z_]\w*)*): (?P<meaning>\S.*)")
# A sentence begins with a capital: in "... of all positions. input: (B, T, C)" an argument begins.
FIELD_BEHIND = re.compile(r"(?<=\.) (?=[a-z_]\w*(?:, [a-z_]\w*)*: )")
INTRODUCED = re.compile(r"\s*\bIntroduced\s+in\s+chapters?\s[^.]*\.")
ERROR = re.compile(r"[A-Z]\w+Error\b")
EQUATION = re.compile(r"[A-Za-z]\w* (?:=|<-) \S")
# What may follow an equation in its line: a remark, or where it is from.
REMARK = re.compile(r"(?P<rest>,? (?:where|then) .*| \([^()]*\b(?:19|20)\d\d\b[^()]*\)\.?|\.)$")


def literal(text: str) -> str:
    return f"``{text.replace('<-', '←').replace('->', '→')}``"


def inline(text: str) -> str:
    """A stretch of prose: what is code in it as code, and nothing else as mark-up."""
    parts, at = [], 0
    for found in MARKED.finditer(text):
        code = next((found[kind] for kind in ("double", "single", "shape", "name") if found[kind]), None)
        # Mark-up ends at a space or a sign; this one is not seen.
        after = "\\ " if text[found.end() :][:1].isalnum() else ""
        parts += [escaped(text[at : found.start()]), literal(code) if code else found["stressed"], after]
        at = found.end()
    return "".join([*parts, escaped(text[at:])])


def escaped(text: str) -> str:
    return re.sub(r"([\\*_|`])", r"\\\1", text).replace(" -> ", " → ").replace(" <- ", " ← ")


def equations(lines: list[str]) -> list[str]:
    """A line of its own for each equation."""
    shown = []
    for equation in re.split(r";\s+|\n", "\n".join(lines)):
        remark = REMARK.search(equation)
        rest = remark["rest"] if remark else ""
        shown.append(f"| {literal(equation.removesuffix(rest))}{inline(rest)}")
    return shown


def paragraph(lines: list[str]) -> list[str]:
    """Lines without a blank one between: prose, then the arguments that are explained, then errors."""
    if lines[0].startswith(">>> "):
        return lines
    if all(EQUATION.match(line) for line in lines):
        return equations(lines)
    pieces = [("", [])]  # (names of arguments, lines)
    for line in lines:
        field = FIELD.match(line)
        if field:
            pieces.append((field["names"], [field["meaning"]]))
        elif ERROR.match(line) and pieces[-1][0]:
            pieces.append(("", [line]))
        else:
            pieces[-1][1].append(line.strip())
    rst = []
    for names, meaning in pieces:
        if names:
            rst += [", ".join(map(literal, names.split(", "))), f"    {inline(' '.join(meaning))}"]
        elif meaning:
            rst += [*([""] if rst else []), inline(" ".join(meaning)), ""]
    return rst


def to_rst(text: str) -> list[str]:
    """A docstring of this project as reStructuredText. Where it was introduced comes last."""
    introduced = [" ".join(sentence.split()) for sentence in INTRODUCED.findall(text)]
    text = FIELD_BEHIND.sub("\n", INTRODUCED.sub("", text)).strip("\n")
    parts = re.split(r"\n\s*\n", text) + introduced
    return [line for part in parts for line in [*paragraph(part.strip("\n").split("\n")), ""]]


def process(app, what, name, obj, options, lines):
    lines[:] = to_rst("\n".join(lines))


def skip(app, what, name, obj, skipped, options):
    """What Python says of a NamedTuple's fields by itself says nothing."""
    return True if str(getattr(obj, "__doc__", "")).startswith("Alias for field number") else None


def setup(app):
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-skip-member", skip)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

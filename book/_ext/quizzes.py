"""A small Sphinx extension: a quiz file becomes a form that every reader can use.

    ```{quiz} quiz/01.json
    ```

Each question of the file becomes a <fieldset> named by the question, with radio buttons and a
live region for the feedback; book/_static/book.js marks the answers. In a notebook the cell
that calls display_quiz names the file, for JupyterLab, where jupyterquiz draws it. The page
shows the directive in that cell's place, so nothing that jupyterquiz puts out is stored: it
brings 40 KB of script, logs each answer, may ask another server for MathJax, and cannot be
used by ear.
"""

import json
import random
import re
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

MARK = re.compile(r"<!--(\w+)-->(.*?)<!--/-->", re.DOTALL)  # as tools/told.py has it
CALL = re.compile(r'^display_quiz\("([^"]+)"\)$', re.MULTILINE)
KEYS = {"question", "type", "answers"}
ANSWER_KEYS = {"answer", "correct", "feedback"}


def feedback(answer: dict) -> str:
    """The explanation, which says in words and by a sign whether the answer was right."""
    text = answer["feedback"]
    if answer["correct"]:
        return f"✓ {text}" if text.startswith("Right") else f"✓ Right. {text}"
    return f"✗ No. {text}"


def question_html(question: dict, name: str) -> str:
    """One question as a form's group. Questions and answers may hold HTML, as in jupyterquiz."""
    if set(question) != KEYS or question["type"] != "multiple_choice":
        raise ValueError(f"expected {sorted(KEYS)}, and the type multiple_choice, got {question}")
    for answer in question["answers"]:
        if set(answer) != ANSWER_KEYS:
            raise ValueError(f"expected an answer with {sorted(ANSWER_KEYS)}, got {answer}")
    # The same order in every build, but not the order of the file, where the right one is first.
    answers = random.Random(question["question"]).sample(question["answers"], len(question["answers"]))
    choices = [
        f'<label class="quiz-answer" data-mark="{"right" if answer["correct"] else "wrong"}">'
        f'<input type="radio" name="{name}"><span>{answer["answer"]}</span>'
        f"<template>{feedback(answer)}</template></label>"
        for answer in answers
    ]
    return (
        f'<fieldset class="quiz-question"><legend>{question["question"]}</legend>{"".join(choices)}'
        '<p class="quiz-feedback" role="status" aria-live="polite"></p></fieldset>'
    )


# Without the script the answers can be picked, and nothing would say why none is marked.
UNMARKED = "<noscript><p>To have the answers marked, switch JavaScript on in this browser.</p></noscript>"


class Quiz(SphinxDirective):
    """The questions of a file, whose path is relative to the page."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        file, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(file)
        group = f"quiz-{self.env.new_serialno('quiz')}"
        try:
            questions = json.loads(MARK.sub(r"\2", Path(path).read_text(encoding="utf-8")))
            forms = [question_html(q, f"{group}-{number}") for number, q in enumerate(questions, start=1)]
        except (OSError, ValueError) as error:
            raise self.error(f"quiz {file}: {error}") from None
        return [nodes.raw("", f'<div class="quiz">{UNMARKED}{"".join(forms)}</div>', format="html")]


def show_directive(app, docname, source):
    """Put the directive in the place of a notebook's cell that calls display_quiz."""
    if app.env.doc2path(docname).endswith(".ipynb"):
        notebook = json.loads(source[0])
        for cell in notebook["cells"]:
            call = CALL.search("".join(cell["source"]))
            if cell["cell_type"] == "code" and call:
                for key in ("outputs", "execution_count"):
                    del cell[key]
                cell |= {"cell_type": "markdown", "metadata": {}, "source": f"```{{quiz}} {call[1]}\n```"}
        source[0] = json.dumps(notebook)


def setup(app):
    app.add_directive("quiz", Quiz)
    app.connect("source-read", show_directive)
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}

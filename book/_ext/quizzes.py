"""A small Sphinx extension: a notebook's quiz becomes a form that every reader can use.

In JupyterLab, jupyterquiz draws the quiz. What it stores brings 40 KB of script for every
page, logs each answer, may ask another server for MathJax, and cannot be used by ear. Only
its questions are taken over: each becomes a <fieldset> named by the question, with radio
buttons and a live region for the feedback. book/_static/book.js marks the answers.
"""

import json
import random
import re

from sphinx.errors import ExtensionError

# What display_quiz stores: a <div> that it never closes, a style, then a script that begins
# with the questions.
STORED = re.compile(
    r'<div id="(?P<id>\w{12})" data-shufflequestions=[^>]*><style>.*?</style>'
    r"(?P<between>.*?)"
    r'<script type="application/javascript">var questions(?P=id)=(?P<rest>.*?)</script>',
    re.DOTALL,
)
KEYS = {"question", "type", "answers"}


def feedback(answer: dict) -> str:
    """The explanation, which says in words and by a sign whether the answer was right."""
    text = answer["feedback"]
    if answer["correct"]:
        return f"✓ {text}" if text.startswith("Right") else f"✓ Right. {text}"
    return f"✗ No. {text}"


def question_html(question: dict, name: str) -> str:
    """One question as a form's group. Questions and answers may hold HTML, as in jupyterquiz."""
    if question["type"] != "multiple_choice" or set(question) - KEYS:
        raise ExtensionError(f"a page shows quizzes of type multiple_choice with {KEYS} only: {question}")
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


def quiz_html(stored: re.Match) -> str:
    questions, _ = json.JSONDecoder().raw_decode(stored["rest"])
    forms = [question_html(q, f"{stored['id']}-{number}") for number, q in enumerate(questions, start=1)]
    return f'<div class="quiz">{UNMARKED}{"".join(forms)}</div>{stored["between"]}'


def draw_quizzes(app, pagename, templatename, context, doctree):
    if "body" in context:
        context["body"] = STORED.sub(quiz_html, context["body"])


def setup(app):
    app.connect("html-page-context", draw_quizzes)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

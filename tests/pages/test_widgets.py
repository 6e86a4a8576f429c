"""The live models, as a reader plays with them: in the built pages, and in JupyterLab."""

import json
import math
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
import unicodedata

import nbformat
import pytest
import torch
from notebooks import WIDGET_STATE
from translation import taught

from common.constraints import Alphabet, Automaton, Length, NotIn, Pattern
from common.data import SHIPPED_NAMES, Vocabulary, load_names, sequences, split_names, windows
from common.data.reviews import tokenize, words_of
from common.models import (
    MODELS,
    SentenceClassifier,
    StatefulNetwork,
    Transformer,
    WaveNet,
    as_convolution,
    count_parameters,
    pretrained,
    tagged,
)
from common.models.seq2seq import Seq2Seq
from common.nn import (
    GRU,
    LSTM,
    RNN,
    CausalConv1d,
    Linear,
    Sequential,
    attention_weights,
    causal_mask,
    evaluating,
)
from common.optim import SGD, Adam, RMSprop
from common.pages import widgets
from common.pages.widgets import rounded
from common.sampling import probabilities
from conftest import ROOT

PLAYGROUND = "playground.html"
SOUND = "wavenet/09_sound.html"
CONVOLUTION = "wavenet/07_causal_convolutions.html"
LECTURE, WINNERS = tagged("lecture"), tagged("winner")
WORDS = load_names(SHIPPED_NAMES)
SPLITS = split_names(WORDS)
VOCABULARY = Vocabulary("".join(WORDS))


@pytest.fixture
def open_live(open_page):
    """Open a page and wait until all its widgets have been drawn."""

    def open_one(rel, **how):
        page = open_page(rel, **how)
        live = "[...document.querySelectorAll('.live-widget:not(.needs-kernel)')]"
        page.wait_for_function(f"() => {live}.every((widget) => 'ready' in widget.dataset)")
        return page

    return open_one


def contexts(name, count):
    x, _ = windows(SPLITS.val, VOCABULARY, MODELS[name].block_size)
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:count]]


def in_the_page(name):
    """A trained model as the playground's page has it, which halves the weights of its larger ones."""
    model = pretrained(name)
    return rounded(model) if count_parameters(model) > 50_000 else model


# ---- without JavaScript ------------------------------------------------------------------

NEEDS = "To play with this, switch JavaScript on in this browser. The text and the figures need none."
KERNEL = "This control talks to Python. It comes alive when the notebook runs in JupyterLab."
VIEW = r'<script type="application/vnd\.jupyter\.widget-view\+json">[^<]*</script>'


def test_every_widget_and_quiz_has_a_line_for_those_without_javascript(html):
    views = quizzes = 0
    for path in html.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        lines = re.findall(VIEW + "(?:<noscript><p[^>]*>([^<]*)</p></noscript>)?", text)
        assert set(lines) <= {NEEDS, KERNEL}, path.name
        asked = re.findall(r'<div class="quiz">(<noscript>)?', text)
        assert all(asked), path.name
        views, quizzes = views + len(lines), quizzes + len(asked)
    assert views > 10 and quizzes > 10


def test_without_javascript_a_page_says_what_is_missing(open_page):
    page = open_page("wavenet/01_three_char_mlp.html", scripts=False)
    lines = page.locator("article noscript p")
    assert {NEEDS, KERNEL} < set(
        lines.all_inner_texts()
    ) and "have the answers marked" in lines.last.inner_text()
    assert all(line.bounding_box()["height"] > 10 for line in lines.all())


def test_with_javascript_nothing_asks_for_it(open_live):
    assert "JavaScript on" not in open_live("wavenet/01_three_char_mlp.html").locator("body").inner_text()


# ---- the same models ---------------------------------------------------------------------


@pytest.mark.parametrize("name", LECTURE)
def test_the_pages_logits_are_pytorchs(open_live, name):
    page, x = open_live(PLAYGROUND), contexts(name, 1_000)
    ask = "([name, x]) => document.querySelector('.wn-playground').wavenet.logits(name, x)"
    found = torch.tensor(page.evaluate(ask, [name, x.flatten().tolist()])).view(1_000, -1)
    model = in_the_page(name)
    with evaluating(model):
        assert (found - model(x)).abs().max() < 1e-4


@pytest.mark.parametrize("name", WINNERS)
def test_the_winners_logits_are_pytorchs(open_live, name):
    page, model = open_live(PLAYGROUND), in_the_page(name)
    x, _, _ = sequences(SPLITS.val[:200], VOCABULARY)
    ask = "([name, x, T]) => document.querySelector('.wn-playground').wavenet.logits(name, x, T)"
    found = torch.tensor(page.evaluate(ask, [name, x.flatten().tolist(), x.shape[1]])).view(*x.shape, 27)
    with evaluating(model):
        assert (found - model(x)).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["hierarchical-bug", "hierarchical", "scaled"])
def test_the_pages_gradients_are_pytorchs(open_live, name):
    page, model = open_live(PLAYGROUND), in_the_page(name)
    ask = "([name, x, chosen]) => document.querySelector('.wn-tree').wavenet.influence(name, x, chosen)"
    for chosen, x in enumerate(contexts(name, 20)):
        embedded = model.layers[0](x[None]).detach().requires_grad_()
        out = embedded
        for layer in model.layers[1:]:
            out = layer(out)
        torch.log_softmax(out, -1)[0, chosen].backward()
        found = torch.tensor(page.evaluate(ask, [name, x.tolist(), chosen]))
        torch.testing.assert_close(found, embedded.grad[0].norm(dim=1), atol=1e-5, rtol=1e-4)


# ---- the playground -------------------------------------------------------------------------


def bars(panel) -> list[float]:
    """Heights of the 27 bars in percent, once they have stopped moving."""
    return panel.locator(".wn-fill").evaluate_all("all => all.map((bar) => parseFloat(bar.style.height))")


def test_typing_and_pressing_a_bar_change_the_distribution(open_live):
    page = open_live(PLAYGROUND)
    playground = page.locator(".wn-playground")
    first, second = playground.locator(".wn-panel").all()
    prefix = playground.get_by_label("A name begins with")
    prefix.fill("qu")
    model, context = pretrained("mlp"), torch.tensor([VOCABULARY.encode(".qu")])
    with evaluating(model):
        p = torch.softmax(model(context)[0], 0)
    heights = torch.tensor(bars(first), dtype=p.dtype)
    torch.testing.assert_close(heights, 100 * p, atol=2e-3, rtol=0)
    assert "sees .qu" in first.inner_text() and "sees ......qu" in second.inner_text()
    before = bars(second)
    second.get_by_role("button", name=re.compile("^e, ")).click()
    assert prefix.input_value() == "que" and bars(second) != before


def test_sliders_change_the_chart(open_live):
    page = open_live(PLAYGROUND)
    panel = page.locator(".wn-playground .wn-panel").first
    before = bars(panel)
    temperature = page.locator(".wn-playground").get_by_label("Temperature")
    temperature.focus()
    page.keyboard.press("Home")
    assert temperature.get_attribute("aria-valuetext") == "0.10"
    cold = bars(panel)
    assert max(cold) > max(before) and sorted(cold)[-5] < sorted(before)[-5]
    page.keyboard.press("End")
    assert sorted(bars(panel))[-5] > sorted(before)[-5]
    page.locator(".wn-playground").get_by_label("Keep the likeliest").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert sum(height > 0 for height in bars(panel)) == 2


def names_in(panel) -> list[str]:
    """The names of a panel, as often as each was written: one line a name, with × how often."""
    lines = [text.replace("×", " ").split() for text in panel.locator("li").all_inner_texts()]
    assert len({name for name, *_ in lines}) == len(lines), "a name is listed once"
    times = [[int(part) for part in rest if part.isdigit()] for _, *rest in lines]
    return [
        name for (name, *_), many in zip(lines, times, strict=True) for _ in range(many[0] if many else 1)
    ]


def test_names_are_written_marked_and_announced(open_live, axe):
    page = open_live(PLAYGROUND)
    playground = page.locator(".wn-playground")
    playground.get_by_label("A name begins with").fill("mar")
    playground.get_by_role("button", name="Write 20 names").click()
    known = set(SPLITS.train)
    for panel in playground.locator(".wn-written").all():
        written = names_in(panel)
        assert len(written) == 20
        different = f"{len(set(written))} different name"
        assert (different in panel.inner_text()) == (len(set(written)) < 20)
        for item in panel.locator("li").all():
            name, *mark = item.inner_text().split()
            assert name.startswith("mar") and set(name) <= set(VOCABULARY.tokens[1:])
            fresh = name not in known
            assert ("wn-new" in (item.get_attribute("class") or "")) == fresh == (mark[-1:] == ["(new)"])
    status = playground.get_by_role("status")
    page.wait_for_function("(p) => p.textContent.includes('20 names by')", arg=status.element_handle())
    assert status.get_attribute("aria-live") == "polite" and "mar" in status.text_content()
    assert axe(page) == []


@pytest.mark.parametrize("letters", [35, 60])
def test_a_long_prefix_goes_on(open_live, letters):
    page = open_live(PLAYGROUND, width=360, height=740)
    playground = page.locator(".wn-playground")
    prefix = playground.get_by_label("A name begins with")
    prefix.fill("mari" * (letters // 4))
    begun = prefix.input_value()
    assert len(begun) == letters // 4 * 4, "what is pasted is not cut"
    for model in ("mlp", "open"):
        playground.get_by_label("Model", exact=True).select_option(model)
        playground.get_by_role("button", name="Write 20 names").click()
        written = [
            text.split()[0]
            for text in playground.locator(".wn-written").first.locator("li").all_inner_texts()
        ]
        assert all(name.startswith(begun) for name in written) and any(
            len(name) > len(begun) for name in written
        )
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_names_that_are_cut_are_counted_in_the_page(open_live):
    page = open_live(PLAYGROUND)
    playground = page.locator(".wn-playground")
    playground.get_by_label("Model", exact=True).select_option("mlp")
    playground.get_by_label("Temperature").focus()
    page.keyboard.press("End")
    counted = 0
    for _ in range(30):  # the flat chart of temperature 2 ends a name of 40 letters now and then
        playground.get_by_role("button", name="Write 100 names").click()
        panel = playground.locator(".wn-written").first
        longest = [len(name) == 40 for name in names_in(panel)]
        told = re.search(r"(\d+) had not ended after 40 letters and (is|are) cut there", panel.inner_text())
        assert (int(told[1]) if told else 0) == sum(longest)
        counted += sum(longest)
        if counted:
            break
    assert counted


def test_what_is_typed_never_becomes_html(open_live):
    page = open_live(PLAYGROUND)
    page.evaluate("window.caught = 0")
    for label in ("A name begins with", "A name so far"):
        page.get_by_label(label).fill('<img src=x onerror="caught++"><b>an')
    page.wait_for_timeout(600)
    assert page.evaluate("caught") == 0
    assert page.locator(".wn img, .wn b").count() == 0
    for problem in page.locator(".wn-problem").all():
        assert problem.inner_text().startswith('“<”, the space, “=”, “"” and 2 more are left out: ')
    assert page.get_by_label("A name begins with").get_attribute("aria-invalid") == "true"


TYPED = {  # what a keyboard, a phone or a paste brings
    "emoji": "emma🙂", "family": "👩\u200d👩\u200d👧", "right to left": "מרים", "turned round": "em\u202ema",
    "an accent apart": "zoe\u0301", "capitals": "EMMA", "a dotted I": "İda", "one sign for two": "ﬁona",
    "full width": "ｅｍｍａ", "nothing to see": "em\u200bma", "NUL": "em\0ma", "an entity": "&lt;i&gt;",
    "HTML": "<b onclick=caught++>a</b>", "two lines": "em\nma", "blank": "   ",
}  # fmt: skip


@pytest.mark.parametrize(
    "rel, widget, label",
    [
        (PLAYGROUND, ".wn-playground", "A name begins with"),
        (PLAYGROUND, ".wn-tree", "A name so far"),
        (CONVOLUTION, ".wn-convolution", "A name"),
    ],
    ids=["playground", "tree", "convolution"],
)
def test_whatever_is_typed_is_read_or_named(open_live, rel, widget, label):
    page = open_live(rel, width=390, height=844)
    root = page.locator(widget).first
    field, problem = root.get_by_label(label, exact=True), root.locator(".wn-problem")
    page.evaluate("window.caught = 0")
    for what, typed in TYPED.items():
        field.fill(typed)
        read = unicodedata.normalize("NFC", typed.replace("\n", " ")).lower()
        strange = [c for c in dict.fromkeys(read) if c not in VOCABULARY.tokens[1:]]
        said = problem.text_content()
        assert ("left out" in said) == bool(strange), (what, said)
        assert all(f"“{c}”" in said for c in strange[:4] if c.strip()), (what, said)
    assert page.evaluate("caught") == 0 and root.locator("b").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    field.fill("emma")
    assert problem.text_content() == "" and field.input_value() == "emma"


@pytest.mark.parametrize(
    "rel, widget, label, words",
    [
        ("rnn/03_sentiment.html", ".wn-reader", "A sentence", 5_000),
        ("rnn/05_translation.html", ".wn-translator", "A sentence in English", 1_000),
    ],
    ids=["sentence", "translator"],
)
def test_whatever_is_pasted_is_taken_as_text(open_live, rel, widget, label, words):
    page = open_live(rel, width=390, height=844)
    root = page.locator(widget).first
    field = root.get_by_label(label, exact=True)
    page.evaluate("window.caught = 0")
    for typed in [*TYPED.values(), "a good film " * words, "x" * 5_000]:
        field.fill(typed)
        assert field.input_value() == typed and root.inner_text().strip()
    assert page.evaluate("caught") == 0 and root.locator("b, img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_models_are_chosen_and_compared(open_live):
    page = open_live(PLAYGROUND)
    playground = page.locator(".wn-playground")
    playground.get_by_label("Beside it").select_option("")
    assert playground.locator(".wn-panel").count() == 1
    playground.get_by_label("Model", exact=True).select_option("flat")
    assert playground.locator(".wn-panel .wn-title").all_inner_texts() == [
        "8 characters, flat\n22,097 parameters"
    ]


def test_winners_see_the_name_and_no_padding(open_live, axe):
    page = open_live(PLAYGROUND)
    playground = page.locator(".wn-playground")
    playground.get_by_label("Model", exact=True).select_option("small")
    playground.get_by_label("Beside it").select_option("open")
    for prefix in ("", "em", "maximilian", "abcdefghijklmnopqrstuvwxyzabcd"):
        playground.get_by_label("A name begins with").fill(prefix)
        context = torch.tensor([VOCABULARY.encode("." + prefix)])
        for name, panel in zip(WINNERS, playground.locator(".wn-panel").all(), strict=True):
            seen = ("." + prefix)[-8:] if name == "small" else "." + prefix
            assert panel.locator("code").text_content() == seen and f"sees {seen} and" in panel.inner_text()
            with evaluating(model := in_the_page(name)):
                p = torch.softmax(model(context)[0, -1], 0)
            shown = playground.evaluate("(root, name) => root.wavenet.probabilities(name)", name)
            torch.testing.assert_close(torch.tensor(shown, dtype=p.dtype), p, atol=1e-5, rtol=1e-4)
            vectors = model.layers[0](context).detach().requires_grad_()
            logits = Sequential(model.layers[1:])(vectors)[0, -1]
            torch.log_softmax(logits, 0)[p.argmax()].backward()
            moves = vectors.grad[0].norm(dim=1)[-len(seen) :]
            shares = panel.locator(".wn-weighed").evaluate_all(
                "all => all.map((one) => Number(one.style.getPropertyValue('--wn-share')))"
            )
            torch.testing.assert_close(
                torch.tensor(shares, dtype=p.dtype), moves / moves.sum(), atol=2e-3, rtol=0
            )
            place = int(moves.argmax())
            said = f"depends most on “{seen[place]}”, place {place + 1} of {len(seen)}."
            assert (said in panel.inner_text()) == bool(prefix)
    assert axe(page) == []


def all_write_new_names(playground, pattern):
    """Each panel writes 100 names of a pattern, none of the list; returns how many panels."""
    playground.get_by_role("button", name="Write 100 names").click()
    panels, known = playground.locator(".wn-written").all(), set(SPLITS.train)
    for panel in panels:
        written = names_in(panel)
        assert len(written) == 100 and len(set(written)) > 20
        assert all(re.fullmatch(pattern, name) and name not in known for name in written)
    return len(panels)


def test_winners_write_names_under_constraints(open_live):
    page = open_live(PLAYGROUND)
    playground = constrained(page, prefix="", pattern="a*n", alphabet="aeilnrsy", longest=9, only_new=True)
    playground.get_by_label("Model", exact=True).select_option("small")
    playground.get_by_label("Beside it").select_option("open")
    assert all_write_new_names(playground, "a[aeilnrsy]{0,7}n") == len(WINNERS)


def test_bars_are_one_stop_for_the_tab_key(open_live):
    page = open_live(PLAYGROUND)
    group = page.locator(".wn-playground .wn-bars").first
    assert group.locator("button[tabindex='0']").count() == 1
    group.locator("button[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("b, ")
    page.keyboard.press("Enter")
    assert page.locator(".wn-playground").get_by_label("A name begins with").input_value() == "christb"


# ---- the playground's constraints --------------------------------------------------------------


def constrained(page, **rules):
    """The playground's constraints, opened and set; the panel's own prefix stays."""
    playground = page.locator(".wn-playground")
    if not playground.locator("details").evaluate("(more) => more.open"):
        playground.get_by_text("Constraints", exact=True).click()
    labels = {"prefix": "A name begins with", "pattern": "Pattern", "alphabet": "Only these letters"}
    for rule, value in rules.items():
        if rule in labels:
            playground.get_by_label(labels[rule]).fill(value)
        elif rule == "only_new":
            playground.get_by_label("Only new names").set_checked(value)
        else:
            playground.get_by_label(rule.capitalize()).fill(str(value))
    return playground


RULES = [
    ({"pattern": "a???n"}, Pattern("a???n")),
    ({"pattern": "*a?*n"}, Pattern("*a?*n")),
    ({"alphabet": "aeinr"}, Alphabet("aeinr")),
    ({"shortest": 4, "longest": 6}, Length(4, 6)),
    ({"shortest": 9}, Length(9)),
    ({"only_new": True}, NotIn(SPLITS.train)),
    ({"pattern": "ann?", "only_new": True}, Pattern("ann?") & NotIn(SPLITS.train)),
    (
        {"pattern": "*e*", "alphabet": "aenrs", "longest": 4, "only_new": True},
        Pattern("*e*") & Alphabet("aenrs") & Length(0, 4) & NotIn(SPLITS.train),
    ),
]


@pytest.mark.parametrize("rules, constraint", RULES, ids=[" ".join(rules) for rules, _ in RULES])
def test_the_pages_mask_is_pythons(open_live, rules, constraint):
    page, model = open_live(PLAYGROUND), pretrained("mlp")
    playground = constrained(page, **rules)
    seen = 0
    for prefix in ("", "a", "an", "ann", "aren", "anna", "aaabn", "z"):
        playground.get_by_label("A name begins with").fill(prefix)
        in_page = playground.evaluate("(root) => root.wavenet.allowed()")
        try:
            automaton = Automaton(constraint, VOCABULARY, 40, prefix)
        except ValueError:
            assert in_page is None
            named = f"No name that begins with “{prefix}” meets "
            assert playground.locator(".wn-problem").inner_text().startswith(named)
            continue
        allowed = sorted(automaton.allowed(automaton.start))
        assert sorted(in_page) == allowed
        assert playground.locator(".wn-problem").inner_text() == ""
        context = torch.tensor([VOCABULARY.encode(("..." + prefix)[-3:])])
        with evaluating(model):
            logits = model(context)[0]
        masked = torch.full_like(logits, -torch.inf)
        masked[allowed] = logits[allowed]
        shown = playground.evaluate("(root) => root.wavenet.probabilities('mlp')")
        p = torch.tensor(shown, dtype=torch.float32)
        torch.testing.assert_close(p, probabilities(masked), atol=1e-5, rtol=1e-4)
        seen += 1
    assert seen >= 2


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 1])
def test_the_pages_nucleus_is_pythons(open_live, top_p):
    page, model = open_live(PLAYGROUND), pretrained("mlp")
    playground = constrained(page, pattern="*e?")
    playground.get_by_label("Nucleus").fill(str(top_p))
    playground.get_by_label("Temperature").fill("1.3")
    for prefix in ("", "ma", "christin"):
        playground.get_by_label("A name begins with").fill(prefix)
        automaton = Automaton(Pattern("*e?"), VOCABULARY, 40, prefix)
        with evaluating(model):
            logits = model(torch.tensor([VOCABULARY.encode(("..." + prefix)[-3:])]))[0].double()
        masked = torch.full_like(logits, -torch.inf)
        allowed = list(automaton.allowed(automaton.start))
        masked[allowed] = logits[allowed]
        shown = playground.evaluate("(root) => root.wavenet.probabilities('mlp')")
        p = torch.tensor(shown, dtype=torch.float32)
        expected = probabilities(masked, temperature=1.3, top_p=top_p).float()
        torch.testing.assert_close(p, expected, atol=1e-5, rtol=1e-4)


def test_written_names_meet_the_constraints(open_live, axe):
    page = open_live(PLAYGROUND)
    playground = constrained(page, prefix="", pattern="a???*n", alphabet="aeilnrsy", longest=7, only_new=True)
    assert all_write_new_names(playground, "a[aeilnrsy]{3,5}n")
    for panel in playground.locator(".wn-panel").all():
        assert panel.locator(".wn-ghost").evaluate_all(
            "all => all.filter((bar) => parseFloat(bar.style.height) > 0).length"
        )
        assert re.match(r"Cut off: \d.*%\. Kept: a 100%\.", panel.locator(".wn-cut").inner_text())
    assert axe(page) == []


def test_what_cannot_be_met_is_said(open_live):
    page = open_live(PLAYGROUND)
    playground = constrained(page, prefix="", pattern="a???n", alphabet="xyz")
    problem = playground.locator(".wn-problem")
    assert problem.inner_text() == "No name meets the pattern “a???n” and the alphabet “xyz”."
    assert problem.get_attribute("role") == "alert"
    assert max(bars(playground.locator(".wn-panel").first)) == 0
    playground.get_by_role("button", name="Write 20 names").click()
    assert playground.locator(".wn-names li").count() == 0
    assert "none can meet the constraints" in playground.locator(".wn-written").first.inner_text()
    constrained(page, alphabet="", pattern="<b>a?")
    assert "“<” and “>” are left out: “ba?” is read." in problem.inner_text()
    assert playground.locator("b").count() == 0
    assert playground.get_by_label("Pattern").get_attribute("aria-invalid") == "true"
    constrained(page, pattern="", shortest=6, longest=3)
    assert problem.inner_text() == "No name meets a length of at least 6 and at most 3."
    constrained(page, shortest=0)
    assert problem.inner_text() == ""


def test_a_pattern_is_gone_through_letter_by_letter(open_live):
    page = open_live("wavenet/10_sampling.html")
    playground = page.locator(".wn-playground")
    assert playground.locator("details").evaluate("(more) => more.open")
    prefix = playground.get_by_label("A name begins with")
    assert (prefix.input_value(), playground.get_by_label("Pattern").input_value()) == ("ja", "j??n")
    playground.get_by_role("button", name="Write 20 names").click()
    assert len(set(names_in(playground.locator(".wn-written")))) > 1, "what is offered first can be varied"
    prefix.fill("j")
    automaton = Automaton(Pattern("j??n"), VOCABULARY, 40)
    model, state, text = pretrained("scaled"), automaton.allowed(automaton.start)[10], "j"
    for letter in "amn.":
        allowed = automaton.allowed(state)
        with evaluating(model):
            context = ("........" + text)[-8:]
            p = torch.softmax(model(torch.tensor([VOCABULARY.encode(context)]))[0], 0)
        left = p[list(allowed)].sum().item()
        heights = bars(playground.locator(".wn-panel"))
        assert {i for i, height in enumerate(heights) if height > 0} == set(allowed)
        # what the model expects is said apart from what the pattern leaves of it
        best = p.argmax().item()
        expects = f"expects {'the end' if not best else VOCABULARY.tokens[best]} {100 * p[best]:.0f}%"
        assert expects in playground.locator(".wn-panel").inner_text()
        said = playground.locator(".wn-cut").inner_text()
        assert abs(float(re.search(r"([\d.]+)%", said)[1]) / 100 - (1 - left)) < 0.006
        if letter != ".":
            playground.get_by_role("button", name=re.compile(f"^{letter}, ")).click()
            state, text = allowed[VOCABULARY.encode(letter)[0]], text + letter
            assert prefix.input_value() == text


# ---- what all widgets have ---------------------------------------------------------------------

WIDGETS = {
    PLAYGROUND: ["playground", "tree"],
    "wavenet/01_three_char_mlp.html": ["losses", "playground"],
    "wavenet/03_eight_char_context.html": ["playground"],
    "wavenet/04_flatten_consecutive.html": ["tree"],
    "wavenet/05_batchnorm_fix.html": ["batchnorm"],
    "wavenet/06_scaling_up.html": ["playground", "tree"],
    CONVOLUTION: ["convolution"],
    "wavenet/08_wavenet_blocks.html": ["receptive"],
    SOUND: ["listening"],
    "wavenet/10_sampling.html": ["playground"],
    "wavenet/11_optimisers.html": ["valley"],
    "wavenet/12_searching.html": ["explorer"],
    "wavenet/13_beating_1993.html": ["playground"],
    "rnn/01_sine_wave.html": ["wave"],
    "rnn/03_sentiment.html": ["reader"],
    "rnn/04_shakespeare.html": ["writer"],
    "rnn/05_translation.html": ["translator"],
    "rnn/06_attention_alone.html": ["heads"],
}
# Everything in a widget that is smaller than 12 pixels, and every label that touches its field.
TOO_SMALL = """(root) => [...root.querySelectorAll("*")].filter((one) =>
  [...one.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()) &&
  parseFloat(getComputedStyle(one).fontSize) < 12).map((one) => one.outerHTML.slice(0, 100))"""
MARKED = """(li) => {
  const style = getComputedStyle(li, "::before");
  return style.width !== "0px" || style.borderLeftWidth !== "0px";
}"""
TOUCHES = """(root) => [...root.querySelectorAll(".wn-control:not(.wn-tickbox)")].filter((one) => {
  const [label, field] = [one.querySelector("span"), one.querySelector("input, select, textarea")];
  return field.offsetParent && field.getBoundingClientRect().top < label.getBoundingClientRect().bottom + 3;
}).map((one) => one.textContent)"""


def test_the_list_of_widgets_is_whole(html):
    views = {
        path.relative_to(html).as_posix(): path.read_text(encoding="utf-8") for path in html.rglob("*.html")
    }
    shown = {rel: len(re.findall(VIEW + "<noscript><p[^>]*>" + NEEDS, text)) for rel, text in views.items()}
    assert {rel: many for rel, many in shown.items() if many} == {
        rel: len(all_) for rel, all_ in WIDGETS.items()
    }


@pytest.mark.parametrize("rel", WIDGETS)
def test_a_widget_says_what_it_shows_what_to_try_and_what_its_colours_mean(open_live, axe, rel):
    page = open_live(rel, width=390, height=844, touch=True)
    frames = page.locator(".live-widget > .wn").all()
    assert [frame.get_attribute("class") for frame in frames] == [f"wn wn-{kind}" for kind in WIDGETS[rel]]
    for frame in frames:
        title = frame.locator("> .wn-heading").inner_text()
        assert frame.get_attribute("aria-label") == title and len(title) > 20
        attempt = frame.locator("> .wn-try").inner_text()
        assert attempt.startswith("Try: ") and attempt.endswith(".") and len(attempt) > 40
        assert "undefined" not in attempt and "“”" not in attempt
        legend = frame.locator("> .wn-legend > li")
        assert legend.count() >= 2
        for mark in legend.all():  # its mark has a colour
            assert mark.inner_text().strip() and mark.evaluate(MARKED)
        # on a phone: the answer, then the controls; both fit the screen
        answer, controls = (
            frame.locator("> .wn-answer").bounding_box(),
            frame.locator("> .wn-controls").bounding_box(),
        )
        assert answer["y"] + answer["height"] <= controls["y"]
        first = frame.locator("> .wn-controls :is(input, select, textarea)").first.bounding_box()
        assert first["y"] + first["height"] - answer["y"] < 844 - 60, (
            "what changes is in sight while the first moves"
        )
        assert frame.evaluate(TOO_SMALL) == [] and frame.evaluate(TOUCHES) == []
        assert frame.evaluate("(root) => getComputedStyle(root).fontVariantNumeric") == "tabular-nums"
    assert axe(page) == []


@pytest.mark.parametrize(
    "rel",
    [
        PLAYGROUND,
        "wavenet/05_batchnorm_fix.html",
        "wavenet/08_wavenet_blocks.html",
        "wavenet/11_optimisers.html",
        CONVOLUTION,
    ],
)
def test_a_slider_stays_under_the_finger(open_live, rel):
    page = open_live(rel, width=390, height=844)
    for slider in page.locator(".wn-controls > .wn-control > input[type=range]").all():
        slider.focus()
        where = slider.evaluate("(input) => input.getBoundingClientRect().top + scrollY")
        for key in ("Home", "PageUp", "End", "ArrowLeft"):
            page.keyboard.press(key)
            assert abs(slider.evaluate("(input) => input.getBoundingClientRect().top + scrollY") - where) < 1


# ---- axes that stay ----------------------------------------------------------------------------


def axis(picture) -> list[str]:
    """Every number at an axis and where it stands."""
    ask = (
        "all => all.map((text) => `${text.textContent} ${text.getAttribute('x')} ${text.getAttribute('y')}`)"
    )
    return picture.locator("text.wn-small").evaluate_all(ask)


PERCENT = "all => all.map((one) => one.dataset.percent).filter(Boolean)"


@pytest.mark.parametrize(
    "rel, widget, label, typed",
    [
        (PLAYGROUND, ".wn-playground", "A name begins with", "müller ж"),
        (PLAYGROUND, ".wn-tree", "A name so far", "müller ж"),
        (CONVOLUTION, ".wn-convolution", "A name", "müller ж"),
    ],
)
@pytest.mark.parametrize("width", [1280, 390])
def test_a_complaint_has_its_room(open_live, rel, widget, label, typed, width):
    root = open_live(rel, width=width, height=844).locator(widget)
    field, problem = root.get_by_label(label, exact=True), root.locator(".wn-problem")
    top = "(one) => one.getBoundingClientRect().top + scrollY"
    field.fill("mller")
    before = field.evaluate(top)
    field.fill(typed)
    assert abs(field.evaluate(top) - before) < 1
    assert "“ü”, the space and “ж” are left out: “mller” is read." in problem.inner_text()


@pytest.mark.parametrize("rel", [PLAYGROUND, "wavenet/06_scaling_up.html", "wavenet/13_beating_1993.html"])
def test_both_models_are_in_sight_while_a_phone_moves_a_control(open_live, rel):
    page = open_live(rel, width=390, height=664, touch=True)  # what a browser's own bars leave of 844
    playground = page.locator(".wn-playground")
    up = "(one) => scrollBy({ top: one.getBoundingClientRect().bottom - innerHeight, behavior: 'instant' })"
    top = "(one) => one.getBoundingClientRect().top"
    playground.get_by_label("Keep the likeliest").fill("5")
    for control in playground.locator(".wn-answer + .wn-controls :is(input, select)").all():
        control.evaluate(up)
        header = page.locator(".bd-header-article").bounding_box()
        for bars_ in playground.locator(".wn-bars").all():
            assert bars_.evaluate(top) >= header["y"] + header["height"]


def test_back_to_top_leaves_a_widget_alone(open_live):
    page = open_live(CONVOLUTION, width=390, height=844, touch=True)
    pill = page.locator("#pst-back-to-top")
    shown = lambda: pill.evaluate("(one) => getComputedStyle(one).visibility") == "visible"  # noqa: E731
    assert shown()
    page.locator(".wn-convolution").evaluate(
        "(one) => one.scrollIntoView({ block: 'end', behavior: 'instant' })"
    )
    page.wait_for_function("() => document.documentElement.hasAttribute('data-widget-below')")
    assert not shown()
    page.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
    page.wait_for_function("() => !document.documentElement.hasAttribute('data-widget-below')")
    assert shown()


def test_a_certain_letter_is_taller_than_a_likely_one(open_live):
    page = open_live(PLAYGROUND)
    panel = page.locator(".wn-playground .wn-panel").first
    before = bars(panel)
    said = panel.locator(".wn-track").evaluate_all(PERCENT)
    assert said and f"{max(before):.0f}%" in said
    page.locator(".wn-playground").get_by_label("Keep the likeliest").fill("1")
    assert max(bars(panel)) == 100 > 2 * max(before)
    full = panel.locator(".wn-fill").nth(bars(panel).index(100))
    heights = full.evaluate("(bar) => [bar.offsetHeight, bar.parentNode.offsetHeight]")
    page.wait_for_function(
        "(bar) => bar.offsetHeight > 0.98 * bar.parentNode.offsetHeight", arg=full.element_handle()
    )
    assert heights[1] > 80
    assert panel.locator(".wn-track").evaluate_all(PERCENT) == ["100%"]


def test_bug_and_repair_stand_on_one_axis(open_live):
    page = open_live("wavenet/05_batchnorm_fix.html")
    widget = page.locator(".wn-batchnorm")
    ticks = lambda: [text for text in axis(widget) if re.match(r"-?[0-9.]+ [0-9]", text)]  # noqa: E731

    def spread():
        ys = widget.locator(".wn-tick").evaluate_all(
            "all => all.map((one) => Number(one.getAttribute('y1')))"
        )
        return max(ys) - min(ys)

    before, bug = ticks(), spread()
    assert len(before) >= 3
    widget.get_by_label("dimensions 0 and 1").check()
    repair = spread()
    assert ticks() == before and repair < 0.6 * bug
    widget.get_by_label("Batch", exact=True).fill("0")
    assert ticks() == before and spread() > 1.8 * repair
    rows = widget.locator("rect:is(.wn-above, .wn-below)")
    xs = rows.evaluate_all("all => [...new Set(all.map((one) => one.getAttribute('x')))]")
    ys = rows.evaluate_all("all => [...new Set(all.map((one) => one.getAttribute('y')))]")
    assert (len(xs), len(ys)) == (4, 4), "a column a pair, a row an example: 4 of them in this batch"


def test_one_batch_and_twenty_thousand_stand_on_one_axis(open_live):
    page = open_live("wavenet/01_three_char_mlp.html")
    widget = page.locator(".wn-losses")
    slider = widget.get_by_label("Average over")

    def height():
        points = widget.locator("svg > svg > .wn-band").first.get_attribute("points").split()
        ys = [float(point.split(",")[1]) for point in points][len(points) // 20 : -len(points) // 20]
        return max(ys) - min(ys)

    slider.fill("0")
    one, single = axis(widget), height()
    slider.fill("13")
    assert slider.get_attribute("aria-valuetext") == "20,000 batches"
    assert axis(widget) == one and height() < 0.2 * single


def test_the_field_grows_on_axes_that_stay(open_live):
    page = open_live(BLOCKS)
    widget = page.locator(".wn-receptive")
    apart = "all => Number(all[1].getAttribute('cx')) - Number(all[0].getAttribute('cx'))"
    tallest = "all => Math.max(...all.map((one) => Number(one.getAttribute('height'))))"
    found = []
    for stacks in ("1", "3"):
        widget.get_by_label("Stacks", exact=True).fill(stacks)
        inputs, bars_ = widget.locator(".wn-field-input"), widget.locator(".wn-influence")
        found.append(
            (inputs.evaluate_all(apart), inputs.count(), bars_.evaluate_all(tallest), axis(widget)[:4])
        )
    (near, few, low, ticks), (far, many, high, later) = found
    assert (near, ticks) == (far, later) and many > 2 * few and high > low + 5


def test_the_search_keeps_its_axes(open_live):
    page = open_live(SEARCH)
    explorer = page.locator(".wn-explorer")
    before = axis(explorer)
    explorer.get_by_label("Keep the best").fill("2")
    explorer.get_by_role("button", name="Pin run").click()
    assert axis(explorer) == before


ON_THE_LINE = """(one) => {
  const { x, y } = one.getPointAtLength(3).matrixTransform(one.getScreenCTM());
  return [x, y];
}"""


def test_a_run_keeps_one_colour_and_no_bracket(open_live):
    page = open_live(SEARCH)
    explorer = page.locator(".wn-explorer")
    ranked = stored_trials()
    stroke = "(one) => getComputedStyle(one.querySelector('.wn-line') ?? one).stroke"
    best = explorer.get_by_role("option", name=re.compile(f"^Run {ranked[0]['number']},"))
    other = explorer.get_by_role("option", name=re.compile(f"^Run {ranked[-8]['number']},"))
    blue = best.evaluate(stroke)
    best.focus()
    page.keyboard.press("Enter")
    other.focus()
    page.keyboard.press("Enter")  # looked at, and pinned: its own colour in both pictures, with a rim
    colour = other.evaluate(stroke)
    assert len({blue, colour, best.evaluate(stroke)}) == 3, "no pin has the colour of the best"
    curves = "all => all.map((one) => getComputedStyle(one).stroke)"
    assert colour in explorer.locator(".wn-curve").evaluate_all(curves)
    assert explorer.locator("svg > svg > .wn-line.wn-looked").count() == 0, "no second line in another colour"
    ink = other.evaluate("(one) => getComputedStyle(one).color")
    rims = [other.locator(".wn-under"), explorer.locator("svg > svg > .wn-under")]
    assert [rim.evaluate("(one) => getComputedStyle(one).stroke") for rim in rims] == [ink, ink]
    best.focus()
    page.keyboard.press("Enter")  # the first is unpinned: the second keeps its colour
    assert other.evaluate(stroke) == colour
    assert explorer.locator(".wn-curve").evaluate_all(curves) == [colour]
    line = best.locator(".wn-hit")
    line.scroll_into_view_if_needed()
    page.mouse.click(*line.evaluate(ON_THE_LINE))
    assert page.evaluate("document.activeElement.getAttribute('role')") == "option"
    drawn = page.evaluate(
        "(() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle; })()"
    )
    assert drawn == "none"


# ---- names of old settings -----------------------------------------------------------------------


def test_names_of_old_settings_are_marked(open_live, axe):
    page = open_live(PLAYGROUND)
    playground = constrained(page, prefix="mar")
    stale, old = playground.locator(".wn-stale"), playground.locator(".wn-old")
    changes = {
        "Temperature": "0.5", "A name begins with": "mari", "Pattern": "m*a", "Only these letters": "mariel",
        "Keep the likeliest": "5", "Nucleus": "0.5", "Shortest": "4", "Longest": "9",
    }  # fmt: skip
    playground.get_by_role("button", name="Write 20 names").click()
    for label, value in changes.items():
        assert stale.inner_text() == "" and old.count() == 0
        field = playground.get_by_label(label)
        was = field.input_value()
        field.fill(value)
        assert (
            "These names are old. They were written with: temperature 1.00, beginning with “mar”."
            in stale.inner_text()
        )
        panels = old.locator(".wn-written").all()
        assert [len(names_in(panel)) for panel in panels] == [20, 20] and panels[0].is_visible()
        field.fill(was)  # as before: theirs again
    playground.get_by_label("Temperature").fill("0.5")
    assert axe(page) == []
    playground.get_by_role("button", name="Write 20 names").click()
    assert stale.inner_text() == "" and old.count() == 0
    playground.get_by_label("Temperature").fill("1")
    assert "written with: temperature 0.50, beginning" in stale.inner_text()
    playground.get_by_role("button", name="Write 20 names").click()
    was = playground.locator(".wn-names").all_inner_texts()
    playground.get_by_label("Model", exact=True).select_option("flat")
    said = "These names are old. They were written by “3 characters, flat” and “tree, scaled up” with: "
    assert said in stale.inner_text() and old.count() == 1
    assert playground.locator(".wn-names").all_inner_texts() == was, "another model leaves them"
    playground.get_by_label("Model", exact=True).select_option("mlp")
    assert stale.inner_text() == "" and old.count() == 0


# ---- the other widgets -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rel, widget, label, typed, said",
    [
        ("wavenet/04_flatten_consecutive.html", ".wn-tree", "A name so far", "José", "“é” is left out"),
        (CONVOLUTION, ".wn-convolution", "A name", "Zoé", "“é” is left out"),
        (CONVOLUTION, ".wn-convolution", "A name", "wolfeschlegelstein", "The first 14 letters are drawn."),
    ],
    ids=["tree", "convolution", "long"],
)
def test_what_a_drawing_leaves_out_is_said(open_live, rel, widget, label, typed, said):
    drawing = open_live(rel).locator(widget)
    problem = drawing.locator(".wn-problem")
    assert problem.inner_text() == ""
    drawing.get_by_label(label, exact=True).fill(typed)
    assert said in problem.inner_text() and problem.get_attribute("role") == "alert"
    drawing.get_by_label(label, exact=True).fill("emma")
    assert problem.inner_text() == ""


def test_the_tree_is_fused_level_by_level(open_live):
    page = open_live("wavenet/04_flatten_consecutive.html")
    tree = page.locator(".wn-tree")
    nodes = tree.locator(".wn-node")
    assert nodes.count() == 8 + 4 + 2 + 1
    assert tree.locator(".wn-node.wn-off").count() == 7
    tree.get_by_label("Level", exact=True).focus()
    for off, shape in ((3, "(1, 4, 68)"), (1, "(1, 2, 68)"), (0, "(1, 68)"), (0, "(1, 27)")):
        page.keyboard.press("ArrowRight")
        assert tree.locator(".wn-node.wn-off").count() == off
        assert shape in tree.locator(".wn-explanation").inner_text()
    # a letter changes the nodes above it, and no others
    text, colours = tree.get_by_label("A name so far"), "all => all.map((node) => node.innerHTML)"
    text.fill("isabella")
    before = nodes.evaluate_all(colours)
    text.fill("isabello")
    after = nodes.evaluate_all(colours)
    changed = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    # drawn from the top: 1 node, then 2, 4 and 8; the last letter is the rightmost leaf
    assert changed == [0, 2, 6, 14]


def test_a_character_is_asked_what_it_depends_on(open_live):
    page = open_live(PLAYGROUND)
    tree = page.locator(".wn-tree")
    before = tree.locator(".wn-influence").evaluate_all("all => all.map((bar) => bar.getAttribute('height'))")
    assert len(before) == 8
    tree.get_by_role("button", name=re.compile("^e, ")).click()
    after = tree.locator(".wn-influence").evaluate_all("all => all.map((bar) => bar.getAttribute('height'))")
    assert before != after and "“e”" in tree.inner_text()
    assert tree.get_by_role("button", name=re.compile("^e, ")).get_attribute("aria-pressed") == "true"


def test_a_letter_is_replaced_in_place_and_what_changes_is_framed(open_live, axe):
    page = open_live("wavenet/04_flatten_consecutive.html")
    tree = page.locator(".wn-tree")
    text, said, leaves = (
        tree.get_by_label("A name so far"),
        tree.locator(".wn-changes"),
        tree.locator(".wn-leaves > input"),
    )
    places = "all => all.flatMap((node, i) => (node.classList.contains('wn-changed') ? [i] : []))"
    framed = lambda: tree.locator(".wn-node").evaluate_all(places)  # noqa: E731
    assert framed() == [] and leaves.evaluate_all("all => all.map((one) => one.value).join('')") == "isabella"
    leaves.nth(2).click()
    page.keyboard.press("x")
    assert text.input_value() == "isxbella" and framed() == [0, 1, 4, 9]
    assert "“isabella”: 1 of 8 letters, 1 of 4, 1 of 2, 1 of 1" in said.inner_text()
    page.keyboard.press("ArrowRight")
    page.keyboard.insert_text("é")
    assert text.input_value() == "isxbella" and "“é” is left out" in tree.locator(".wn-problem").inner_text()
    page.keyboard.press("y")
    assert text.input_value() == "isxyella" and framed() == [0, 1, 4, 10]
    assert tree.locator(".wn-leaves > [tabindex='0']").count() == 1, "one stop for the Tab key"
    # in the field an edit lasts until it is left: all that Backspace moved is back in its place
    text.focus()
    page.keyboard.press("End")
    page.keyboard.press("Backspace")
    assert "7 of 8 letters, 4 of 4, 2 of 2, 1 of 1" in said.inner_text()
    page.keyboard.press("o")
    assert (
        framed() == [0, 2, 6, 14] and "since “isxyella”: 1 of 8 letters, 1 of 4, 1 of 2" in said.inner_text()
    )
    text.fill("em")
    assert leaves.evaluate_all("all => all.map((one) => one.readOnly)") == [True] * 6 + [False] * 2
    assert axe(page) == []


def test_shares_have_a_frame_of_all(open_live):
    tree = open_live("wavenet/04_flatten_consecutive.html").locator(".wn-tree")
    assert (
        tree.locator(".wn-influence").count() == 0 and "100%" not in tree.locator(".wn-legend").inner_text()
    )
    tree.get_by_role("slider", name="Level").fill("4")
    shares = tree.locator("svg:has(.wn-influence)")
    heights = "all => all.map((one) => Number(one.getAttribute('height')))"
    bars_, frames = (shares.locator(kind).evaluate_all(heights) for kind in (".wn-influence", ".wn-frame"))
    assert len(bars_) == len(frames) == 8 and sum(bars_) == pytest.approx(frames[0], abs=8 * 0.5)
    assert "a full frame is 100%" in shares.text_content()


def test_the_tree_plays(open_live):
    page = open_live("wavenet/04_flatten_consecutive.html")
    tree = page.locator(".wn-tree")
    page.clock.install()
    tree.get_by_role("button", name="Play").click()
    page.clock.run_for(10_000)
    assert tree.get_by_label("Level", exact=True).get_attribute("aria-valuetext") == "prediction"


def test_the_pages_convolution_is_pytorchs(open_live):
    page, network = open_live(CONVOLUTION), as_convolution(pretrained("scaled"))
    x, _, mask = sequences(SPLITS.val[:200], VOCABULARY)
    ask = "([x, T]) => document.querySelector('.wn-convolution').wavenet.logits(x, T)"
    in_page = torch.tensor(page.evaluate(ask, [x.flatten().tolist(), x.shape[1]])).view(*x.shape, 27)
    with evaluating(network):
        assert (in_page - network(x)).abs().max() < 1e-4


def states(widget) -> dict[str, int]:
    """How many nodes of each kind are drawn; an embedding that was looked up is none of those that count."""
    kinds = ("new", "found", "done", "lookup", "front", "kept", "later")
    return {kind: widget.locator(f".wn-node-{kind}").count() for kind in kinds}


def test_nodes_are_computed_once_and_found_again(open_live, axe):
    page = open_live(CONVOLUTION)
    widget = page.locator(".wn-convolution")
    widget.get_by_label("A name", exact=True).fill("deandre")
    slider = widget.get_by_label("Letters read")
    slider.focus()
    page.keyboard.press("Home")
    # the dot: 3 nodes are new; before it stand 6 + 4 nodes, 4 of them found, and 7 dots; 7 columns follow
    first = {"new": 3, "found": 0, "done": 0, "lookup": 1, "front": 17, "kept": 4, "later": 28}
    assert states(widget) == first and "computed now: 3, found: 4." in widget.inner_text()
    page.keyboard.press("End")
    assert slider.get_attribute("aria-valuetext") == "7"
    # found: 3 pairs, 1 four; the other 21 - 4 columns' nodes were for earlier predictions
    last = {"new": 3, "found": 4, "done": 17, "lookup": 8, "front": 17, "kept": 0, "later": 0}
    assert states(widget) == last
    said = widget.locator(".wn-counters").inner_text()
    assert "On levels 1 to 3, computed now: 3, found: 4. The tree would compute 7." in said
    assert "24 nodes instead of 56" in said
    status = widget.get_by_role("status")
    page.wait_for_function("(p) => p.textContent.includes('computed now: 3')", arg=status.element_handle())
    with evaluating(network := as_convolution(pretrained("scaled"))):
        p = torch.softmax(network(sequences(["deandre"], VOCABULARY)[0])[0, -1], 0)
    assert p.argmax() == 0, "the dot"
    assert f"“.deandre” the next character: the end {100 * p.max():.0f}%" in widget.inner_text()
    assert widget.get_by_role("button", name="Next letter").count() == 0, "there is none"
    widget.get_by_role("button", name="Start again").click()
    assert slider.get_attribute("aria-valuetext") == "0"
    assert widget.get_by_role("button", name="Next letter").count() == 1
    assert axe(page) == []


def test_a_nodes_receptive_field_is_drawn(open_live):
    page = open_live(CONVOLUTION)
    widget = page.locator(".wn-convolution")
    widget.get_by_label("A name", exact=True).fill("deandre")
    top = widget.get_by_role("button", name="level 3, column 8, sees .deandre")
    top.focus()
    assert widget.locator(".wn-seen").all_text_contents() == list(".deandre")
    assert widget.locator(".wn-field").count() == 8 + 4 + 2 + 1
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith(
        "level 2, column 7, sees andr:"
    )
    assert widget.locator(".wn-seen").all_text_contents() == list("andr")
    assert widget.locator(".wn-field").count() == 4 + 2 + 1
    assert widget.locator(".wn-mark-node[tabindex='0']").count() == 1, "one stop for the Tab key"
    widget.get_by_role("button", name="level 1, column 3, sees de:").hover()
    assert widget.locator(".wn-seen").all_text_contents() == list("de")
    page.mouse.move(0, 0)
    assert widget.locator(".wn-seen").all_text_contents() == list("andr")


def test_the_convolution_plays(open_live):
    page = open_live(CONVOLUTION)
    widget = page.locator(".wn-convolution")
    page.clock.install()
    widget.get_by_role("button", name="Play").click()
    assert widget.get_by_label("Letters read").get_attribute("aria-valuetext") == "0"
    page.clock.run_for(10_000)
    assert widget.get_by_label("Letters read").get_attribute("aria-valuetext") == "7"


BLOCKS = "wavenet/08_wavenet_blocks.html"


def counted_paths(kernel_size, dilations, block):
    """What comes out of a stack whose every weight is 1 when a single 1 goes in: paths, by distance."""

    def ones(layer):
        layer.weight = torch.ones_like(layer.weight, dtype=torch.float64)
        layer.before = torch.zeros(1, dtype=torch.float64)
        return layer

    x = torch.zeros((1, 1 + (kernel_size - 1) * sum(dilations), 1), dtype=torch.float64)
    x[0, 0], skips = 1, 0
    for dilation in dilations:
        z = ones(CausalConv1d(1, 1, kernel_size, dilation))(x)
        x, skips = (x + z if block in ("residual", "skip") else z), skips + z
    return (skips if block == "skip" else x).flatten().tolist()


@pytest.mark.parametrize(
    "kernel_size, layers, stacks, growth, block, channels",
    [
        (2, 3, 2, "doubling", "skip", 45),
        (2, 4, 1, "doubling", "gate", 16),
        (3, 5, 3, "doubling", "residual", 128),
        (4, 2, 2, "one", "tanh", 9),
    ],
)
def test_the_pages_paths_and_parameters_are_pytorchs(
    open_live, kernel_size, layers, stacks, growth, block, channels
):
    page = open_live(BLOCKS)
    widget = page.locator(".wn-receptive")
    wanted = {"Kernel size": kernel_size, "Layers in a stack": layers, "Stacks": stacks, "Channels": channels}
    for label, value in wanted.items():
        widget.get_by_label(label, exact=True).fill(str(value))
    widget.get_by_label("Dilations", exact=True).select_option(growth)
    widget.get_by_label("A block has", exact=True).select_option(block)
    now = page.evaluate("document.querySelector('.wn-receptive').wavenet.now()")
    dilations = [1 if growth == "one" else 2**i for i in range(layers)] * stacks
    assert now["dilations"] == dilations
    assert now["paths"] == counted_paths(kernel_size, dilations, block)
    parts = {"gate": block != "tanh", "residual": block in ("residual", "skip"), "skip": block == "skip"}
    model = WaveNet(27, channels, channels, dilations, kernel_size, **parts)
    assert now["parameters"] == count_parameters(model)
    said = widget.locator(".wn-counters").inner_text()
    assert f"Receptive field: {1 + (kernel_size - 1) * sum(dilations):,}." in said
    assert f"Paths: {int(sum(now['paths'])):,}." in said and f"Parameters: {now['parameters']:,}." in said


def test_an_output_is_clicked_and_its_field_is_drawn(open_live, axe):
    page = open_live(BLOCKS)
    widget = page.locator(".wn-receptive")
    picture = widget.locator("svg")
    inputs = widget.locator(".wn-field-input")
    assert inputs.count() == 15 and widget.locator(".wn-field-output").count() == 1
    assert widget.locator(".wn-influence").count() == 15, "a bar of paths for each input"
    before = float(widget.locator(".wn-field-output").get_attribute("cx"))
    box = picture.bounding_box()
    columns = round(box["width"] / float(widget.locator(".wn-field-input").last.get_attribute("cx")) * 63.5)
    picture.click(position={"x": box["width"] * (columns - 3.5) / columns, "y": 20})
    slider = widget.get_by_label("Output, places from the end")
    assert slider.get_attribute("aria-valuetext") == "3"
    assert float(widget.locator(".wn-field-output").get_attribute("cx")) < before
    assert "3 places from the end sees 15 inputs" in picture.get_attribute("aria-label")
    slider.focus()
    page.keyboard.press("End")
    assert inputs.count() == 1, "the first output: its field lies before the left edge"
    assert "14 of them before the left edge" in picture.get_attribute("aria-label")
    status = widget.get_by_role("status")
    page.wait_for_function(
        "(p) => p.textContent.includes('Receptive field: 15')", arg=status.element_handle()
    )
    assert axe(page) == []


def test_a_tall_field_is_told_beside_its_controls(open_live):
    page = open_live(BLOCKS, width=390, height=844, touch=True)
    widget = page.locator(".wn-receptive")
    for label in ("Stacks", "Layers in a stack", "Kernel size", "Channels"):
        widget.get_by_label(label, exact=True).press("End")
    assert "to the input 108 back (left of the picture), 1 to the furthest" in widget.inner_text()
    # what the sliders change stands right above them; the axis' words are above the bars, not under them
    counters, controls = (widget.locator(kind).bounding_box() for kind in (".wn-counters", ".wn-controls"))
    assert 0 <= controls["y"] - counters["y"] - counters["height"] < 40
    after = (
        "(word) => Boolean(word.compareDocumentPosition(word.parentNode.querySelector('.wn-influence')) & 2)"
    )
    words = widget.locator("svg .wn-plate")
    assert words.count() == 4 and all(word.evaluate(after) for word in words.all())
    widget.get_by_label("Stacks", exact=True).fill("1")
    widget.get_by_label("Layers in a stack", exact=True).fill("3")
    assert "left of the picture" not in widget.locator(".wn-explanation").inner_text()


def test_sound_can_be_played(open_live, axe):
    page = open_live(SOUND)
    widget = page.locator(".wn-listening")
    players = widget.locator("audio")
    assert players.count() == 5
    for i in range(5):
        player = players.nth(i).element_handle()
        page.wait_for_function("(audio) => audio.readyState >= 1 && audio.duration > 1.4", arg=player)
    place = widget.get_by_label("Place (seconds)", exact=True)
    place.fill("0.5")  # the head of each moves, and so does the place from which the next one plays
    heads = widget.locator(".wn-sound .wn-head")
    assert {heads.nth(i).evaluate("(one) => one.style.left") for i in range(5)} == {f"{100 / 3:.4f}%"}
    first = widget.get_by_role("button", name=re.compile("^Play: true sound"))
    first.focus()
    page.keyboard.press("Enter")
    assert widget.locator(".wn-playing").count() == 1
    widget.get_by_role("button", name=re.compile("^Play: writes freely, sees 1,024")).click()
    playing = widget.locator(".wn-playing")
    assert playing.count() == 1 and "1,024" in playing.inner_text()
    widget.get_by_role("button", name=re.compile("^Pause")).click()
    assert widget.locator(".wn-playing").count() == 0
    assert axe(page) == []


def test_batchnorms_axes_change_the_noise(open_live):
    page = open_live("wavenet/05_batchnorm_fix.html")
    widget = page.locator(".wn-batchnorm")

    def noise():
        said = widget.locator(".wn-note").last.inner_text()
        return [float(x) for x in re.search(r"scatters by ([\d., ]+) standard", said)[1].split(", ")]

    sizes = [widget.get_by_label("Batch", exact=True).get_attribute(end) for end in ("min", "value", "max")]
    assert sizes == ["0", "3", "7"]
    below = lambda: [float(x) for x in re.findall(r"± (\d\.\d+)", widget.locator("svg").inner_html())]  # noqa: E731
    told = below()
    assert len(told) == 5 and told[4] == pytest.approx(
        statistics.fmean(x**2 for x in told[:4]) ** 0.5, abs=2e-3
    )
    strokes = "all => new Set(all.map((one) => getComputedStyle(one).stroke)).size"
    assert widget.locator(".wn-group").evaluate_all(strokes) == 1, "blue and orange are numbers, no pairs"
    separate = noise()
    assert len(separate) == 4 and widget.locator(".wn-group").count() == 4
    assert below()[:4] == separate, "one unit in the drawing and in the note"
    assert all(0.02 < each < 0.27 for each in separate), "each is a mean of 32"
    assert separate[0] < 0.6 * separate[3], "one ruler: the first pair varies less than the last"
    widget.get_by_label("dimensions 0 and 1").check()
    [pooled] = noise()
    assert widget.locator(".wn-group").count() == 1 and below() == [pooled]
    assert separate[0] < pooled < min(separate[1:]), "what the widget's first line says"
    assert pooled < 0.75 * statistics.fmean(each**2 for each in separate) ** 0.5
    widget.get_by_label("Batch", exact=True).focus()
    page.keyboard.press("End")
    assert noise()[0] < 0.7 * pooled and "128 × 4 = 512" in widget.inner_text()
    picture = widget.locator("svg").first
    before = picture.inner_html()
    widget.get_by_role("button", name="Draw another batch").click()
    assert picture.inner_html() != before


def line_scatter(widget) -> float:
    """Standard deviation in nats of the line of the upper picture, between steps 100,000 and 140,000."""
    picture = widget.locator("svg:has(> svg > .wn-curve)").first
    ticks = [each.split() for each in axis(picture) if re.match(r"[0-9]\.[0-9] ", each)]
    (low, _, y0), (high, _, y1) = ticks[0], ticks[-1]
    scale = (float(high) - float(low)) / (float(y1) - float(y0))
    points = picture.locator(".wn-curve").first.get_attribute("points").split()
    ys = [float(point.split(",")[1]) for point in points]
    return statistics.stdev(ys[len(ys) // 2 : int(0.7 * len(ys))]) * abs(scale)


def test_smoothing_a_loss_curve(open_live):
    page = open_live("wavenet/01_three_char_mlp.html")
    widget = page.locator(".wn-losses")
    scatter = lambda: float(re.search(r"± ([\d.]+)", widget.locator(".wn-note").inner_text())[1])  # noqa: E731
    slider = widget.get_by_label("Average over")
    slider.focus()
    page.keyboard.press("Home")
    single, curve = scatter(), widget.locator(".wn-curve").first.get_attribute("points")
    assert 0.15 < single < 0.3
    # at 1 batch the line is a mess, too: it is not the mean of a column, which would show the step
    assert line_scatter(widget) > 0.5 * single
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "100 batches"
    assert scatter() == pytest.approx(single / 10, rel=0.35)
    assert widget.locator(".wn-curve").first.get_attribute("points") != curve


VALLEY = "wavenet/11_optimisers.html"
SEARCH = "wavenet/12_searching.html"


@pytest.mark.parametrize(
    "kind, optimizer",
    [("sgd", SGD()), ("momentum", SGD(momentum=0.9)), ("rmsprop", RMSprop()), ("adam", Adam())],
)
def test_the_pages_optimisers_are_the_modules(open_live, kind, optimizer):
    page, slope = open_live(VALLEY), torch.tensor([1.0, 30.0], dtype=torch.float64)
    ask = "(kind) => document.querySelector('.wn-valley').wavenet.path(kind, 0.02, 30, 10, 25)"
    in_page = torch.tensor(page.evaluate(ask, kind), dtype=torch.float64)
    p = torch.tensor([-4.0, 1.2], dtype=torch.float64)
    kept = optimizer.init(p)
    for step in range(26):
        torch.testing.assert_close(in_page[step], p, rtol=1e-9, atol=1e-9)
        p, kept = optimizer.update(p, 10 * slope * p, kept, 0.02)


def test_the_valley_is_walked(open_live, axe):
    page = open_live(VALLEY)
    valley = page.locator(".wn-valley")
    said = valley.locator(".wn-explanation")
    path = valley.locator(".wn-curve")
    before = path.get_attribute("points")
    valley.get_by_label("Optimiser", exact=True).select_option("adam")
    assert said.inner_text().startswith("Adam after") and path.get_attribute("points") != before
    before = path.get_attribute("points")
    valley.get_by_label("Gradients").select_option("1000")
    assert path.get_attribute("points") == before, "Adam does not see the unit"
    valley.get_by_label("Optimiser", exact=True).select_option("sgd")
    valley.get_by_label("Learning rate").focus()
    page.keyboard.press("End")
    assert re.search(r"far out of the valley; it left the picture at step \d+\.", said.inner_text())
    valley.get_by_label("Optimiser", exact=True).select_option("rmsprop")
    assert "height practically 0; at the start" in said.inner_text()
    valley.get_by_label("Optimiser", exact=True).select_option("sgd")
    status = valley.get_by_role("status")
    page.wait_for_function("(p) => p.textContent.includes('far out')", arg=status.element_handle())
    assert axe(page) == []


def stored_trials() -> list[dict]:
    """The trials of the stored sweep, best first."""
    report = json.loads((ROOT / "data" / "results" / "sweep.json").read_text(encoding="utf-8"))
    complete = [trial for trial in report["trials"] if trial["state"] == "complete"]
    return sorted(complete, key=lambda trial: trial["value"])


def test_runs_are_walked_and_pinned_by_keyboard(open_live, axe):
    page, trials = open_live(SEARCH), stored_trials()
    explorer = page.locator(".wn-explorer")
    lines = explorer.locator("[role='option']")
    assert lines.count() == len(trials)
    assert explorer.locator("[role='option'][tabindex='0']").count() == 1, "one stop for the Tab key"
    assert explorer.get_by_role("button", name="Unpin all").is_disabled(), "nothing is pinned at first"
    assert explorer.locator("table").count() == 0
    explorer.locator("[role='option'][tabindex='0']").focus()
    page.keyboard.press("Home")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    third = trials[2]
    said = explorer.locator(".wn-explanation").inner_text()
    assert (
        said.startswith(f"Run {third['number']}, number 3 of {len(trials)}: ")
        and f"{third['value']:.3f}" in said
    )
    page.keyboard.press("Enter")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    heads = explorer.locator("thead th").all_inner_texts()
    assert heads == ["pinned", f"run {third['number']}", f"run {trials[-1]['number']}"]
    losses = explorer.locator("tbody tr").first.locator("td").all_inner_texts()
    assert losses == [f"{third['value']:.3f}", f"{trials[-1]['value']:.3f}"]
    assert explorer.locator(".wn-curve").count() == 2
    assert explorer.locator("[role='option'][aria-selected='true']").count() == 2
    status = explorer.get_by_role("status")
    page.wait_for_function("(p) => p.textContent.startsWith('Pinned: run')", arg=status.element_handle())
    page.keyboard.press("Enter")
    assert explorer.locator("thead th").count() == 2, "a second Enter unpins"
    assert axe(page) == []


def test_runs_are_narrowed_down(open_live):
    page, trials = open_live(SEARCH), stored_trials()
    explorer = page.locator(".wn-explorer")
    adamw = [trial for trial in trials if trial["params"]["optimizer"] == "adamw"]
    explorer.get_by_label("Only runs with").select_option("optimizer=adamw")
    drawn = "[role='option'][aria-hidden='false']"
    assert explorer.locator(drawn).count() == len(adamw) < len(trials)
    assert f"{len(adamw)} of {len(trials)} runs are drawn" in explorer.inner_text()
    explorer.get_by_label("Keep the best").focus()
    page.keyboard.press("Home")
    assert explorer.locator(drawn).count() == 2
    explorer.locator("[role='option'][tabindex='0']").focus()
    page.keyboard.press("End")
    assert f"Run {adamw[1]['number']}, " in explorer.locator(".wn-explanation").inner_text()
    explorer.get_by_role("button", name="Pin run").click()
    assert " runs are drawn." in explorer.inner_text()
    faint = "(one) => Number(getComputedStyle(one.querySelector('.wn-line')).strokeOpacity)"
    assert min(line.evaluate(faint) for line in explorer.locator(drawn).all()) > 0.7, "few, and strong"
    explorer.get_by_label("Only runs with").select_option("optimizer=momentum")
    assert f"2 of {len(trials)} runs are drawn, and 1 pinned beside them." in explorer.inner_text()


def test_a_run_under_the_pointer_is_told_and_pressed(open_live):
    page = open_live(SEARCH)
    explorer = page.locator(".wn-explorer")
    worst = stored_trials()[-1]
    line = explorer.get_by_role("option", name=re.compile(f"^Run {worst['number']},"))
    line.dispatch_event("pointerenter")
    assert f"Run {worst['number']}," in explorer.locator(".wn-explanation").inner_text()
    line.dispatch_event("pointerleave")
    assert f"Run {worst['number']}," not in explorer.locator(".wn-explanation").inner_text()
    line.dispatch_event("click")
    assert explorer.locator("thead th").all_inner_texts() == ["pinned", f"run {worst['number']}"]


def test_a_control_that_needs_python_says_so(open_live):
    page = open_live("wavenet/01_three_char_mlp.html")
    assert "comes alive when the notebook runs in JupyterLab" in page.locator(".needs-kernel").inner_text()


@pytest.mark.parametrize(
    "rel",
    [
        PLAYGROUND,
        "wavenet/04_flatten_consecutive.html",
        "wavenet/05_batchnorm_fix.html",
        CONVOLUTION,
        BLOCKS,
        VALLEY,
    ],
)
def test_a_chapter_is_drawn_for_a_phone(open_live, rel):
    page = open_live(rel, width=360, height=740, theme="dark", motion="reduce")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for drawing in page.locator(".wn-drawing svg").all():
        assert 0 < drawing.bounding_box()["width"] <= 340


# ---- a translator ---------------------------------------------------------------------------------

PIECES = [
    "<pad>",
    "<s>",
    "</s>",
    "<unk>",
    "▁b",
    "lu",
    "▁blu",
    "▁blue",
    "▁",
    "b",
    "l",
    "u",
    "e",
    "c",
    "a",
    "r",
]
FRENCH = ["<pad>", "<s>", "</s>", "<unk>", "▁la", "▁voiture", "▁bleue", "▁", "s"]


def translating():
    model = Seq2Seq(
        len(PIECES), len(FRENCH), n_embd=8, n_hidden=12, generator=torch.Generator().manual_seed(2)
    )
    model.target.weight *= 4
    return model.eval()


@pytest.fixture(scope="session")
def translator(build_small):
    one = widgets.translator(translating(), PIECES, FRENCH, ["blue car", "car <img src=x onerror=caught++>"])
    pages = {"index.md": "# A small book\n\nIt has a widget.", "live.ipynb": page_of(one)}
    out, said = build_small(pages)
    assert out, said
    return out


@pytest.mark.xdist_group("translator")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_sentence_is_translated_with_its_map_as_by_pytorch(translator, open_live, axe, theme):
    page = open_live("live.html", folder=translator, width=360, height=740, theme=theme)
    page.evaluate("window.caught = 0")
    shown, model = page.locator(".wn-translator").first, widgets.rounded(translating(), 8)
    source = [7, 8, 13, 14, 15, 2]  # ▁blue ▁ c a r, the end
    written = taught()["greedy"](model, torch.tensor([source]), 20)[0].tolist()
    written = [token for token in written if token]
    with evaluating(model):
        given = torch.tensor([[1, *written[:-1]]])
        weights = model.decode(given, *model.encode(torch.tensor([source])))[2][0]
    rows = shown.locator(".wn-map tbody tr")
    assert rows.count() == len(written)
    shares = rows.evaluate_all(
        """all => all.map((row) => [...row.querySelectorAll("td")].map((one) =>
          Number(one.style.getPropertyValue("--wn-share"))))"""
    )
    torch.testing.assert_close(torch.tensor(shares), weights, atol=1e-3, rtol=0)
    assert shown.locator(".wn-map thead th").all_inner_texts() == ["blue", "␣", "c", "a", "r", "end"]
    rows.first.locator("button").focus()
    assert "of its weight" in shown.inner_text()
    assert axe(page) == []
    field = shown.get_by_label("A sentence in English", exact=True)
    field.fill("car <img src=x onerror=caught++> blue " + "r" * 60)
    assert "Unknown to the model" in shown.inner_text() and "left out" in shown.inner_text()
    assert shown.bounding_box()["width"] <= 360
    field.fill("")
    assert "No word yet" in shown.inner_text() and rows.count() == 0
    assert page.evaluate("window.caught") == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_chapters_map_shows_where_each_step_looked(open_live, theme):
    """On the chapter's own page, whose style sheet has rules for tables."""
    page = open_live("rnn/05_translation.html", theme=theme)
    cells = page.locator(".wn-translator .wn-map tbody td")
    assert cells.count() > 50
    colours = "all => new Set(all.map((one) => getComputedStyle(one).backgroundColor)).size"
    assert cells.evaluate_all(colours) > 20
    assert cells.first.evaluate("(one) => getComputedStyle(one).borderBottomWidth") == "0px"


# ---- a sentence, word by word ---------------------------------------------------------------------

SENTENCES = ["A warm, funny film with a big heart.", "It isn't good, it's a mess."]


def page_of(*shown) -> str:
    """A notebook that stores these widgets, as if each were the value of a cell."""
    cells = [nbformat.v4.new_markdown_cell("# Widgets\n\nNothing but widgets, one below the other.", id="a")]
    for i, widget in enumerate(shown):
        output = nbformat.v4.new_output(
            "execute_result", widget._repr_mimebundle_()[0], execution_count=i + 1
        )
        cells.append(nbformat.v4.new_code_cell("shown", execution_count=i + 1, outputs=[output], id=f"w{i}"))
    nb = nbformat.v4.new_notebook(cells=cells)
    nb.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nb.metadata["widgets"] = {WIDGET_STATE: type(shown[0]).get_manager_state(widgets=shown)}
    return nbformat.writes(nb)


def sentence_model(**how):
    g = torch.Generator().manual_seed(5)
    model = SentenceClassifier(len(READ), n_embd=16, n_hidden=24, **how, generator=g)
    for p in model.parameters():
        p += 0.3 * torch.randn(p.shape, generator=g)
    return model.eval()


READ = words_of(["a warm funny film with big heart , . it isn't good it's mess not"], minimum=1)
BOTH, FORWARDS = sentence_model(), sentence_model(layer=GRU, bidirectional=False, pool="last")


FREE = (RNN(1, 16, generator=torch.Generator().manual_seed(1)), Linear(16, 1, generator=torch.Generator()))
OLDEST_FIRST = [-1.0, 3.866, -5.735, 3.866]
SERIES = [math.cos(t / 5) for t in range(250)]


@pytest.fixture(scope="session")
def sentences(build_small):
    """A page with two readers, of a model that reads from both ends and of one that carries its state, and a
    wave to draw."""
    one = widgets.sentence_reader(BOTH, READ, SENTENCES, temperature=1.5, halve_above=10)
    two = widgets.sentence_reader(FORWARDS, READ, text="good")
    three = widgets.wave_drawing(
        {"some": (*FREE, OLDEST_FIRST), "half": (*FREE, [1.0])}, SERIES, units={"half": 0.5}
    )
    pages = {"index.md": "# A small book\n\nIt has widgets.", "live.ipynb": page_of(one, two, three)}
    out, said = build_small(pages)
    assert out, said
    return out


def after_each(model, text, temperature=1.0):
    """By PyTorch: the probability after each word."""
    words = READ.encode(tokenize(text))
    with evaluating(model):
        rows = [model(torch.tensor([words[: i + 1]]))[0] for i in range(len(words))]
    return [torch.softmax(row / temperature, 0)[1].item() for row in rows]


def shown_after_each(reader):
    """What stands in the columns, in percent; and how far each reaches from the line, with its sign."""
    said = reader.locator(".wn-column > :last-child").all_inner_texts()
    reach = reader.locator(".wn-part").evaluate_all(
        "all => all.map((one) => (one.style.bottom ? 1 : -1) * parseFloat(one.style.height))"
    )
    return [float(text.rstrip("%")) for text in said], reach


@pytest.mark.xdist_group("sentences")
@pytest.mark.parametrize("which, temperature", [(0, 1.5), (1, 1.0)])
def test_each_word_has_pytorchs_probability(sentences, open_live, axe, which, temperature):
    page = open_live("live.html", folder=sentences)
    reader, model = page.locator(".wn-reader").nth(which), (widgets.rounded(BOTH), FORWARDS)[which]
    field = reader.get_by_label("A sentence", exact=True)
    for text in (*SENTENCES, "Not good, not big: it's a MESS!"):
        field.fill(text)
        assert reader.locator(".wn-token").all_inner_texts() == [
            word if word in READ.tokens else f"{word}?" for word in tokenize(text)
        ]
        wanted = after_each(model, text, temperature)
        said, reach = shown_after_each(reader)
        assert said == pytest.approx([100 * p for p in wanted], abs=0.55)
        assert reach == pytest.approx([100 * (p - 0.5) for p in wanted], abs=0.01)
        moves = [round(100 * (b - a)) for a, b in zip([0.5, *wanted], wanted, strict=False)]
        told = [int(move.replace("−", "-")) for move in reader.locator(".wn-move").all_inner_texts()]
        assert told == pytest.approx(moves, abs=1)
        most = max(range(len(moves)), key=lambda i: abs(wanted[i] - [0.5, *wanted][i]))
        assert f"What moved it most: “{tokenize(text)[most]}”" in reader.inner_text()
        assert ("Unknown to the model, and one and the same to it: “:”, “!”." in reader.inner_text()) == (
            "MESS" in text
        )
    assert ("from both ends" in reader.inner_text()) == (which == 0)
    assert ("The state is carried" in reader.inner_text()) == (which == 1)
    status = reader.get_by_role("status")
    page.wait_for_function("(p) => p.textContent.includes('moved it most')", arg=status.element_handle())
    assert axe(page) == []


@pytest.mark.xdist_group("sentences")
def test_500_sentences_are_read_in_the_page_as_by_pytorch(sentences, open_live):
    page, g = open_live("live.html", folder=sentences), torch.Generator().manual_seed(3)
    ask = "([which, all]) => all.map(document.querySelectorAll('.wn-reader')[which].wavenet.logits)"
    read = [
        torch.randint(1, len(READ), (int(torch.randint(1, 30, (1,), generator=g)),), generator=g)
        for _ in range(500)
    ]
    for which, model in enumerate((widgets.rounded(BOTH), FORWARDS)):
        found = torch.tensor(page.evaluate(ask, [which, [words.tolist() for words in read]]))
        with evaluating(model):
            wanted = torch.stack([model(words[None])[0] for words in read])
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


@pytest.mark.xdist_group("sentences")
def test_sentences_are_chosen_and_read_slowly_by_keyboard(sentences, open_live):
    page = open_live("live.html", folder=sentences)
    reader = page.locator(".wn-reader").first
    field, which = reader.get_by_label("A sentence", exact=True), reader.get_by_label("Or one of these")
    assert field.input_value() == SENTENCES[0]
    which.focus()
    page.keyboard.press("ArrowDown")
    assert field.input_value() == SENTENCES[1] and reader.locator(".wn-word").count() == 8
    field.focus()
    page.keyboard.type(" x")
    assert which.input_value() == ""
    assert reader.locator(".wn-strange .wn-token").all_inner_texts() == ["x?"]
    reader.get_by_role("button", name="Read it word by word").focus()
    page.keyboard.press("Enter")
    assert reader.locator(".wn-word.wn-off").count() == 9
    page.wait_for_function("() => document.querySelectorAll('.wn-reader .wn-word.wn-off').length < 8")
    field.fill(" ".join(SENTENCES))
    page.wait_for_timeout(700)
    assert reader.locator(".wn-word.wn-off").count() == 0, "what is typed ends the slow reading"
    field.fill("")
    assert "No word yet" in reader.inner_text() and reader.locator(".wn-word").count() == 0
    page.wait_for_timeout(1000)
    assert reader.locator(".wn-word").count() == 0


@pytest.mark.xdist_group("sentences")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_long_sentence_fits_a_phone_and_says_what_is_left_out(sentences, open_live, axe, theme):
    page = open_live("live.html", folder=sentences, width=360, height=740, theme=theme)
    reader = page.locator(".wn-reader").first
    page.evaluate("window.caught = 0")
    reader.get_by_label("A sentence", exact=True).fill(
        "<img src=x onerror=caught++> " + "good mess " * 30 + "x" * 80
    )
    assert reader.locator(".wn-word").count() == 60
    assert "The first 60 words are read, 12 are left out." in reader.inner_text()
    reader.get_by_label("A sentence", exact=True).fill("a " * 10 + "x" * 80)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("caught") == 0 and page.locator(".wn img").count() == 0
    assert axe(page) == []


# ---- a wave to draw -------------------------------------------------------------------------------


def free_run(given, steps):
    """By PyTorch: each forecast is the next input."""
    rnn, out = FREE
    outputs, state = rnn(given[..., None])
    wave = [out(outputs[:, -1:])]
    while len(wave) < steps:
        outputs, state = rnn(wave[-1], state)
        wave.append(out(outputs))
    return torch.cat(wave, 1)[..., 0]


@pytest.mark.xdist_group("sentences")
def test_500_waves_run_free_in_the_page_as_in_pytorch(sentences, open_live):
    page = open_live("live.html", folder=sentences)
    given = torch.randn((500, 150), generator=torch.Generator().manual_seed(3))
    ask = """(all) => {
      const { freeRun, weighedRun } = document.querySelector(".wn-wave").wavenet;
      return all.map((wave) => [freeRun(0, wave, 100), weighedRun([0.25, -0.5, 1], wave, 100)]);
    }"""
    found = torch.tensor(page.evaluate(ask, given.tolist()), dtype=torch.float64)
    torch.testing.assert_close(found[:, 0].float(), free_run(given, 100), atol=1e-4, rtol=0)
    wave = given.double()
    for _ in range(100):
        following = wave[:, -3:] @ torch.tensor([0.25, -0.5, 1]).double()
        wave = torch.cat([wave, following[:, None]], 1)
    torch.testing.assert_close(found[:, 1], wave[:, -100:], atol=1e-6, rtol=0)


def lines_of(wave):
    """The polylines of the drawing by colour, in units of the wave, each from left to right."""
    return wave.evaluate("""(root) => {
      const at = [...root.querySelectorAll(".wn-gridline")].map((each) => Number(each.getAttribute("y1")));
      const value = (point) => (Number(point.split(",")[1]) - at[1]) / (at[2] - at[1]);
      return Object.fromEntries([...root.querySelectorAll("polyline")].map((line) =>
        [[...line.classList].slice(1).join(" "), line.getAttribute("points").split(" ").map(value)]));
    }""")


@pytest.mark.xdist_group("sentences")
def test_presets_are_continued_and_judged(sentences, open_live, axe):
    page = open_live("live.html", folder=sentences)
    wave = page.locator(".wn-wave")
    whole = torch.tensor(
        [0.5 * math.sin(math.tau * t / 20) + 0.5 * math.sin(math.tau * t / 33 + 1) for t in range(250)]
    )
    lines = lines_of(wave)
    assert lines["wn-ink"] == pytest.approx(whole[:150].tolist(), abs=2e-3)
    assert lines["wn-ink wn-thin"][1:] == pytest.approx(whole[150:].tolist(), abs=2e-3)
    free = free_run(whole[None, :150], 100)[0]
    assert lines["wn-red"][1:] == pytest.approx(free.tolist(), abs=2e-3)
    error = (free - whole[150:]).square().mean().sqrt().item()
    assert f"the network has an error of {error:.2f}; the weighted sum has an error of" in wave.inner_text()
    for title in ("one sine of 20", "sines of 25 and 28", "a square wave", "a flat line", "chaos"):
        before = lines_of(wave)
        wave.get_by_label("Begin with").select_option(label=title)
        assert all(before[name] != line for name, line in lines_of(wave).items())
    assert lines_of(wave)["wn-ink"] == pytest.approx(SERIES[:150], abs=2e-3)
    wave.get_by_label("Both were fitted to").select_option("half")
    half = 0.5 * free_run(2 * torch.tensor(SERIES)[None, :150], 100)[0]
    assert lines_of(wave)["wn-red"][1:] == pytest.approx(half.tolist(), abs=2e-3)
    assert lines_of(wave)["wn-soft wn-broken wn-wider"] == pytest.approx([SERIES[149]] * 101, abs=2e-3)
    status = wave.get_by_role("status")
    page.wait_for_function("(p) => p.textContent.includes('Over 100 steps')", arg=status.element_handle())
    assert axe(page) == []


@pytest.mark.xdist_group("sentences")
def test_noise_is_read_and_seen(sentences, open_live):
    page = open_live("live.html", folder=sentences)
    wave = page.locator(".wn-wave")
    wave.get_by_label("Begin with").select_option("flat")
    wave.get_by_label("Noise").focus()
    page.keyboard.press("End")
    read = torch.tensor(lines_of(wave)["wn-ink"])
    assert 0.07 < read.std() < 0.13 and abs(read.mean() - 0.5) < 0.04
    assert "the weighted sum leaves the drawing after" in wave.inner_text()


@pytest.mark.xdist_group("sentences")
@pytest.mark.parametrize("width, touch", [(1200, False), (360, True)])
def test_a_wave_is_drawn_with_mouse_or_finger(sentences, open_live, width, touch):
    page = open_live("live.html", folder=sentences, width=width, touch=touch)
    wave = page.locator(".wn-wave")
    wave.scroll_into_view_if_needed()
    box = wave.locator(".wn-pad").bounding_box()
    before = lines_of(wave)
    y = box["y"] + box["height"] * 0.25
    stroke = [box["x"] + box["width"] * share for share in (0.005, 0.5, 0.7, 0.9, 1.3)]
    if touch:
        send = page.context.new_cdp_session(page).send
        for x in stroke:
            kind = "touchStart" if x == stroke[0] else "touchMove"
            send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
        send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.wait_for_function("() => !document.querySelector('.wn-wave .wn-thin')")
    else:
        page.mouse.move(stroke[0], y)
        page.mouse.down()
        for x in stroke:
            page.mouse.move(x, y)
        page.mouse.up()
    lines = lines_of(wave)
    assert lines["wn-ink"][1:] == pytest.approx([lines["wn-ink"][75]] * 149, abs=0.02), "no gap in the stroke"
    assert 0.6 < lines["wn-ink"][75] < 0.9 and "wn-ink wn-thin" not in lines
    assert lines["wn-red"] != before["wn-red"]
    assert "How your own wave goes on, nobody knows." in wave.inner_text()
    assert wave.get_by_label("Begin with").input_value() == ""
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.xdist_group("sentences")
def test_a_wave_is_drawn_by_keyboard(sentences, open_live, axe):
    page = open_live("live.html", folder=sentences, width=390, theme="dark")
    wave = page.locator(".wn-wave")
    wave.get_by_label("Begin with").select_option("flat")
    pad = wave.get_by_role("slider", name="the wave")
    pad.focus()
    assert pad.get_attribute("aria-valuetext") == "step 76 of 150: 0.50"
    page.keyboard.press("PageDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    assert pad.get_attribute("aria-valuetext") == "step 87 of 150: 0.60"
    drawn = lines_of(wave)["wn-ink"]
    assert drawn[86] == pytest.approx(0.6, abs=2e-3) and 0.5 < drawn[83] < 0.6
    assert drawn[80] == drawn[92] == pytest.approx(0.5, abs=2e-3)
    for _ in range(40):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    assert min(lines_of(wave)["wn-ink"]) == pytest.approx(-1.5, abs=2e-3)
    assert pad.get_attribute("aria-valuetext") == "step 150 of 150: 0.50"
    assert axe(page) == []


@pytest.mark.parametrize("width, theme", [(1280, "light"), (390, "dark")])
def test_the_chapters_forecasts_continue_what_they_know_and_mind_what_they_do_not(
    open_live, axe, width, theme
):
    page = open_live("rnn/01_sine_wave.html", width=width, theme=theme)
    wave = page.locator(".wn-wave")
    errors = r"network has an error of ([\d.]+); the weighted sum (.*)\."

    def judged(preset, network, noise=0.0):
        wave.get_by_label("Begin with").select_option(preset)
        wave.get_by_label("Both were fitted to").select_option(label=network)
        wave.get_by_label("Noise").fill(str(noise))
        error, linear = re.search(errors, wave.locator(".wn-explanation").inner_text()).groups()
        return float(error), linear

    error, linear = judged("sum", "sines")
    assert error < 0.1 and linear == "has an error below 0.001"
    error, linear = judged("sum", "sines", 0.02)
    assert error < 0.1 and linear.startswith("leaves the drawing after")
    error, linear = judged("others", "sines")
    assert error > 0.3 and float(linear.split()[-1]) > 0.3
    error, linear = judged("chaos", "chaos")
    assert error < 0.25 and float(linear.split()[-1]) > error
    assert judged("square", "chaos")[1].startswith("leaves the drawing after")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert axe(page) == []


# ---- a text that a model writes on ----------------------------------------------------------------

TEXT = Vocabulary("abcdefghijk ABC\n.,'-", end="<end>")


def text_model(layer):
    """One whose gates open and close, and that would write the end more often than anything else."""
    g = torch.Generator().manual_seed(7)
    model = StatefulNetwork(len(TEXT), layer, n_embd=8, n_hidden=14, generator=g)
    for p in model.parameters():
        p += 0.4 * torch.randn(p.shape, generator=g)
    model.output.bias[TEXT.end_index] += 3
    return model.eval()


WRITERS = {kind.__name__: text_model(kind) for kind in (LSTM, GRU, RNN)}


@pytest.fixture(scope="session")
def writing(build_small):
    """A page with a writer of each kind of layer; of the first the weights have 8 bits."""
    shown = [
        widgets.text_writer(
            model, TEXT, text="A bad\ncab", units={"the line": 3, "a name": 13}, temperature=0.8,
            halve_above=10**(1 if kind == "LSTM" else 9),
        )
        for kind, model in WRITERS.items()
    ]  # fmt: skip
    out, said = build_small({"index.md": "# A small book\n\nIt has widgets.", "live.ipynb": page_of(*shown)})
    assert out, said
    return out


def at_rest(page):
    page.wait_for_function("() => !document.querySelector('.wn-text[aria-busy=true]')")


def shown_by(writer) -> dict:
    at_rest(writer.page)
    return writer.evaluate("(root) => root.wavenet.shown()")


def by_pytorch(model, indices):
    """Logits, outputs of the layer, and the bits of every character but the first."""
    x = torch.tensor([indices])
    logits, h = model(x)[0], model.recurrent(model.embedding(x))[0][0]
    bits = -torch.log_softmax(logits[:-1], -1).gather(1, x[0, 1:, None])[:, 0] / math.log(2)
    return logits, h, bits


@pytest.mark.xdist_group("writing")
@pytest.mark.parametrize("which, kind", list(enumerate(WRITERS)))
def test_a_writers_logits_and_activations_are_pytorchs(writing, open_live, which, kind):
    page, g = open_live("live.html", folder=writing), torch.Generator().manual_seed(3)
    model = rounded(WRITERS[kind], 8) if kind == "LSTM" else WRITERS[kind]
    writer = page.locator(".wn-writer").nth(which)
    for length in (1, 2, 30, 300):
        indices = torch.randint(1, len(TEXT), (length,), generator=g).tolist()
        found = writer.evaluate("(root, indices) => root.wavenet.read(indices)", indices)
        for name, wanted in zip(("logits", "activations", "bits"), by_pytorch(model, indices), strict=True):
            there = torch.tensor(found[name][1:] if name == "bits" else found[name])
            torch.testing.assert_close(there, wanted, atol=1e-4, rtol=0)


@pytest.mark.xdist_group("writing")
def test_a_writer_draws_from_the_books_probabilities_without_the_end(writing, open_live):
    page = open_live("live.html", folder=writing)
    rows = 3 * torch.randn((50, len(TEXT)), generator=torch.Generator().manual_seed(3))
    ask = (
        "([rows, t]) => rows.map((row) => document.querySelector('.wn-writer').wavenet.probabilities(row, t))"
    )
    barred = rows.index_fill(1, torch.tensor([TEXT.end_index]), -torch.inf)
    for temperature in (0.1, 0.7, 1.0, 2.0):
        found = torch.tensor(page.evaluate(ask, [rows.tolist(), temperature]))
        torch.testing.assert_close(found, probabilities(barred, temperature=temperature))


@pytest.mark.xdist_group("writing")
def test_writing_keeps_the_state(writing, open_live):
    """What was written was never read again, and equals what reading it from the beginning gives."""
    page = open_live("live.html", folder=writing)
    for writer, (kind, model) in zip(page.locator(".wn-writer").all(), WRITERS.items(), strict=True):
        writer.get_by_role("button", name="Write on").click()
        shown = shown_by(writer)
        assert shown["written"] == 200 and len(shown["indices"]) == 209
        assert shown["text"].startswith("A bad\ncab") and TEXT.end_index not in shown["indices"]
        assert writer.locator(".wn-text").evaluate("(one) => one.lastChild.textContent") == shown["text"][9:]
        model = rounded(model, 8) if kind == "LSTM" else model
        _, h, _ = by_pytorch(model, TEXT.encode(shown["text"]))
        torch.testing.assert_close(torch.tensor(shown["activations"]), h, atol=1e-4, rtol=0)


@pytest.mark.xdist_group("writing")
def test_the_same_clicks_write_the_same_text(writing, open_live):
    texts = {}
    for seed, temperature in [(0, 0.8), (0, 0.8), (1, 0.8), (0, 1.5)]:
        writer = open_live("live.html", folder=writing).locator(".wn-writer").first
        writer.get_by_label("Seed").fill(str(seed))
        writer.get_by_label("Temperature").fill(str(temperature))
        for _ in range(2):
            writer.get_by_role("button", name="Write on").click()
        shown = shown_by(writer)
        assert shown["written"] == 400
        assert texts.setdefault((seed, temperature), shown["text"]) == shown["text"]
    assert len(set(texts.values())) == 3
    writer.get_by_role("button", name="Again").click()
    assert shown_by(writer)["text"] == "A bad\ncab"
    writer.get_by_role("button", name="Write on").click()
    again = shown_by(writer)["text"]
    assert len(again) == 209 and texts[0, 1.5].startswith(again), "the draws begin anew"
    field = writer.get_by_label("The beginning of a text")
    field.fill(again[:15])  # some of what the model wrote: it is read already
    shown = shown_by(writer)
    assert (shown["text"], shown["written"]) == (again[:15], 0)
    parts = writer.locator(".wn-text > span")
    assert [part.text_content() for part in parts.all()] == [again[:15], "", ""]


SLOW = """() => {
  let time = 0;
  performance.now = () => (time += 15); // two steps, and a slice of work is over
}"""


@pytest.mark.xdist_group("writing")
def test_a_text_streams_until_it_is_stopped(writing, open_live):
    page = open_live("live.html", folder=writing)
    writer = page.locator(".wn-writer").first
    writer.get_by_role("button", name="Write on").click()
    whole = shown_by(writer)["text"]
    writer.get_by_role("button", name="Again").click()
    page.evaluate(SLOW)
    pieces = writer.evaluate("""async (root) => {
      const [on, stop] = root.querySelectorAll(".wn-buttons button");
      const lengths = [];
      on.click();
      for (let frame = 0; frame < 10; frame++) {
        lengths.push(root.wavenet.shown().written);
        await new Promise(requestAnimationFrame);
      }
      stop.click();
      return lengths;
    }""")
    assert pieces[0] == 2 and pieces == sorted(pieces) and 10 < pieces[-1] < 60
    stopped = shown_by(writer)
    assert stopped["written"] < 100 and whole.startswith(stopped["text"])
    page.wait_for_timeout(200)
    assert shown_by(writer) == stopped


@pytest.mark.xdist_group("writing")
def test_what_was_read_is_not_read_again(writing, open_live):
    page = open_live("live.html", folder=writing)
    writer, text = page.locator(".wn-writer").first, "a bad cab, " * 30
    field = writer.get_by_label("The beginning of a text")
    field.fill(text)
    assert shown_by(writer)["text"] == text
    page.evaluate(SLOW)
    at_once = """(root, text) => {
      const field = root.querySelector("textarea");
      field.value = text;
      field.dispatchEvent(new Event("input"));
      return root.wavenet.shown().text;
    }"""
    assert writer.evaluate(at_once, text + "a") == text + "a"
    assert writer.evaluate(at_once, text[:100]) == text[:100]
    changed = "A" + text[1:100]
    assert writer.evaluate(at_once, changed) == changed[:2], "all of it is read anew, in slices"
    assert shown_by(writer)["text"] == changed
    again = """(root) => {
      const [on, , again] = root.querySelectorAll(".wn-buttons button");
      on.click();
      again.click();
      return root.wavenet.shown().text;
    }"""
    assert writer.evaluate(again) == changed


@pytest.mark.xdist_group("writing")
def test_a_text_is_full_in_the_end(writing, open_live):
    writer = open_live("live.html", folder=writing).locator(".wn-writer").first
    for _ in range(16):
        writer.get_by_role("button", name="Write on").click()
    assert len(shown_by(writer)["text"]) == 3000
    assert "The text is full: 3,000 characters." in writer.inner_text()
    writer.get_by_label("The beginning of a text").fill("a" * 1500)
    assert len(shown_by(writer)["text"]) == 1000


def tints(writer):
    """The class and the share of the strongest tint of each character."""
    return writer.locator(".wn-char").evaluate_all(
        "all => all.map((one) => [one.classList[1], Number(one.style.getPropertyValue('--wn-share'))])"
    )


@pytest.mark.xdist_group("writing")
def test_a_text_is_coloured_by_its_surprise_and_by_a_unit(writing, open_live, axe):
    page = open_live("live.html", folder=writing)
    writer, model = page.locator(".wn-writer").first, rounded(WRITERS["LSTM"], 8)
    writer.get_by_role("button", name="Write on").click()
    text = shown_by(writer)["text"]
    _, h, bits = by_pytorch(model, TEXT.encode(text))
    assert {share for _, share in tints(writer)} == {0}
    colour = writer.get_by_label("Colour the text by")
    colour.select_option("surprise")
    found = tints(writer)
    assert {hue for hue, _ in found} == {"wn-pink"} and found[0][1] == 0
    wanted = (bits / 8).clamp(max=1).tolist()
    assert [share for _, share in found[1:]] == pytest.approx(wanted, abs=1e-3)
    assert f"yours {bits[:8].mean():.2f}, the model's {bits[8:].mean():.2f}." in writer.inner_text()
    for title, unit in (("the line", 3), ("a name", 13), ("another unit", 5)):
        colour.select_option(title)
        if title == "another unit":
            writer.get_by_label("Unit", exact=True).fill("5")
            title = "unit 5"
        values = h[:, unit]
        found = tints(writer)
        assert [share for _, share in found] == pytest.approx(values.abs().tolist(), abs=1e-3)
        assert [hue == "wn-blue" for hue, _ in found] == (values > 0).tolist()
        assert {hue for hue, _ in found} == {"wn-blue", "wn-colour-1"}
        low, high = (f"{value:.2f}".replace("-", "−") for value in (values.min(), values.max()))
        said = writer.inner_text()
        assert f"{title} goes from {low} after" in said and f" to {high} after " in said
        assert writer.locator(".wn-legend > li").all_inner_texts()[2:] == [
            "above 0, up to 1", "below 0, down to −1"]  # fmt: skip
    backgrounds = "all => new Set(all.map((one) => getComputedStyle(one).backgroundColor)).size"
    assert writer.locator(".wn-char").evaluate_all(backgrounds) > 100
    status = writer.get_by_role("status")
    page.wait_for_function(
        "(p) => p.textContent.includes('characters are written')", arg=status.element_handle()
    )
    assert axe(page) == []


@pytest.mark.xdist_group("writing")
def test_a_character_is_looked_at_by_pointer_and_by_keyboard(writing, open_live):
    page = open_live("live.html", folder=writing)
    writer, model = page.locator(".wn-writer").first, rounded(WRITERS["LSTM"], 8)
    said = writer.locator(".wn-explanation")
    on = writer.get_by_role("button", name="Write on")
    on.focus()
    page.keyboard.press("Enter")
    text = shown_by(writer)["text"]
    logits, h, bits = by_pytorch(model, TEXT.encode(text))
    assert on.evaluate("(one) => one === document.activeElement"), "the focus stays on the button"
    assert said.inner_text().startswith("Character 209, the model's: ")
    look = writer.get_by_label("Look at character")
    look.focus()
    page.keyboard.press("Home")
    assert said.inner_text() == "Character 1, yours: “A”. Nothing came before it, so nothing was expected."
    writer.get_by_label("Colour the text by").select_option("the line")
    for _ in range(5):
        look.focus()
        page.keyboard.press("ArrowRight")
    best = torch.softmax(logits[4].index_fill(0, torch.tensor([TEXT.end_index]), -torch.inf), 0).argmax()
    names = {"\n": "new line", " ": "blank"}
    expected = names.get(TEXT.tokens[best], f"“{TEXT.tokens[best]}”")
    value = f"{h[5, 3]:.2f}".replace("-", "−")
    assert said.inner_text().startswith(
        f"Character 6, yours: new line. It cost {bits[4]:.1f} bits; expected were {expected} "
    )
    assert said.inner_text().endswith(f" After it, the line is at {value}.")
    assert look.get_attribute("aria-valuetext") == f"6: new line, {value}"
    page.keyboard.press("End")
    on.click()
    assert len(shown_by(writer)["text"]) == 409 and look.input_value() == "409", "the end is followed"
    assert text == shown_by(writer)["text"][:209]
    logits, h, bits = by_pytorch(model, TEXT.encode(shown_by(writer)["text"]))
    writer.locator(".wn-char").nth(2).hover()
    assert said.inner_text().startswith("Character 3, yours: “b”. ") and look.input_value() == "3"
    assert writer.locator(".wn-looked-at").count() == 1
    p = probabilities(logits[-1].index_fill(0, torch.tensor([TEXT.end_index]), -torch.inf), temperature=0.5)
    writer.get_by_label("Temperature").fill("0.5")
    three = [int(i) for i in p.topk(3).indices]
    told = re.search(r"Likeliest next, at temperature 0.50: (.*)\.\n", writer.inner_text())[1]
    assert [part.rsplit(" ", 1)[0] for part in told.split("%, ")] == [
        names.get(TEXT.tokens[i], f"“{TEXT.tokens[i]}”") for i in three
    ]


@pytest.mark.xdist_group("writing")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_text_fits_a_phone_and_strange_characters_are_left_out(writing, open_live, axe, theme):
    page = open_live("live.html", folder=writing, width=360, height=740, theme=theme)
    writer = page.locator(".wn-writer").first
    page.evaluate("window.caught = 0")
    field, on = writer.get_by_label("The beginning of a text"), writer.get_by_role("button", name="Write on")
    field.fill("<img src=x onerror=caught++> ü")
    assert shown_by(writer)["text"] == "ig c ecagh "
    problem = writer.locator(".wn-problem").inner_text()
    assert problem.startswith("“<”, “m”, “s”, “r” and 9 more are left out: “ig c ecagh ” is read.")
    assert field.get_attribute("aria-invalid") == "true"
    field.fill("")
    assert on.is_disabled() and "No character yet" in writer.inner_text()
    field.fill("a" * 80 + "\n\nb")
    on.click()
    for colour in ("surprise", "the line", "another unit"):
        writer.get_by_label("Colour the text by").select_option(colour)
        assert shown_by(writer)["written"] == 200
        assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("caught") == 0 and page.locator(".wn img").count() == 0
    box, first = writer.locator(".wn-answer").bounding_box(), field.bounding_box()
    assert first["y"] + first["height"] - box["y"] < 740 - 60, "the text is in sight while one types"
    assert writer.evaluate(TOO_SMALL) == [] and writer.evaluate(TOUCHES) == []
    assert all(mark.evaluate(MARKED) for mark in writer.locator(".wn-legend > li").all())


# ---- in JupyterLab --------------------------------------------------------------------------------


@pytest.fixture
def lab(tmp_path):
    """The address of a JupyterLab in a folder with the playground's notebook."""
    pytest.importorskip("jupyterlab")
    shutil.copy(ROOT / "book" / "playground.ipynb", tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    options = ["--IdentityProvider.token=book", f"--ServerApp.root_dir={tmp_path}"]
    quiet = {"JUPYTER_CONFIG_DIR": str(tmp_path / "config"), "JUPYTER_PREFER_ENV_PATH": "1"}
    log = open(tmp_path / "lab.log", "wb")
    process = subprocess.Popen([*command, *options], env=os.environ | quiet, stdout=log, stderr=log)
    try:
        for _ in range(240):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert process.poll() is None, (tmp_path / "lab.log").read_text()
                time.sleep(0.25)
        yield f"http://127.0.0.1:{port}/lab/tree/playground.ipynb?token=book"
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def test_the_same_front_end_runs_in_jupyterlab(browser, lab):
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    try:
        page.goto(lab)
        page.locator(".jp-Notebook").wait_for(timeout=60_000)
        page.get_by_text("| Idle").wait_for(timeout=60_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        panel = page.locator(".wn-playground .wn-panel").first
        panel.wait_for(timeout=90_000)
        page.get_by_label("A name begins with").fill("anna")
        assert "sees nna" in panel.locator(".wn-note").first.inner_text()
        page.locator(".wn-playground").get_by_role("button", name="Write 20 names").click()
        assert len(names_in(page.locator(".wn-written").first)) == 20
    finally:
        page.close()


# ---- chapter 13 ------------------------------------------------------------------------------


def test_the_winners_stand_side_by_side_in_their_chapter(open_live, axe):
    page = open_live("wavenet/13_beating_1993.html")
    playground = page.locator(".wn-playground")
    titles = [title.split("\n")[0] for title in playground.locator(".wn-panel .wn-title").all_inner_texts()]
    assert titles == [recipe.title for recipe in WINNERS.values()]
    playground.get_by_label("A name begins with").fill("mar")
    context = torch.tensor([VOCABULARY.encode(".mar")])
    for name in WINNERS:
        model = pretrained(name)
        model = rounded(model) if count_parameters(model) > 100_000 else model
        with evaluating(model):
            p = torch.softmax(model(context)[0, -1], 0)
        shown = playground.evaluate("(root, name) => root.wavenet.probabilities(name)", name)
        torch.testing.assert_close(torch.tensor(shown, dtype=p.dtype), p, atol=1e-5, rtol=1e-4)
    playground.get_by_role("button", name="Write 100 names").click()
    assert playground.locator(".wn-names li").count() > 100
    assert axe(page) == []


# ---- what heads read ------------------------------------------------------------------------------


def small_transformer():
    g = torch.Generator().manual_seed(5)
    model = Transformer(27, 12, 3, 2, length=16, generator=g)
    for p in model.parameters():
        p += 0.4 * torch.randn(p.shape, generator=g)
    return model.eval()


HEADS = small_transformer()


@pytest.fixture(scope="session")
def heads(build_small):
    shown = widgets.attention_heads(HEADS, VOCABULARY, "emma", halve_above=10)
    out, said = build_small({"index.md": "# A small book\n\nIt has widgets.", "live.ipynb": page_of(shown)})
    assert out, said
    return out


def read_by_pytorch(model, text, block, head):
    """Shares (T, T) of one head, and the logits."""
    x = torch.tensor([VOCABULARY.encode("." + text)])
    with evaluating(model):
        h, mask = model.position(model.embedding(x)), causal_mask(x.shape[1], x.shape[1])
        for layer in (model.block1, model.block2)[:block]:
            h = layer(h)
        layer = (model.block1, model.block2)[block]
        q, k, _ = layer.split(layer.norm1(h))
        return attention_weights(q, k, mask)[0, head], model(x)


@pytest.mark.xdist_group("heads")
def test_heads_read_in_the_page_as_in_pytorch(heads, open_live):
    page, model = open_live("live.html", folder=heads), widgets.rounded(HEADS)
    ask = "([text, block, head]) => document.querySelector('.wn-heads').wavenet.reading(text, block, head)"
    for text in ("", "a", "emma", "maximilianne"):
        for block, head in ((0, 0), (0, 2), (1, 1)):
            found = page.evaluate(ask, [text, block, head])
            shares, logits = read_by_pytorch(model, text, block, head)
            torch.testing.assert_close(torch.tensor(found["shares"]).float(), shares, atol=1e-5, rtol=0)
            torch.testing.assert_close(
                torch.tensor(found["logits"]).view_as(logits), logits, atol=1e-4, rtol=0
            )


@pytest.mark.xdist_group("heads")
@pytest.mark.parametrize("theme, width", [("light", 1280), ("dark", 360)])
def test_a_head_is_chosen_and_a_name_is_typed(heads, open_live, axe, theme, width):
    page = open_live("live.html", folder=heads, width=width, theme=theme)
    root = page.locator(".wn-heads")
    assert root.locator("rect.wn-head-cell").count() == 15  # a dot and four letters
    root.get_by_role("group", name="Head").get_by_label("3").check()
    assert "Block 1, head 3." in root.inner_text()
    root.get_by_label("A name").fill("Zoë 9" + "a" * 20)
    assert "“ë”, the space and “9” are left out" in root.get_by_role("alert").inner_text()
    root.get_by_label("A name").fill("isa")
    shares, _ = read_by_pytorch(widgets.rounded(HEADS), "isa", 0, 2)
    best = int(shares[-1].argmax())
    called = "itself" if best == 3 else ["the dot in front", "i (letter 1)", "s (letter 2)"][best]
    assert root.locator(".wn-title").inner_text().startswith(f"a (letter 3) reads: {called}")
    root.get_by_label("The letter that reads").focus()
    page.keyboard.press("ArrowLeft")
    assert root.locator(".wn-title").inner_text().startswith("s (letter 2) reads: ")
    root.get_by_label("A name").fill("<b>x</b>")
    assert root.locator("b").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert axe(page) == []

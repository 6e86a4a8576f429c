"""The live models, as a reader plays with them: in the built pages, and in JupyterLab."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time

import pytest
import torch

from common import names
from common.layers import evaluating
from common.models import MODELS, as_convolution, pretrained
from common.optim import SGD, Adam, RMSprop
from common.vocabulary import Vocabulary
from conftest import ROOT

PLAYGROUND = "playground.html"
WORDS = names.load(names.SHIPPED)
SPLITS = names.split(WORDS)
VOCABULARY = Vocabulary("".join(WORDS))


@pytest.fixture
def open_live(open_page):
    """Open a page and wait until all its widgets have been drawn."""

    def open_one(rel, **how):
        page = open_page(rel, **how)
        live = "[...document.querySelectorAll('.live-widget:not(.needs-kernel)')]"
        page.wait_for_function(f"{live}.every((widget) => 'ready' in widget.dataset)")
        return page

    return open_one


def contexts(name, count):
    x, _ = names.windows(SPLITS.val, VOCABULARY, MODELS[name].block_size)
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:count]]


# ---- the same models ---------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_the_pages_logits_are_pytorchs(open_live, name):
    page, x = open_live(PLAYGROUND), contexts(name, 1_000)
    ask = "([name, x]) => document.querySelector('.wn-playground').wavenet.logits(name, x)"
    in_page = torch.tensor(page.evaluate(ask, [name, x.flatten().tolist()])).view(1_000, -1)
    model = pretrained(name)
    with evaluating(model):
        assert (in_page - model(x)).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["hierarchical-bug", "hierarchical", "scaled"])
def test_the_pages_gradients_are_pytorchs(open_live, name):
    page, model = open_live(PLAYGROUND), pretrained(name)
    ask = "([name, x, chosen]) => document.querySelector('.wn-tree').wavenet.influence(name, x, chosen)"
    for chosen, x in enumerate(contexts(name, 20)):
        embedded = model.layers[0](x[None]).detach().requires_grad_()
        out = embedded
        for layer in model.layers[1:]:
            out = layer(out)
        torch.log_softmax(out, -1)[0, chosen].backward()
        in_page = torch.tensor(page.evaluate(ask, [name, x.tolist(), chosen]))
        torch.testing.assert_close(in_page, embedded.grad[0].norm(dim=1), atol=1e-5, rtol=1e-4)


# ---- the playground -------------------------------------------------------------------------


def bars(panel) -> list[float]:
    """Heights of the 27 bars in percent of the tallest, once they have stopped moving."""
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
    heights = torch.tensor(bars(first))  # in percent of the tallest bar of both charts
    torch.testing.assert_close(heights / heights.max(), p / p.max(), atol=2e-4, rtol=0)
    assert max(bars(first) + bars(second)) == 100
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
    assert sorted(cold)[-2] < sorted(before)[-2]
    page.keyboard.press("End")
    assert sorted(bars(panel))[-5] > sorted(before)[-5]
    page.locator(".wn-playground").get_by_label("Keep the likeliest").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert sum(height > 0 for height in bars(panel)) == 2


def test_names_are_written_marked_and_announced(open_live, axe):
    page = open_live(PLAYGROUND)
    playground = page.locator(".wn-playground")
    playground.get_by_label("A name begins with").fill("mar")
    playground.get_by_role("button", name="Write 20 names").click()
    known = set(SPLITS.train)
    for panel in playground.locator(".wn-panel").all():
        written = panel.locator("li").all()
        assert len(written) == 20
        for item in written:
            name, *mark = item.inner_text().split()
            assert name.startswith("mar") and set(name) <= set(VOCABULARY.characters[1:])
            fresh = name not in known
            assert ("wn-new" in (item.get_attribute("class") or "")) == fresh == (mark == ["(new)"])
    status = playground.get_by_role("status")
    page.wait_for_function("(p) => p.textContent.includes('20 names by')", arg=status.element_handle())
    assert status.get_attribute("aria-live") == "polite" and "mar" in status.text_content()
    assert axe(page) == []


def test_what_is_typed_never_becomes_html(open_live):
    page = open_live(PLAYGROUND)
    page.evaluate("window.caught = 0")
    for label in ("A name begins with", "A name so far"):
        page.get_by_label(label).fill('<img src=x onerror="caught++"><b>an')
    page.wait_for_timeout(600)
    assert page.evaluate("caught") == 0
    assert page.locator(".wn img, .wn b").count() == 0
    assert "“<” is left out" in page.locator(".wn-problem").inner_text()
    assert page.get_by_label("A name begins with").get_attribute("aria-invalid") == "true"


def test_models_are_chosen_and_compared(open_live):
    page = open_live(PLAYGROUND)
    playground = page.locator(".wn-playground")
    playground.get_by_label("Beside it").select_option("")
    assert playground.locator(".wn-panel").count() == 1
    playground.get_by_label("Model", exact=True).select_option("flat")
    assert playground.locator(".wn-title").all_inner_texts() == ["8 characters, flat\n22,097 parameters"]


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


# ---- the other widgets -------------------------------------------------------------------------


def test_the_tree_is_fused_level_by_level(open_live):
    page = open_live("wavenet/04_flatten_consecutive.html")
    tree = page.locator(".wn-tree")
    nodes = tree.locator(".wn-node")
    assert nodes.count() == 8 + 4 + 2 + 1
    assert tree.locator(".wn-node.wn-off").count() == 7
    tree.get_by_label("Fuse up to level").focus()
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


def test_the_tree_plays(open_live):
    page = open_live("wavenet/04_flatten_consecutive.html")
    tree = page.locator(".wn-tree")
    page.clock.install()
    tree.get_by_role("button", name="Play").click()
    page.clock.run_for(10_000)
    assert tree.get_by_label("Fuse up to level").get_attribute("aria-valuetext") == "prediction"


CONVOLUTION = "wavenet/07_causal_convolutions.html"


def test_the_pages_convolution_is_pytorchs(open_live):
    page, network = open_live(CONVOLUTION), as_convolution(pretrained("scaled"))
    x, _, mask = names.sequences(SPLITS.val[:200], VOCABULARY)
    ask = "([x, T]) => document.querySelector('.wn-convolution').wavenet.logits(x, T)"
    in_page = torch.tensor(page.evaluate(ask, [x.flatten().tolist(), x.shape[1]])).view(*x.shape, 27)
    with evaluating(network):
        assert (in_page - network(x)).abs().max() < 1e-4


def states(widget) -> dict[str, int]:
    """How many nodes of each kind are drawn."""
    kinds = ("new", "found", "done", "front", "later")
    return {kind: widget.locator(f".wn-node-{kind}").count() for kind in kinds}


def test_nodes_are_computed_once_and_found_again(open_live, axe):
    page = open_live(CONVOLUTION)
    widget = page.locator(".wn-convolution")
    widget.get_by_label("A name", exact=True).fill("deandre")
    slider = widget.get_by_label("Letters read")
    slider.focus()
    page.keyboard.press("Home")
    # the dot: 3 nodes and an embedding are new; before it stand 6 + 4 nodes and 7 dots; 7 columns follow
    assert states(widget) == {"new": 4, "found": 0, "done": 0, "front": 17, "later": 28}
    page.keyboard.press("End")
    assert slider.get_attribute("aria-valuetext") == "7"
    # found: 3 pairs, 1 four, 7 letters; the other 28 - 11 columns' nodes were for earlier predictions
    assert states(widget) == {"new": 4, "found": 11, "done": 17, "front": 17, "later": 0}
    said = widget.locator(".wn-counters").inner_text()
    assert "Computed now: 3. Found: 4. The tree would compute 7." in said
    assert "24 nodes instead of 56" in said
    status = widget.get_by_role("status")
    page.wait_for_function("(p) => p.textContent.includes('Computed now: 3')", arg=status.element_handle())
    with evaluating(network := as_convolution(pretrained("scaled"))):
        p = torch.softmax(network(names.sequences(["deandre"], VOCABULARY)[0])[0, -1], 0)
    assert p.argmax() == 0, "the dot"
    assert f"“.deandre” the next character: the end {100 * p.max():.0f}%" in widget.inner_text()
    widget.get_by_role("button", name="Next letter").click()
    assert slider.get_attribute("aria-valuetext") == "0", "after the last letter it starts again"
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


def test_batchnorms_axes_change_the_noise(open_live):
    page = open_live("wavenet/05_batchnorm_fix.html")
    widget = page.locator(".wn-batchnorm")

    def noise():
        said = widget.locator(".wn-note").last.inner_text()
        return [float(x) for x in re.search(r"scatters by ([\d., ]+) standard", said)[1].split(", ")]

    separate = noise()
    assert len(separate) == 4 and widget.locator(".wn-group").count() == 4
    assert all(0.14 < each < 0.22 for each in separate), "each is a mean of 32"
    widget.get_by_label("dimensions 0 and 1").check()
    [pooled] = noise()
    assert widget.locator(".wn-group").count() == 1
    assert pooled < 0.75 * min(separate)
    widget.get_by_label("Batch", exact=False).first.focus()
    page.keyboard.press("End")
    assert noise()[0] < 0.7 * pooled and "128 × 4 = 512" in widget.inner_text()
    picture = widget.locator("svg").first
    before = picture.inner_html()
    widget.get_by_role("button", name="Draw another batch").click()
    assert picture.inner_html() != before


def test_smoothing_a_loss_curve(open_live):
    page = open_live("wavenet/01_three_char_mlp.html")
    widget = page.locator(".wn-losses")
    scatter = lambda: float(re.search(r"± ([\d.]+)", widget.locator(".wn-note").inner_text())[1])  # noqa: E731
    slider = widget.get_by_label("Average over")
    slider.focus()
    page.keyboard.press("Home")
    single, curve = scatter(), widget.locator(".wn-curve").get_attribute("points")
    assert 0.15 < single < 0.3
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "100 batches"
    assert scatter() == pytest.approx(single / 10, rel=0.35)
    assert widget.locator(".wn-curve").get_attribute("points") != curve


EXPERIMENTS = "wavenet/10_experiments.html"


@pytest.mark.parametrize(
    "kind, optimizer",
    [("sgd", SGD()), ("momentum", SGD(momentum=0.9)), ("rmsprop", RMSprop()), ("adam", Adam())],
)
def test_the_pages_optimisers_are_the_modules(open_live, kind, optimizer):
    page, slope = open_live(EXPERIMENTS), torch.tensor([1.0, 30.0], dtype=torch.float64)
    ask = "(kind) => document.querySelector('.wn-valley').wavenet.path(kind, 0.02, 30, 10, 25)"
    in_page = torch.tensor(page.evaluate(ask, kind), dtype=torch.float64)
    p = torch.tensor([-4.0, 1.2], dtype=torch.float64)
    kept = optimizer.start(p)
    for step in range(26):
        torch.testing.assert_close(in_page[step], p, rtol=1e-9, atol=1e-9)
        p, kept = optimizer.step(p, 10 * slope * p, kept, 0.02)


def test_the_valley_is_walked(open_live, axe):
    page = open_live(EXPERIMENTS)
    valley = page.locator(".wn-valley")
    said = valley.locator(".wn-explanation")
    path = valley.locator(".wn-curve")
    before = path.get_attribute("points")
    valley.get_by_label("Optimiser").select_option("adam")
    assert said.inner_text().startswith("Adam after") and path.get_attribute("points") != before
    before = path.get_attribute("points")
    valley.get_by_label("Gradients").select_option("1000")
    assert path.get_attribute("points") == before, "Adam does not see the unit"
    valley.get_by_label("Optimiser").select_option("sgd")
    valley.get_by_label("Learning rate").focus()
    page.keyboard.press("End")
    assert "far out of the valley" in said.inner_text()
    status = valley.get_by_role("status")
    page.wait_for_function("(p) => p.textContent.includes('far out')", arg=status.element_handle())
    assert axe(page) == []


def stored_trials() -> list[dict]:
    """The trials of the stored sweep, best first."""
    report = json.loads((ROOT / "data" / "results" / "sweep.json").read_text(encoding="utf-8"))
    complete = [trial for trial in report["trials"] if trial["state"] == "complete"]
    return sorted(complete, key=lambda trial: trial["value"])


def test_runs_are_walked_and_pinned_by_keyboard(open_live, axe):
    page, trials = open_live(EXPERIMENTS), stored_trials()
    explorer = page.locator(".wn-explorer")
    lines = explorer.locator("[role='option']")
    assert lines.count() == len(trials)
    assert explorer.locator("[role='option'][tabindex='0']").count() == 1, "one stop for the Tab key"
    explorer.get_by_role("button", name="Unpin all").click()
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
    page, trials = open_live(EXPERIMENTS), stored_trials()
    explorer = page.locator(".wn-explorer")
    explorer.get_by_role("button", name="Unpin all").click()
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


def test_a_run_under_the_pointer_is_told_and_pressed(open_live):
    page = open_live(EXPERIMENTS)
    explorer = page.locator(".wn-explorer")
    explorer.get_by_role("button", name="Unpin all").click()
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
        EXPERIMENTS,
    ],
)
def test_a_chapter_is_drawn_for_a_phone(open_live, rel):
    page = open_live(rel, width=360, height=740, theme="dark", motion="reduce")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for drawing in page.locator(".wn-drawing svg").all():
        assert 0 < drawing.bounding_box()["width"] <= 340


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
        assert panel.locator("li").count() == 20
    finally:
        page.close()

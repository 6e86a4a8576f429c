import struct
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import cover  # noqa: E402


def drawing():
    return ElementTree.fromstring(cover.art())


def test_the_name_is_fused_into_its_last_letter():
    letters = [t.text for t in drawing().iter("text")]
    assert "".join(letters) == "···charlotte"
    assert letters[-1] in drawing().get("aria-label")


def test_the_tree_is_the_books():
    """Four pairs, two fours and one node over them all; twice as many edges."""
    kinds = [c.get("class") for c in drawing().iter("circle")]
    assert kinds.count("cover-lit") == 4 + 2 and kinds.count("cover-top") == 1
    edges = {p.get("class"): p.get("d").count("M") for p in drawing().iter("path")}
    assert [edges[f"cover-edge cover-edge-{level}"] for level in (1, 2, 3)] == [8, 4, 2]


def test_the_theme_decides_the_colours():
    assert "#" not in cover.art() and "style=" not in cover.art()
    style = (ROOT / "book" / "_static" / "aids.css").read_text(encoding="utf-8")
    for kind in {c.get("class").split()[-1] for c in drawing().iter() if c.get("class")} - {"cover"}:
        if kind != "cover-letter":
            assert f"svg.cover .{kind} {{" in style


def test_the_card_has_the_books_title():
    config = yaml.safe_load((ROOT / "book" / "_config.yml").read_text(encoding="utf-8"))
    assert config["title"] == cover.TITLE
    index = (ROOT / "book" / "index.md").read_text(encoding="utf-8")
    assert (f"# {cover.TITLE}\n\n{{.subtitle}}\n{cover.SUBTITLE}\n") in index
    assert f"<h1>{cover.TITLE}</h1><p>{cover.SUBTITLE}</p>" in cover.card("")


def test_the_card_is_what_link_previews_want():
    data = cover.CARD.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", data[16:24]) == (1200, 630)
    assert len(data) < 150_000


def test_the_start_page_shows_todays_drawing():
    page = cover.START.read_text(encoding="utf-8")
    assert cover.with_picture(page) == page, "run tools/cover.py"


@pytest.mark.parametrize("page", ["# Title\n", "# Title\n<!-- cover -->\n\nThe rest of the page.\n"])
def test_a_page_without_both_markers_is_refused(page):
    with pytest.raises(ValueError, match="expected <!-- cover --> and, after it, <!-- end of cover -->"):
        cover.with_picture(page)


def test_without_a_browser_nothing_is_written(tmp_path, monkeypatch, capsys):
    start, card = tmp_path / "index.md", tmp_path / "cover.png"
    start.write_text("<!-- cover -->\nold\n<!-- end of cover -->\n", encoding="utf-8")
    card.write_bytes(b"old")
    monkeypatch.setattr(cover, "START", start)
    monkeypatch.setattr(cover, "CARD", card)

    def none():
        raise FileNotFoundError("no Chromium")

    monkeypatch.setattr(cover.browser, "started", none)
    assert cover.main() == 2
    assert capsys.readouterr().err == "error: no Chromium; the drawing and the card stay as they are\n"
    assert "old" in start.read_text(encoding="utf-8") and card.read_bytes() == b"old"

"""What pages show of the stored results is made of them, and nothing is written where that fails."""

import json
import shutil
import sys

import pytest

from common.pages import results
from common.runs.provenance import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import tables  # noqa: E402


def test_the_pages_show_the_stored_results(capsys):
    assert tables.main(["--check"]) == 0, "run make tables"
    assert capsys.readouterr().out == ""


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A house with two pages of its own, whose tables are out of date."""
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    for path in ("README.md", "book/results.md"):
        text = "above\n<!-- results shipped -->\nold\n<!-- end of results -->\nbelow\n"
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    return tmp_path


def test_a_page_out_of_date_is_named_and_brought_up_to_date(house, capsys):
    assert tables.main(["--check"]) == 2
    assert capsys.readouterr().err == "error: README.md: a made part is out of date; run `make tables`\n"
    assert "old" in (house / "README.md").read_text(encoding="utf-8")
    assert tables.main([]) == 0
    assert capsys.readouterr().out == "refreshed README.md\nrefreshed results.md\n"
    text = (house / "README.md").read_text(encoding="utf-8")
    assert text.startswith("above\n<!-- results shipped -->\n") and text.endswith("below\n")
    assert "old" not in text and text == (house / "book" / "results.md").read_text(encoding="utf-8")
    stored = results.stored_results()
    for key, (train, val) in results.LECTURE.items():
        row = next(line for line in text.splitlines() if f"| {train:.3f} / {val:.3f} |" in line)
        assert str(results.stored_spread(key)) in row
    for fact in ("over 8 seeds", "200,000 steps of batch 32", "from step 150,000", "32,178 rows"):
        assert fact in text
    assert stored["names"]["sha256"][:12] in text
    assert tables.main(["--check"]) == 0


def test_without_its_second_marker_no_page_is_written(house, capsys):
    (house / "book" / "results.md").write_text("<!-- results shipped -->\n", encoding="utf-8")
    assert tables.main([]) == 2
    assert "results.md: '<!-- results shipped -->' is not followed by" in capsys.readouterr().err
    assert "old" in (house / "README.md").read_text(encoding="utf-8")


def test_other_results_take_the_place_of_the_stored_ones(house):
    stored = results.stored_results()
    for run in stored["models"]["mlp"]["runs"]:
        run["test"] = 1.234
    assert set(tables.made_pages()) == {house / "README.md", house / "book" / "results.md"}
    assert "1.234 ± 0.000" in tables.made_pages({"shipped": stored})[house / "README.md"]


def test_a_benchmark_is_shown_with_how_it_was_measured(tmp_path, monkeypatch):
    text = tables.costs(results.stored_costs())
    assert "interleaved rounds" in text and "| plain loop, steps/s |" in text
    shutil.copy(ROOT / "benchmarks" / "cpu.json", tmp_path / "cuda.json")
    monkeypatch.setattr(results, "COSTS", tmp_path)
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    (tmp_path / "benchmarks").mkdir()
    page = tmp_path / "benchmarks" / "README.md"
    page.write_text("<!-- bench cuda -->\n<!-- end of bench -->\n", encoding="utf-8")
    assert text in tables.made_pages()[page]


def entry(measure, *values):
    runs = [{"parameters": 1_200, "val": value} for value in values]
    provenance = {"date": "2027-01-01", "commit": "abc", "machine": "a machine", "torch": "2"}
    return {"title": "GRU", "runs": runs, "provenance": provenance, "measure": measure}


TRAINING = {"steps": 1_000, "batch_size": 64, "lr": 0.1, "drop_factor": 0.1, "drop_at": 0.5}
ACCURACY = {"name": "accuracy", "unit": "%", "better": "higher", "digits": 1}


def test_a_table_shows_another_measure_than_a_loss_on_names():
    corpus = {"file": "reviews.txt", "sha256": "f" * 64, "rows": 25_000}
    stored = {"training": TRAINING, "corpus": corpus, "models": {"gru": entry(ACCURACY, 88.0, 90.0)}}
    text = tables.results_table(stored)
    assert "| model | parameters | validation |\n| :--- | ---: | ---: |\n| GRU | 1,200 | 89.0 ± 1.4 |" in text
    assert "over 2 seeds, in %; higher is better. 1,000 steps of batch 64" in text
    assert "File `reviews.txt`, 25,000 rows, SHA-256 `ffffffffffff`. Measured on 2027-01-01" in text


def test_a_table_shows_a_measure_at_each_of_its_places():
    error = {
        "name": "error",
        "better": "lower",
        "digits": 2,
        "at": ["1 step", "50 steps"],
        "headline": "1 step",
    }
    corpus = {"file": "waves", "sha256": "f" * 64}
    stored = {"training": TRAINING, "corpus": corpus, "models": {"gru": entry(error, [0.1, 2.0], [0.1, 4.0])}}
    text = tables.results_table(stored)
    assert "| model | parameters | validation, 1 step | validation, 50 steps |" in text
    assert "| GRU | 1,200 | 0.10 ± 0.00 | 3.00 ± 1.41 |" in text
    stored["models"]["other"] = entry(ACCURACY, 1.0)
    with pytest.raises(ValueError, match="expected one measure in a table, got .*accuracy.*error"):
        tables.results_table(stored)


def test_what_is_not_measured_says_so_and_what_is_stands_in_a_table(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert "Not measured yet" in tables.generation() and "Not measured yet" in tables.peers(
        {"models": {}, "seeds": 8}
    )
    provenance = {"date": "2027-01-01", "commit": "abc", "machine": "a machine", "torch": "2"}
    seconds = {"1": {"16": {"GRU, state": 0.0005, "read again": 0.002}, "1023": {"GRU, state": 0.0005}}}
    stored = {"rounds": 5, "parameters": {"GRU": 270_000}, "seconds": seconds, "provenance": provenance}
    (tmp_path / "generation.json").write_text(json.dumps(stored))
    text = tables.generation()
    assert "| 1 text, characters before | 16 | 1,023 |" in text
    assert "| GRU, state | 2,000 | 2,000 |" in text and "| read again | 500 | - |" in text

"""What a group of tests shares is built once, by one worker."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from together import ROOT, Together, groups

SHARED = """
import pytest

@pytest.fixture(scope="session")
def costly(worker_id):
    print(f"built by {worker_id}")

@pytest.mark.xdist_group("costly")
@pytest.mark.parametrize("n", range(12))
def test_it(costly, n):
    raise RuntimeError("its report has what was printed")

@pytest.mark.parametrize("n", range(12))
def test_alone(n):
    pass
"""


def test_one_worker_builds_what_a_group_shares(tmp_path):
    conftest = (ROOT / "tests" / "conftest.py").read_text(encoding="utf-8")
    hook = conftest[conftest.index("@pytest.hookimpl(optionalhook=True)") :]
    (tmp_path / "conftest.py").write_text(
        f"import sys\nimport pytest\n\nsys.path.insert(0, {str(ROOT / 'tests')!r})\n"
        f"import together\n\ntogether.ROOT = together.Path({str(tmp_path)!r})\n\n{hook}", encoding="utf-8",
    )  # fmt: skip
    (tmp_path / "test_shared.py").write_text(SHARED, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadgroup", "-p", "no:cacheprovider", "-v"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert "12 failed, 12 passed" in done.stdout, done.stdout + done.stderr
    assert len(re.findall("built by gw", done.stdout)) == 1


def test_every_mark_is_read():
    """As many as the files have; a mark that is written otherwise would not be."""
    for path in sorted((ROOT / "tests" / "pages").glob("test_*.py")):
        marks = set(re.findall(r"xdist_group\(\"(\w+)\"\)", path.read_text(encoding="utf-8")))
        assert set(groups(str(Path("tests", "pages", path.name)).replace("\\", "/")).values()) == marks


def test_a_page_is_one_workers():
    tests = [
        "test_look.py::test_focus[wavenet/05_fix.html]",
        "test_pages.py::test_wide[wavenet/05_fix.html-dark]",
    ]
    assert {Together._split_scope(None, f"tests/pages/{test}") for test in tests} == {"wavenet/05_fix.html"}
    assert Together._split_scope(None, "tests/pages/test_look.py::test_it[360]").endswith("test_it[360]")


@pytest.mark.parametrize("more", ["", "@small", "[a]", "[a]@small"])
def test_a_name_with_its_group_is_known(more):
    name = f"tests/pages/test_pages.py::test_only_terms_show_a_definition{more}"
    assert Together._split_scope(None, name) == "small"

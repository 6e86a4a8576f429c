"""A file is the old one or the new one, never half of it."""

import errno
import os

import pytest

from common.runs.files import read_json, replace_file, write_json


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"the whole of the old one")

    def dies(partial):
        partial.write_bytes(b"half of the n")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        replace_file(path, dies)
    assert path.read_bytes() == b"the whole of the old one"
    assert list(tmp_path.iterdir()) == [path]
    replace_file(path, lambda partial: partial.write_bytes(b"new"))
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_folders_on_the_way_are_made(tmp_path):
    replace_file(tmp_path / "a" / "b" / "file", lambda partial: partial.write_text("text"))
    assert (tmp_path / "a" / "b" / "file").read_text() == "text"


def test_a_full_disk_is_reported_with_the_files_name(tmp_path):
    def full(partial):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left on device: '.*results.json'") as caught:
        replace_file(tmp_path / "results.json", full)
    assert caught.value.errno == errno.ENOSPC


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(OSError) as caught:
        replace_file(tmp_path / "file" / "results.json", lambda partial: partial.write_text("text"))
    assert "partial" not in str(caught.value) and str(tmp_path / "file") in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")], ids=str)
def test_no_file_holds_a_number_that_json_does_not_have(tmp_path, value):
    path = tmp_path / "a.json"
    write_json(path, {"loss": 2.5})
    with pytest.raises(ValueError, match=r"a\.json: expected finite numbers"):
        write_json(path, {"losses": [2.5, {"sd": value}]})
    assert read_json(path) == {"loss": 2.5} and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"[1, 2]", b"3", "ü".encode("latin-1")], ids=str)
def test_what_is_no_object_is_refused_with_the_files_name(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json: expected (a JSON object|UTF-8)"):
        read_json(tmp_path / "a.json")


def test_json_is_read_as_it_was_written(tmp_path):
    write_json(tmp_path / "a.json", {"name": "Zoé", "loss": 2.5})
    assert "Zoé" in (tmp_path / "a.json").read_text(encoding="utf-8")
    assert read_json(tmp_path / "a.json") == {"name": "Zoé", "loss": 2.5}
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(ValueError, match="b.json: not JSON"):
        read_json(tmp_path / "b.json")
    with pytest.raises(ValueError, match="c.json: no such file"):
        read_json(tmp_path / "c.json")


@pytest.mark.parametrize(
    "content, message",
    [
        (b'{"loss": NaN}', "NaN is no number of JSON"),
        (b'{"a": {"lr": 1, "lr": 2}}', "'lr' stands there twice"),
        (b"[" * 100_000, "nested too deeply"),
        ('{"a": 1}'.encode("utf-16-le"), "expected UTF-8 text"),
    ],
    ids=["NaN", "twice", "deep", "UTF-16"],
)
def test_what_json_would_let_pass_is_refused_with_the_files_name(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.json: {message}"):
        read_json(tmp_path / "a.json")
    with pytest.raises(ValueError, match=r"no such file; expected a space"):
        read_json(tmp_path / "b.json", "a space")
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + b'{"a": 1}')
    assert read_json(tmp_path / "a.json") == {"a": 1}

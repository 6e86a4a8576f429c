"""A file is the old one or the new one, never half of it."""

import pytest

from common.files import replace_file


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

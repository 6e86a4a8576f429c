"""A port that cannot be served at is refused in one line."""

import socket
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import serve  # noqa: E402


@pytest.mark.parametrize("port", ["eight", "70000", "-1", ""])
def test_what_is_no_port_is_refused(monkeypatch, port):
    monkeypatch.setattr(sys, "argv", ["serve.py", port])
    with pytest.raises(SystemExit, match=f"error: expected a port from 0 to 65535, got '{port}'"):
        serve.main()


def test_a_port_in_use_is_named(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(sys, "argv", ["serve.py", str(port)])
        with pytest.raises(SystemExit, match=f"error: port {port}: .*in use"):
            serve.main()

"""Serve the built book on this machine, with its own page for addresses that lead nowhere.

python tools/serve.py [PORT]
"""

import functools
import sys
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HTML = Path(__file__).resolve().parent.parent / "book" / "_build" / "html"


class Handler(SimpleHTTPRequestHandler):
    """Files of a folder; its 404.html, with that status, for what is not there."""

    def send_error(self, code, message=None, explain=None):
        page = Path(self.directory) / "404.html"
        if code != HTTPStatus.NOT_FOUND or not page.is_file():
            return super().send_error(code, message, explain)
        body = page.read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments):
        """Say nothing about every file that a page loads."""


def main() -> None:
    asked = sys.argv[1] if len(sys.argv) > 1 else "8000"
    if not asked.isdecimal() or int(asked) > 65_535:
        sys.exit(f"error: expected a port from 0 to 65535, got {asked!r}")
    try:
        started = ThreadingHTTPServer(("127.0.0.1", int(asked)), functools.partial(Handler, directory=HTML))
    except OSError as error:
        sys.exit(f"error: port {asked}: {error.strerror}; choose another with PORT=")
    with started as server:
        print(
            f"Serving the book at http://127.0.0.1:{server.server_address[1]}/ (stop with Ctrl-C)", flush=True
        )
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()

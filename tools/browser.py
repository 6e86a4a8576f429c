"""The machine's own Chromium, driven by playwright. Nothing is downloaded.

CHROMIUM in the environment names another binary.
"""

import contextlib
import os
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MISSING = "no Chromium on PATH (install the package chromium, or set CHROMIUM=/path/to/it)"


def chromium() -> str | None:
    """The binary that CHROMIUM names, or the first of the usual names on PATH."""
    named = os.environ.get("CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def started():
    """A running browser; FileNotFoundError where the machine has none."""
    binary = chromium()
    if not binary:
        raise FileNotFoundError(MISSING)
    from playwright.sync_api import sync_playwright

    # Chromium's sandbox refuses to start for root, which is what a container runs as.
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    arguments = ["--no-sandbox"] * as_root + ["--disable-gpu", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=arguments)
        try:
            yield browser
        finally:
            browser.close()

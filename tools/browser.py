"""The machine's own Chromium, driven by playwright. Nothing is downloaded.

CHROMIUM in the environment names another binary.
"""

import contextlib
import os
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MISSING = "no Chromium on PATH (install the package chromium, or set CHROMIUM=/path/to/it)"


def chromium() -> str | None:
    """The binary that CHROMIUM names, or the first of the usual names on PATH; None without either.

    FileNotFoundError where CHROMIUM names one that is not there.
    """
    named = os.environ.get("CHROMIUM")
    if not named:
        return next(filter(None, map(shutil.which, NAMES)), None)
    found = shutil.which(named)
    if not found:
        looked_in = f" in {os.getcwd()}" if os.path.dirname(named) else " on PATH"
        raise FileNotFoundError(
            f"CHROMIUM={named}: no such program{'' if os.path.isabs(named) else looked_in}"
        )
    return os.path.abspath(found)


@contextlib.contextmanager
def started():
    """A running browser; FileNotFoundError where the machine has none, or not the one that is named."""
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

"""Where a figure comes from: the commit that ran, and the machine."""

import os
import platform
import subprocess
from datetime import date
from pathlib import Path

import torch

from ..data.shipped import shipped_folder
from ..fast.compiled import cpuinfo

ROOT = shipped_folder().parent  # the repository, or an installed package


def commit() -> str:
    """The commit that ran, with a + where the module differed from it.

    "unknown" without git, and where the book is not the repository itself: a copy inside another one,
    or an installed module, would have that one's commit.
    """
    try:
        if Path(_git("rev-parse", "--show-toplevel")).resolve() != ROOT.resolve():
            return "unknown"
        head = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "src")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")


def _git(*arguments: str) -> str:
    # A hook's GIT_DIR, GIT_INDEX_FILE and the like lead to the repository that the hook is for.
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith("GIT_CONFIG")
    }
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=kept).stdout.strip()


def processor() -> str:
    """The processor's name, as far as the system tells."""
    for line in cpuinfo("model name"):
        return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine(device: torch.device) -> str:
    """The machine in a few words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor()}, {os.cpu_count()} cores"


def provenance(device: torch.device) -> dict[str, str]:
    """Commit, date and machine, for whatever is measured now."""
    return {
        "commit": commit(), "date": date.today().isoformat(), "machine": machine(device),
        "device": device.type, "torch": torch.__version__.split("+")[0],
    }  # fmt: skip

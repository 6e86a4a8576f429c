"""Compiled code is kept where it belongs, found again, and kept apart for whatever it depends on."""

import shutil
from pathlib import Path

import pytest
import torch
from small_runs import built, data, needs_compiler

from common.fast import Stacked, StackedLoop, compiled
from common.fast.compiled import _forget_what_was_not_asked as forget_what_was_not_asked
from common.fast.compiled import compiled_folder, fingerprint
from common.models import MODELS
from common.train import Config


def test_it_is_kept_in_a_folder_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("COMMON_CACHE", str(tmp_path))
    assert compiled_folder() == tmp_path / "compiled"


@needs_compiler
def test_it_is_kept_and_found_again(tmp_path, monkeypatch):
    monkeypatch.setenv("COMMON_CACHE", str(tmp_path))

    def run():
        models, generators = built("mlp", [0])
        return StackedLoop(models, data(3), generators, [Config(steps=20)]).steps(0, 20)

    expected = run()
    (package,) = compiled_folder().iterdir()
    whole = package.read_bytes()
    isa = torch._inductor.cpu_vec_isa.VecISA
    ask, asked = isa.check_build, []
    forget_what_was_not_asked()  # as in another process
    with monkeypatch.context() as patch:
        patch.setattr(torch._inductor, "aoti_compile_and_package", None)  # it would raise
        patch.setattr(isa, "check_build", lambda self, code: asked.append(code) or ask(self, code))
        assert torch.equal(run(), expected)
    assert isa._avx_code not in asked  # that takes 8 s

    def compiler(program, package_path, **options):  # says what the real one said, sooner
        Path(package_path).write_bytes(whole)
        return package_path

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", compiler)
    package.write_bytes(whole[:1_000])  # as a full disk might leave it
    assert torch.equal(run(), expected)
    assert package.read_bytes() == whole and list(compiled_folder().iterdir()) == [package]


def test_where_the_compiler_knows_less_than_the_processor_it_is_asked_what(tmp_path, monkeypatch):
    monkeypatch.setenv("COMMON_CACHE", str(tmp_path))
    graph = torch.fx.symbolic_trace(torch.nn.Tanh())
    given, answers = [], [RuntimeError("unrecognized command-line option"), RuntimeError("no compiler")]

    def compiler(program, package_path, inductor_configs):
        assert "cpp.threads" in inductor_configs and "cpp.of_tomorrow" not in inductor_configs
        given.append("cpp.vec_isa_ok" in inductor_configs)
        if answers:
            raise answers.pop(0)
        Path(package_path).write_bytes(b"code")

    monkeypatch.setitem(compiled.OPTIONS, "cpp.of_tomorrow", True)
    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", compiler)
    with pytest.raises(RuntimeError, match="no compiler"):  # what the second attempt says
        compiled.compiled(graph, [torch.zeros(2)])
    answers.append(RuntimeError("unrecognized command-line option"))
    assert compiled.compiled(graph, [torch.zeros(2)]).read_bytes() == b"code"
    assert given == [True, False, True, False]


def test_the_careful_way_asks_about_every_instruction_set(monkeypatch):
    isas = torch._inductor.cpu_vec_isa
    answers = isas.VecISA._VecISA__bool__impl  # what was asked before, it need not ask again
    with torch._inductor.config.patch({"cpp.vec_isa_ok": True}):
        compiled._forget_what_was_not_asked()
        if not isas.valid_vec_isa_list():
            pytest.skip("this processor has no instructions of the kind")
    answers.cache_clear()
    monkeypatch.setattr(isas.VecISA, "check_build", lambda self, code: False)  # a compiler that knows none
    compiled._forget_what_was_not_asked()
    try:
        assert isas.valid_vec_isa_list() == []
    finally:
        answers.cache_clear()
        compiled._forget_what_was_not_asked()


def test_a_package_is_whole_or_not_there(tmp_path, monkeypatch):
    source, path = tmp_path / "step.pt2", tmp_path / "cache" / "abc.pt2"
    source.write_bytes(b"all of it")

    def full(package, file):
        file.write(b"half of")
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full)
        with pytest.raises(OSError, match="no space"):
            compiled._keep(source, path)
    assert list(path.parent.iterdir()) == []
    compiled._keep(source, path)
    assert path.read_bytes() == b"all of it" and list(path.parent.iterdir()) == [path]


def test_it_is_kept_apart_for_another_graph_type_batch_and_processor(tmp_path, monkeypatch):
    def of(model, dtype, batch_size):
        one = MODELS[model].build(generator=torch.Generator().manual_seed(0)).to(dtype=dtype)
        step = Stacked([one], data(MODELS[model].block_size), Config(batch_size=batch_size))
        tensors = step.start([one])
        return fingerprint(step.graph(tensors), step.arguments(tensors))

    cases = [
        ("mlp", torch.float32, 32),
        ("mlp", torch.float64, 32),
        ("mlp", torch.float32, 16),
        ("flat", torch.float32, 32),
    ]
    found = [of(*case) for case in cases]
    assert len(set(found)) == 4 and found[0] == of(*cases[0])
    other = tmp_path / "cpuinfo"
    other.write_text("model name\t: one\nflags\t\t: fpu avx2\nbogomips\t: 5000.1\n" * 2)
    monkeypatch.setattr(compiled, "CPUINFO", other)
    elsewhere = of(*cases[0])
    assert elsewhere != found[0]
    other.write_text(other.read_text().replace("5000.1", "4999.8"))  # differs from one start to the next
    assert of(*cases[0]) == elsewhere
    other.unlink()
    assert of(*cases[0]) not in (elsewhere, found[0])

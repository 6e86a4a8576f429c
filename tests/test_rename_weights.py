"""Weights under the names of before become weights under those of now, and compute what they computed."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_tensors import generator

from common.models import MODELS, PRETRAINED, pretrained
from common.runs.sizes import build_model

TOOL = Path(__file__).resolve().parents[1] / "tools" / "rename_weights.py"
TREE = """
    0.weight 2.weight 3.weight 3.bias 3.running_mean 3.running_var 6.weight 7.weight 7.bias 7.running_mean
    7.running_var 10.weight 11.weight 11.bias 11.running_mean 11.running_var 13.weight 13.bias"""
BEFORE = {  # (model, sizes): the names of its tensors, as they were stored
    ("mlp", ""): "0.weight 2.weight 3.weight 3.bias 3.running_mean 3.running_var 5.weight 5.bias",
    ("scaled", ""): TREE,
    ("hierarchical-bug", ""): TREE,
    ("small", ""): """
        0.weight 1.weight 1.before 2.weight 2.bias 2.running_mean 2.running_var 4.0.weight 4.0.before
        4.1.weight 4.1.bias 4.1.running_mean 4.1.running_var 5.0.weight 5.0.before 5.1.weight 5.1.bias
        5.1.running_mean 5.1.running_var 6.weight 6.bias""",
    ("open", ""): "0.weight 1.weight_ih_l0 1.weight_hh_l0 1.bias_ih_l0 1.bias_hh_l0 2.weight 2.bias",
    ("wavenet", "dilations=[1,2]"): """
        0.weight 1.0.0.0.weight 1.0.0.0.bias 1.0.0.0.before 1.0.1.weight 1.0.1.bias 1.0.2.weight 1.0.2.bias
        1.1.0.0.weight 1.1.0.0.bias 1.1.0.0.before 1.1.1.weight 1.1.1.bias 3.weight 3.bias 5.weight 5.bias""",
    ("wavenet", "dilations=[1,2] skip=no"): """
        0.weight 1.0.0.weight 1.0.0.bias 1.0.0.before 1.0.2.weight 1.0.2.bias 1.1.0.weight 1.1.0.bias
        1.1.0.before 1.1.2.weight 1.1.2.bias 3.weight 3.bias 5.weight 5.bias""",
    ("recurrent", "cell=lstm dropout=0.1 input_dropout=0.1"): """
        0.weight 2.weight_ih_l0 2.weight_hh_l0 2.bias_ih_l0 2.bias_hh_l0 4.weight 4.bias""",
    ("transformer", "blocks=1"): """
        0.weight 1.weight 2.0.weight 2.0.bias 2.1.weight 2.1.bias 2.2.weight 2.2.bias 2.3.weight 2.3.bias
        2.4.weight 2.4.bias 2.5.weight 2.5.bias 3.weight 3.bias 4.weight 4.bias""",
}  # fmt: skip


@pytest.fixture
def renamed(monkeypatch):
    """The tool as a function of its arguments: exit code."""
    monkeypatch.syspath_prepend(str(TOOL.parent))
    import rename_weights

    return lambda *arguments: rename_weights.main([str(argument) for argument in arguments])


def built(name, sizes):
    given = dict(pair.split("=") for pair in sizes.split())
    values = {key: eval(value) if value[0] in "[0123456789" else value for key, value in given.items()}
    return build_model(MODELS[name], 27, values, generator(3))


@pytest.mark.parametrize("name, sizes", BEFORE, ids=lambda value: value)
def test_weights_of_before_compute_what_they_computed(renamed, tmp_path, name, sizes):
    path = tmp_path / "weights.safetensors"
    model = pretrained(name) if (PRETRAINED / f"{name}.safetensors").exists() else built(name, sizes).eval()
    state = {key: t.contiguous() for key, t in model.state_dict().items()}
    before = dict(zip(BEFORE[name, sizes].split(), state.values(), strict=True))
    save_file(before, path, {"seed": "0"})
    assert renamed(path, name, *sizes.split()) == 0
    after = load_file(path)
    assert after.keys() == state.keys()
    fresh = (MODELS[name].build() if not sizes else built(name, sizes)).load_state_dict(after).eval()
    x = torch.randint(0, 27, (4, MODELS[name].block_size or 9), generator=generator())
    assert torch.equal(fresh(x), model(x))
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"seed": "0"}


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["scaled"], "of shape (24, 128), got|expected embedding.weight of shape"),
        (["open"], "as many layers with tensors as ['embedding', 'recurrent', 'output']"),
        (["deep"], "expected one of ['mlp'"),
        ([], "expected FILE.safetensors MODEL"),
        (["mlp", "depth=3"], "expected sizes among n_embd, n_hidden, got depth"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_and_the_file_stays(renamed, tmp_path, capsys, arguments, said):
    path = tmp_path / "weights.safetensors"
    state = MODELS["hierarchical" if arguments == ["scaled"] else "mlp"].build().state_dict().values()
    names = TREE if arguments == ["scaled"] else BEFORE["mlp", ""]
    save_file(dict(zip(names.split(), state, strict=True)), path)
    before = path.read_bytes()
    assert renamed(path, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert any(part in error for part in said.split("|"))
    assert path.read_bytes() == before


def test_weights_that_have_their_names_are_refused():
    path = PRETRAINED / "mlp.safetensors"
    before = path.read_bytes()
    done = subprocess.run([sys.executable, TOOL, path, "mlp"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith(f"error: {path}: expected names such as 0.weight")
    assert path.read_bytes() == before

"""Lines that could be broken without any other test noticing: found by breaking them, one by one."""

import math

import pytest
import torch

from common import names as names_module
from common import optim
from common.constraints import Length, NotIn
from common.evaluate import mean_loss
from common.experiments import Run, data, load_model, run, taught
from common.field import VariationalDropout
from common.layers import BatchNorm1d, Dropout, Embedding, Flatten, Layer, Sequential, every_layer
from common.models import BatchOnlyBatchNorm1d, dilated, flat, hierarchical
from common.names import IGNORE_INDEX, examples, sequences
from common.sampling import log_probabilities
from common.stacked import Stacked
from common.train import Config, _identity
from common.vocabulary import Vocabulary


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# the statistics of chapter 5's bug grow, and nothing else does


def test_statistics_of_the_bug_are_stored_and_put_back_though_they_grew():
    layer, x = BatchOnlyBatchNorm1d(3), torch.randn((5, 4, 3), generator=generator())
    layer(x)
    assert layer.running_mean.shape == (1, 4, 3)
    fresh = BatchOnlyBatchNorm1d(3).load_state_dict(layer.state_dict()).eval()
    assert torch.equal(fresh(x), layer.eval()(x))
    layer.load_state_dict(BatchOnlyBatchNorm1d(3).state_dict())  # and back to those of the start
    assert layer.running_mean.shape == (3,)


@pytest.mark.parametrize(
    "kind, name, shape",
    [
        (BatchOnlyBatchNorm1d, "running_mean", (1, 4, 2)),
        (BatchOnlyBatchNorm1d, "running_var", ()),
        (BatchOnlyBatchNorm1d, "weight", (1, 4, 3)),
        (BatchNorm1d, "running_mean", (1, 4, 3)),
    ],
)
def test_no_other_tensor_grows(kind, name, shape):
    layer = kind(3)
    with pytest.raises(ValueError, match=f"expected {name} of shape"):
        layer.load_state_dict(layer.state_dict() | {name: torch.ones(shape)})


def test_a_tree_with_the_bug_is_stored_and_put_back():
    build = lambda seed: Tree(  # noqa: E731
        9, n_embd=3, n_hidden=4, norm=BatchOnlyBatchNorm1d, generator=generator(seed)
    )
    model, other = build(0), build(1)
    x = torch.randint(0, 9, (6, 8), generator=generator())
    model(x)
    assert torch.equal(other.load_state_dict(model.state_dict()).eval()(x), model.eval()(x))


# the compiled path looks at its contexts once, for its graph cannot


@pytest.mark.parametrize("wrong", [-1, 9])
@pytest.mark.parametrize("optimizer", [None, optim.Adam()], ids=["sgd", "adam"])
def test_the_stacked_step_refuses_contexts_that_the_plain_one_refuses(wrong, optimizer):
    model = MLP(9, block_size=2, n_embd=3, n_hidden=4, generator=generator())
    contexts, targets = torch.tensor([[0, 1], [2, wrong]]), torch.tensor([1, 2])
    with pytest.raises(IndexError, match=r"expected integers in \[0, 9\)"):
        model(contexts)
    with pytest.raises(IndexError, match=r"expected integers in \[0, 9\)"):
        Stacked([model], contexts, targets, 2, optimizer=optimizer)


# what a configuration hands to its optimiser


@pytest.mark.parametrize(
    "name, expected",
    [
        ("sgd", optim.SGD(weight_decay=0.25)),
        ("momentum", optim.SGD(0.75, 0.25)),
        ("rmsprop", optim.RMSprop(weight_decay=0.25)),
        ("adam", optim.Adam((0.5, 0.625), weight_decay=0.25)),
        ("adamw", optim.AdamW((0.5, 0.625), weight_decay=0.25)),
        ("muon", optim.Muon(betas=(0.5, 0.625), weight_decay=0.25)),
    ],
)
def test_a_configuration_hands_all_its_settings_to_the_optimiser(name, expected):
    config = Config(optimizer=name, momentum=0.75, betas=(0.5, 0.625), weight_decay=0.25)
    assert config.optimiser() == expected


# where dropout stands in a network, and what it draws from


def test_dilated_puts_dropout_before_its_levels_and_behind_each():
    build = lambda **sizes: Dilated(9, 4, 4, dilations=(1, 2), generator=generator(), **sizes)  # noqa: E731
    shares = lambda model: [layer.p for layer in model.modules() if isinstance(layer, Dropout)]  # noqa: E731
    assert shares(build()) == []
    assert shares(build(dropout=0.25)) == [0.25, 0.25]
    assert shares(build(input_dropout=0.5)) == [0.5]
    assert [type(layer) for layer in build(input_dropout=0.5).layers][:2] == [Embedding, Dropout]


def test_dropout_of_whole_names_keeps_the_mean_and_draws_from_its_generator():
    layer, x = VariationalDropout(0.75), torch.ones(300, 2, 200)
    layer.generator = generator(1)
    y = layer(x)
    assert sorted(y.unique().tolist()) == [0, 4] and abs(y.mean().item() - 1) < 0.02
    layer.generator = generator(1)
    assert torch.equal(layer(x), y)
    assert torch.equal(layer.eval()(x), x)


# targets, scores and machines


def test_targets_that_only_pad_are_marked_as_such():
    x, y = examples(["a", "cde"], Vocabulary("abcdefgh"), None)
    assert x.tolist() == [[0, 1, 0, 0], [0, 3, 4, 5]]
    assert y.tolist() == [[1, 0, IGNORE_INDEX, IGNORE_INDEX], [3, 4, 5, 0]]


def test_a_mean_of_many_losses_is_taken_in_double_precision():
    weight = torch.zeros(3)

    class Fixed(Module):
        def __call__(self, x):
            return weight.expand(len(x), 3)

    x = torch.zeros((300_000, 1), dtype=torch.long)
    loss = float(torch.tensor(3.0).log())  # of one prediction, in 32 bits
    assert abs(mean_loss(Fixed(), x, x[:, 0]) - loss) < 1e-12


def test_scores_are_computed_in_double_precision():
    model = Sequential([Embedding(3, 3), Flatten()])
    model.layers[0].weight = torch.tensor([[0.0, 40.0, 0.0], [50.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    (score,) = log_probabilities(model, Vocabulary("ab"), 1, ["b"])
    assert abs(float(score) - (-40 - math.log(3))) < 1e-12


def test_a_constraint_remembers_no_more_than_it_needs():
    at_least = Length(3)
    state = at_least.start()
    for _ in range(9):
        state = at_least.step(state, "a")
    assert state == 3  # and not 9: enough is enough
    other = NotIn(["emma"])
    state = other.start()
    for character in "emil":
        state = other.step(state, character)
    assert state == NotIn.FREE


# runs


@pytest.fixture
def short_list(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(load_names(SHIPPED_NAMES)[:60] + ["emma"] * 5) + "\n")
    return path


def small_run(path, **settings):
    sizes = {"n_embd": 3, "n_hidden": 4, "dilations": [1]}
    return Run("dilated", Config(steps=2, batch_size=4), sizes, names=path, **settings)


def test_distinct_names_count_once(short_list):
    every, once = (data(small_run(short_list, distinct=d), torch.device("cpu")) for d in (False, True))
    assert every.rows == 65 and once.rows == len(set(load_names(short_list)))
    assert sum(len(x) for x, _ in once.splits.values()) == once.rows < 65


def test_teachers_teach_their_mean_and_belong_to_the_run(short_list, tmp_path):
    teacher, student = tmp_path / "teacher", small_run(short_list)
    results = run(small_run(short_list, seeds=(0, 1)), teacher)
    assert math.isfinite(results["sd"]["val"])
    assert run(small_run(short_list), tmp_path / "one")["sd"] is None
    student = small_run(short_list, teachers=(teacher,))
    on = data(student, torch.device("cpu"))
    x, y = on.splits["train"]
    with torch.no_grad():
        both = [torch.softmax(load_model(teacher, seed)(x), dim=-1) for seed in (0, 1)]
    soft, counted = taught(student, on), y != IGNORE_INDEX
    torch.testing.assert_close(soft[counted], (0.5 * (both[0] + both[1]))[counted], atol=1e-5, rtol=0)
    before = student.identity()
    assert before != small_run(short_list).identity()
    (teacher / "model-1.safetensors").write_bytes((teacher / "model-0.safetensors").read_bytes())
    assert student.identity() != before  # the same folder, another teacher in it


def test_a_checkpoint_belongs_to_its_teachers():
    model = Dilated(9, 4, 4, dilations=(1,), generator=generator())
    x, y, _ = sequences(["ab", "cd"], Vocabulary("abcdefgh"))
    soft = torch.rand((2, 3, 9), generator=generator())
    said = [_identity(model, x, y, [Config()], probabilities) for probabilities in (soft, soft + 1, None)]
    assert len({each["data"] for each in said}) == 3

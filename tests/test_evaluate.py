"""Losses by window, by position and by split; their mean and spread."""

import math
from string import ascii_lowercase

import pytest
import torch
from small_tensors import generator

from common.data import IGNORE_INDEX, Vocabulary, examples
from common.evaluate import Spread, loss_by_position, mean_loss, smooth, spread, token_losses
from common.models import tagged
from common.nn import BatchNorm1d, Embedding, Flatten, Linear, Module, Sequential

NETWORKS = tagged("whole names")


@pytest.fixture
def model():
    """A model whose modes differ, with running statistics unlike those of a batch."""
    g = generator()
    model = Sequential(
        [
            Embedding(5, 4, generator=g),
            Flatten(),
            Linear(12, 6, generator=g),
            BatchNorm1d(6),
            Linear(6, 5, generator=g),
        ]
    )
    model.layers[3].running_mean, model.layers[3].running_var = torch.arange(6.0), torch.arange(6.0) + 1
    return model


def data(count=50):
    g = generator(1)
    return torch.randint(0, 5, (count, 3), generator=g), torch.randint(0, 5, (count,), generator=g)


class Constant(Module):
    """Logits that depend on nothing but the first character."""

    def __init__(self, table):
        self.table = torch.tensor(table)

    def __call__(self, x):
        return self.table[x[:, 0]]


def test_losses_are_negative_log_probabilities_in_evaluation_mode(model):
    contexts, targets = data()
    losses = token_losses(model, contexts, targets)
    model.eval()
    logits = model(contexts)
    expected = logits.exp().sum(1).log() - logits[torch.arange(50), targets]
    torch.testing.assert_close(losses, expected)
    assert losses.shape == (50,) and losses.device.type == "cpu"
    assert mean_loss(model, contexts, targets) == pytest.approx(expected.mean().item(), abs=1e-6)


def test_by_hand():
    model = Constant([[0.0, 0.0, 0.0, 0.0], [math.log(7), 0.0, 0.0, 0.0]])
    contexts, targets = torch.tensor([[0], [1], [1]]), torch.tensor([2, 0, 3])
    expected = [math.log(4), -math.log(0.7), math.log(10)]
    assert token_losses(model, contexts, targets).tolist() == pytest.approx(expected)
    assert mean_loss(model, contexts, targets) == pytest.approx(sum(expected) / 3)


def test_evaluation_leaves_the_model_as_it_was(model):
    model.layers[3].eval()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    mean_loss(model, *data())
    assert [layer.training for layer in model.layers] == [True, True, True, False, True]
    assert model.training
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_evaluation_takes_no_gradients(model):
    for p in model.parameters():
        p.requires_grad_()
    assert not token_losses(model, *data()).requires_grad


@pytest.mark.parametrize("chunk", [1, 7, 49, 50, 51])
def test_chunks_do_not_matter(model, chunk):
    whole = token_losses(model, *data())
    torch.testing.assert_close(token_losses(model, *data(), chunk=chunk), whole)


def test_windows_count_alike_whatever_the_last_chunk():
    model = Constant([[0.0, 0.0], [0.0, 3.0]])
    contexts = torch.cat([torch.zeros(8_192, 1), torch.ones(10, 1)]).long()
    targets = torch.zeros(8_202, dtype=torch.long)
    expected = (8_192 * math.log(2) + 10 * math.log(1 + math.exp(3))) / 8_202
    assert mean_loss(model, contexts, targets) == pytest.approx(expected, abs=1e-6)


def test_contexts_without_targets_are_refused(model):
    contexts, targets = data()
    with pytest.raises(ValueError):
        token_losses(model, contexts, targets[1:])


def test_smoothing_takes_means_of_stretches():
    assert smooth(torch.arange(7.0), 3).tolist() == [1, 4]
    assert smooth(torch.arange(6.0), 1).tolist() == [0, 1, 2, 3, 4, 5]
    losses = torch.randn(2, 3_000, generator=generator())
    torch.testing.assert_close(smooth(losses, 1_000), losses.view(2, -1, 1_000).mean(2))
    torch.testing.assert_close(smooth(losses, 3_000), losses.mean(1, keepdim=True))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("chunk", [2, 8_192])
def test_losses_of_whole_names_are_those_of_each_name_alone(network, chunk):
    names = ["anna", "bo", "christopher", "mia", "maximilian"]
    vocabulary, build = Vocabulary(ascii_lowercase), NETWORKS[network].build
    model = build(generator=generator()).to(dtype=torch.float64)
    x, y = examples(names, vocabulary, None)
    assert (y == IGNORE_INDEX).any() and x.shape == y.shape
    expected, model = [], model.eval()
    for name in names:
        codes = vocabulary.encode(name)
        with torch.no_grad():
            p = torch.softmax(model(torch.tensor([[0, *codes]])), dim=-1)[0]
        expected += [-math.log(p[t, code]) for t, code in enumerate([*codes, 0])]
    model.train()
    losses = token_losses(model, x, y, chunk=chunk)
    assert losses.tolist() == pytest.approx(expected, abs=1e-9)
    assert mean_loss(model, x, y) == pytest.approx(sum(expected) / len(expected), abs=1e-9)
    assert len(losses) == sum(len(name) + 1 for name in names) and model.training


@pytest.mark.parametrize("window", [0, -1, 8])
def test_smoothing_refuses_an_impossible_window(window):
    with pytest.raises(ValueError, match=f"a window of 1 to 7 steps, got {window}"):
        smooth(torch.arange(7.0), window)


def test_losses_by_position():
    losses = torch.tensor([1.0, 2.0, 3.0, 5.0, 6.0, 3.0, 4.0, 8.0, 9.0])
    assert loss_by_position(losses, iter(["ab", "c", "def"])) == [3, 4, 5.5, 9]


@pytest.mark.parametrize("count", [8, 10])
def test_losses_by_position_want_a_loss_a_window(count):
    with pytest.raises(ValueError, match=f"windows? of 3 names, got {count} losses"):
        loss_by_position(torch.ones(count), ["ab", "c", "def"])


def test_spread_is_the_mean_and_the_sample_standard_deviation():
    values = [2.0, 2.1, 2.5, 1.9]
    mean, sd = spread(iter(values))
    assert mean == pytest.approx(2.125)
    assert sd == pytest.approx(torch.tensor(values, dtype=torch.float64).std(unbiased=True).item())
    assert spread([1.0, 3.0]) == Spread(2.0, math.sqrt(2))
    assert str(spread([2.0, 2.1])) == "2.050 ± 0.071"


def test_one_seed_has_no_spread():
    value = spread([2.0])
    assert value.mean == 2.0 and math.isnan(value.sd)
    assert str(value) == "2.000"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_seed_that_diverged_leaves_no_spread(value):
    found = spread([2.0, value])
    assert not math.isfinite(found.mean) and math.isnan(found.sd)


def test_no_seed_is_refused():
    with pytest.raises(ValueError, match="at least one value"):
        spread([])


def test_a_mean_of_many_losses_is_taken_in_double_precision():
    weight = torch.zeros(3)

    class Fixed(Module):
        def __call__(self, x):
            return weight.expand(len(x), 3)

    x = torch.zeros((300_000, 1), dtype=torch.long)
    loss = float(torch.tensor(3.0).log())  # of one prediction, in 32 bits
    assert abs(mean_loss(Fixed(), x, x[:, 0]) - loss) < 1e-12

"""Sampling feeds the model the right contexts, draws from its distribution, and leaves it as it was."""

from string import ascii_lowercase

import pytest
import torch

from common.layers import BatchNorm1d, Layer
from common.models import MODELS
from common.sample import sample
from common.vocabulary import Vocabulary

VOCABULARY = Vocabulary(ascii_lowercase)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Fake(Layer):
    """Writes down what it is asked, and answers with one row of logits for all or one a context."""

    def __init__(self, answer):
        self.table = torch.zeros(1)
        self.answer = answer
        self.asked, self.modes, self.grads = [], [], []

    def __call__(self, x):
        self.asked.append(x.tolist())
        self.modes.append(self.training)
        self.grads.append(torch.is_grad_enabled())
        rows = [self.answer(row) if callable(self.answer) else self.answer for row in x.tolist()]
        return torch.tensor(rows, dtype=torch.float32)


def certain(index, size=4):
    return [100.0 * (i == index) for i in range(size)]


def spelling(vocabulary, *texts):
    """A fake that spells texts: what follows a context of a text's beginning is its next character."""
    following = {}
    for text in texts:
        marked = [0, 0, 0] + vocabulary.encode(text) + [0]
        for i in range(3, len(marked)):
            following[tuple(marked[i - 3 : i])] = marked[i]
    return Fake(lambda row: certain(following[tuple(row)], len(vocabulary)))


def trained():
    """A model with running statistics of its own, so that both modes differ."""
    model = MODELS["mlp"].build(generator=generator(3))
    model.layers[-1].weight = 20 * model.layers[-1].weight
    for seed in range(20):
        model(torch.randint(0, 27, (32, 3), generator=generator(seed)))
    return model


def test_contexts_are_what_was_drawn_so_far():
    model = spelling(VOCABULARY, "abcde")
    assert sample(model, VOCABULARY, 3, generator=generator()) == ["abcde"]
    assert model.asked == [[[0, 0, 0]], [[0, 0, 1]], [[0, 1, 2]], [[1, 2, 3]], [[2, 3, 4]], [[3, 4, 5]]]


@pytest.mark.parametrize(
    "prefix, first", [("a", [0, 0, 1]), ("abc", [1, 2, 3]), ("abcd", [2, 3, 4]), ("abcde", [3, 4, 5])]
)
def test_contexts_start_with_the_end_of_the_prefix(prefix, first):
    model = spelling(VOCABULARY, "abcde")
    assert sample(model, VOCABULARY, 3, 2, generator=generator(), prefix=prefix) == ["abcde"] * 2
    assert model.asked[0] == [first] * 2


def test_every_name_keeps_its_own_context_and_ended_ones_are_asked_no_more():
    branches = {0: [0.0, 0.0, 0.0, -100.0], 1: certain(0), 2: certain(3), 3: certain(0)}
    model = Fake(lambda row: branches[row[-1]])
    names = sample(model, Vocabulary("abc"), 2, 60, generator=generator())
    assert set(names) == {"", "a", "bc"}
    assert [len(rows) for rows in model.asked[:2]] == [60, 60 - names.count("")]
    assert model.asked[2] == [[2, 3]] * names.count("bc")
    assert len(model.asked) == 3


def test_the_model_is_in_evaluation_mode_and_takes_no_gradients():
    model = Fake(certain(0))
    sample(model, Vocabulary("abc"), 3, generator=generator())
    assert model.modes == [False] and model.grads == [False]
    assert model.training


@pytest.mark.parametrize("switch", [None, 2, 3])
def test_modes_and_statistics_are_restored(switch):
    model = trained()
    if switch:
        model.layers[switch].eval()
    modes = [layer.training for layer in model.layers]
    before = {name: t.clone() for name, t in model.tensors().items()}
    sample(model, VOCABULARY, 3, 5, generator=generator())
    assert [layer.training for layer in model.layers] == modes and model.training
    assert all(torch.equal(t, before[name]) for name, t in model.tensors().items())


def test_modes_are_restored_after_an_exception():
    model = trained()
    with pytest.raises(ValueError, match="last dimension"):
        sample(model, VOCABULARY, 4, generator=generator())  # made for 3 characters
    assert model.training and all(layer.training for layer in model.layers)


def test_both_modes_draw_the_same():
    model = trained()
    drawn = sample(model, VOCABULARY, 3, 10, generator=generator())
    assert sample(model.eval(), VOCABULARY, 3, 10, generator=generator()) == drawn
    assert not any(layer.training for layer in model.layers)


def test_a_name_does_not_depend_on_the_names_beside_it():
    model = trained()
    alone = sample(model, VOCABULARY, 3, 1, generator=generator(), prefix="em", temperature=1e-4)
    together = sample(model, VOCABULARY, 3, 7, generator=generator(), prefix="em", temperature=1e-4)
    assert together == alone * 7


def test_a_seed_decides_the_names():
    model = trained()
    first, same, other = (sample(model, VOCABULARY, 3, 20, generator=generator(s)) for s in (1, 1, 2))
    assert first == same != other


def test_draws_come_from_the_generator_alone():
    model, g = trained(), generator(1)
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    drawn = [sample(model, VOCABULARY, 3, 5, generator=g) for _ in range(2)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert drawn[0] != drawn[1]


def test_prefixes_stay():
    names = sample(trained(), VOCABULARY, 3, 20, generator=generator(), prefix="emm")
    assert len(names) == 20
    assert all(name.startswith("emm") for name in names)
    assert len(set(names)) > 1


def test_the_end_token_is_not_part_of_a_name():
    names = sample(Fake([0.0, 0.0, 0.0, 0.0]), Vocabulary("abc"), 3, 200, generator=generator())
    assert not any("." in name for name in names)
    assert "" in names and any(len(name) > 3 for name in names)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 1e6])
def test_frequencies_match_the_models_distribution(temperature):
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    count = 20_000
    names = sample(
        Fake(logits.tolist()), Vocabulary("abc"), 3, count,
        generator=generator(4), temperature=temperature, max_length=1,
    )  # fmt: skip
    drawn = torch.tensor([names.count(text) for text in ("", "a", "b", "c")]) / count
    expected = torch.softmax(logits / temperature, 0)
    assert ((drawn - expected).abs() < 4 * (expected * (1 - expected) / count).sqrt()).all()


@pytest.mark.parametrize("temperature", [1e-4, 1e-10, 1e-45])
def test_no_temperature_to_speak_of_takes_the_likeliest(temperature):
    rows = {0: [0.0, 1.0, 1.2, 1.1], 2: [0.5, -3.0, 0.2, 0.6], 3: [-1.0, -3.0, -2.0, -2.0]}
    model = Fake(lambda row: rows[row[-1]])
    names = sample(model, Vocabulary("abc"), 3, 50, generator=generator(), temperature=temperature)
    assert names == ["bc"] * 50


@pytest.mark.parametrize("prefix, max_length", [("", 7), ("", 1), ("ab", 7), ("abab", 4)])
def test_names_without_an_end_are_cut(prefix, max_length):
    model = Fake([-100.0, 0.0, 0.0, 0.0])
    names = sample(
        model, Vocabulary("abc"), 3, 5, generator=generator(), prefix=prefix, max_length=max_length
    )
    assert [len(name) for name in names] == [max_length] * 5
    assert all(name.startswith(prefix) for name in names)


def test_names_are_40_characters_at_most():
    names = sample(Fake(certain(1)), Vocabulary("abc"), 3, generator=generator())
    assert names == ["a" * 40]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"temperature": 0}, "temperature above 0, got 0"),
        ({"temperature": -1.0}, "temperature above 0, got -1"),
        ({"temperature": float("nan")}, "temperature above 0, got nan"),
        ({"count": 0}, "count of at least 1, got 0"),
        ({"count": -3}, "count of at least 1, got -3"),
        ({"prefix": "éa"}, "'é' of 'éa'"),
        ({"prefix": "Em"}, "'E' of 'Em'"),
        ({"prefix": "em."}, "prefix without '.'"),
    ],
    ids=str,
)
def test_wrong_input_is_refused(options, message):
    model = trained()
    with pytest.raises(ValueError, match=message):
        sample(model, VOCABULARY, 3, generator=generator(), **options)
    assert model.training


@pytest.mark.parametrize("key", MODELS)
def test_every_model_of_the_book_can_be_sampled(key):
    recipe = MODELS[key]
    model = recipe.build(generator=generator())
    model(torch.randint(0, 27, (32, recipe.block_size), generator=generator()))
    assert any(isinstance(layer, BatchNorm1d) for layer in model.layers)
    names = sample(model, VOCABULARY, recipe.block_size, 3, generator=generator(), prefix="em")
    assert len(names) == 3 and all(name.startswith("em") for name in names)

"""The task of the book: the next character of a name."""

import pytest
import torch
from small_runs import NAMES

from common.data import IGNORE_INDEX, SHIPPED_NAMES
from common.evaluate import mean_loss
from common.models import MODELS
from common.runs import tasks
from common.runs.tasks import SPLITS, TASKS, digest
from common.train import Examples

CPU = torch.device("cpu")


@pytest.fixture
def short_list(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(NAMES[:60] + ["emma"] * 5) + "\n", encoding="utf-8")
    return path


def loaded(path, alphabet="abcdefghijklmnopqrstuvwxyz", distinct=False, block_size=None):
    return TASKS["names"](path, alphabet, distinct, block_size, CPU)


def test_distinct_names_count_once(short_list):
    every, once = (loaded(short_list, distinct=distinct) for distinct in (False, True))
    assert every.about["names"]["rows"] == 65 and once.about["names"]["rows"] == len({*NAMES[:60], "emma"})
    assert sum(len(x) for x, _ in once.splits.values()) == once.about["names"]["rows"] < 65


@pytest.mark.parametrize("block_size", [None, 3])
def test_what_is_read_is_split_and_says_where_it_is_from(short_list, block_size):
    data = loaded(short_list, block_size=block_size)
    assert tuple(data.splits) == SPLITS and data.longest == max(NAMES[:60], key=len)
    counted = {split: int((y != IGNORE_INDEX).sum()) for split, (_, y) in data.splits.items()}
    assert data.about == {
        "names": {
            "file": "names.txt", "sha256": digest(short_list), "rows": 65, "distinct_only": False,
            "windows": counted,
        },
        "vocabulary": "abcdefghijklmnopqrstuvwxyz",
    }  # fmt: skip
    assert sum(counted.values()) == sum(len(name) + 1 for name in NAMES[:60]) + 5 * 5


def test_any_alphabet_is_that_of_the_list(short_list):
    short_list.write_text("zoé\nanne-marie\n" * 6, encoding="utf-8")
    data = loaded(short_list, alphabet=None)
    assert data.about["vocabulary"] == "-aeimnorzé"
    with pytest.raises(ValueError, match="line 1: character 'é'"):
        loaded(short_list)


def test_its_examples_and_its_metric_are_those_of_the_splits(short_list):
    data = loaded(short_list, block_size=3)
    examples = data.to_train_on()
    assert isinstance(examples, Examples) and examples.soft_targets is None
    assert examples.contexts is data.splits["train"][0] and examples.targets is data.splits["train"][1]
    model = MODELS["mlp"].build(generator=torch.Generator().manual_seed(0))
    assert data.metric(model, "val") == mean_loss(model, *data.splits["val"])
    soft = torch.zeros(len(examples.targets), 27)
    assert data.to_train_on(soft).soft_targets is soft


def test_a_list_that_has_changed_is_read_again(short_list):
    first = loaded(short_list)
    assert loaded(short_list) is first
    short_list.write_text("\n".join(NAMES[60:90]) + "\n", encoding="utf-8")
    assert loaded(short_list).about["names"]["rows"] == 30


def test_a_digest_is_that_of_the_content(short_list, tmp_path):
    assert digest(short_list) == digest(short_list) != digest(SHIPPED_NAMES)
    assert digest(tmp_path) == digest(tmp_path / "nowhere") == ""
    assert tasks.TASKS.keys() == {"names"}

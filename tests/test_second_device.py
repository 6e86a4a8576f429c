"""The second device takes and refuses what CUDA does: the same tables run on a GPU, where there is one."""

import contextlib
import copy

import pytest
import torch
import torch.nn.functional as F
from second_device import SECOND, There, second_device
from small_tensors import generator
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

HERE = torch.arange(6.0).view(2, 3)  # on the CPU
NUMBER, ROWS, COLUMNS = torch.tensor(2.0), torch.tensor([1, 0]), torch.tensor([[2], [0]])

# x: (2, 3), d: its device
ALLOWED = {
    "a number from the CPU": lambda x, d: [x * NUMBER, NUMBER * x, x > NUMBER, x[0, 0] + NUMBER, x**NUMBER],
    "a number of Python": lambda x, d: [x + 1, 1 - x, x == 2, x.clamp(min=1.0), x.masked_fill(x > 1, 0.5)],
    "a number from the CPU in its place": lambda x, d: [x.clone().mul_(NUMBER), x.clone().fill_(NUMBER)],
    "a choice from the CPU": lambda x, d: [torch.where(x > 1, x, NUMBER), x.masked_fill(x > 1, NUMBER)],
    "indices from the CPU": lambda x, d: [x[ROWS], x[ROWS, 1], x[HERE > 2], x[:, ROWS]],
    "indices of Python": lambda x, d: [x[[1, 0]], x[0, [2, 1]], x[1], x[..., -1], x[:, None], x[None, 1:]],
    "indices from there": lambda x, d: [x[ROWS.to(d)], x[x > 2], x.gather(1, COLUMNS.to(d))],
    "written at indices from the CPU": lambda x, d: [written(x, ROWS[:1], 7.0), written(x, HERE > 2, NUMBER)],
    "written from the CPU": lambda x, d: [written(x, 0, HERE[1]), written(x, slice(1), HERE[:1])],
    "copied": lambda x, d: [
        x.to("cpu"), x.cpu(), x.to(HERE), HERE.to(x), HERE.clone().copy_(x), x.to(d, torch.double),
        x.copy_(HERE),
    ],
    "made there": lambda x, d: [
        torch.zeros(3, device=d), torch.ones(2, 3, dtype=torch.bool, device=d).tril(1),
        torch.arange(3, device=d), torch.full((2,), 3.0, device=d), torch.empty(2, device=d).zero_(),
        torch.tensor([[1, 2]], device=d), torch.as_tensor([1.5], device=d), torch.linspace(0, 1, 3, device=d),
        torch.scalar_tensor(2.0, device=d), torch.zeros_like(HERE, device=d),
    ],
    "made like another": lambda x, d: [
        x.new_zeros(2), x.new_full((2,), 3.0), x.new_tensor([1, 2]), torch.zeros_like(x), torch.ones_like(x),
        x.new_zeros(2, device="cpu"), torch.zeros_like(x, device="cpu"),
    ],
    "read": lambda x, d: [
        x.tolist(), x[1, 1].item(), float(x.sum()), int(x.max()), bool((x > 1).any()), len(x),
        [row.tolist() for row in x], x.cpu().numpy().tolist(),
    ],
    "drawn on the CPU, then moved": lambda x, d: [torch.rand(3, generator=generator()).to(d)],
    "packed by lengths on the CPU": lambda x, d: packed(x, torch.tensor([2, 3])),
    "copies of its own": lambda x, d: [copy.deepcopy(x), x.clone(), x.detach(), x.data],
}  # fmt: skip
REFUSED = {
    "sum": lambda x, d: x + HERE,
    "sum with a number there": lambda x, d: HERE * x[0, 0],
    "sum in its place": lambda x, d: x.add_(HERE),
    "a number on the CPU is written to": lambda x, d: NUMBER.clone().mul_(x[0, 0]),
    "clamp": lambda x, d: x.clamp(min=NUMBER),
    "product": lambda x, d: x @ HERE.T,
    "product from the left": lambda x, d: HERE @ x.T,
    "side by side": lambda x, d: torch.cat([x, HERE]),
    "numbers in a row": lambda x, d: torch.stack([x[0, 0], NUMBER]),
    "comparison": lambda x, d: torch.equal(x, HERE),
    "closeness": lambda x, d: torch.allclose(x, HERE),
    "choice by a mask": lambda x, d: torch.where(HERE > 1, x, 0.0),
    "choice of values": lambda x, d: torch.where(x > 1, x, HERE),
    "mask": lambda x, d: x.masked_fill(HERE > 1, 0.0),
    "mask from there": lambda x, d: HERE.masked_fill(x > 1, 0.0),
    "selected by a mask": lambda x, d: torch.masked_select(x, HERE > 1),
    "indices from there": lambda x, d: HERE[ROWS.to(d)],
    "gather": lambda x, d: x.gather(1, COLUMNS),
    "index_select": lambda x, d: x.index_select(0, ROWS),
    "index_add": lambda x, d: x.index_add(0, ROWS, x),
    "values at indices": lambda x, d: written(x, ROWS, HERE),
    "values at a mask": lambda x, d: written(x, x > 2, torch.ones(3)),
    "embedding": lambda x, d: F.embedding(ROWS, x),
    "targets of a loss": lambda x, d: F.cross_entropy(x, ROWS),
    "shares as targets of a loss": lambda x, d: F.cross_entropy(x, HERE.softmax(1)),
    "normalised": lambda x, d: F.layer_norm(x, (3,), torch.ones(3)),
    "attention": lambda x, d: F.scaled_dot_product_attention(x[None], x[None], HERE[None, :, :2]),
    "lengths": lambda x, d: packed(x, torch.tensor([2, 3], device=d)),
    "a generator of the CPU": lambda x, d: torch.rand(3, generator=generator(), device=d),
    "drawn in its place": lambda x, d: x.uniform_(generator=generator()),
    "tokens": lambda x, d: torch.multinomial(x + 1, 1, generator=generator()),
    "an array": lambda x, d: x.numpy(),
}  # fmt: skip
gpu = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))


@contextlib.contextmanager
def on(name):
    with second_device() if name == "second" else contextlib.nullcontext(torch.device(name)) as device:
        yield device


def written(x, index, value):
    x = x.clone()
    x[index] = value
    return x


def packed(x, lengths):
    rows = torch.stack([x, 2 * x]).transpose(1, 2)  # (2, 3, 2)
    packed = pack_padded_sequence(rows, lengths, batch_first=True, enforce_sorted=False)
    return [packed.data, packed.batch_sizes, *pad_packed_sequence(packed, batch_first=True)]


def plain(value):
    return value.cpu() if isinstance(value, torch.Tensor) else value


@pytest.mark.parametrize("name", ["second", gpu])
@pytest.mark.parametrize("what", ALLOWED)
def test_what_cuda_takes_gives_what_the_cpu_gives(what, name):
    expected = ALLOWED[what](HERE.clone(), torch.device("cpu"))
    with on(name) as device:
        found = ALLOWED[what](HERE.to(device), device)
        for mine, theirs in zip(map(plain, found), map(plain, expected), strict=True):
            assert torch.equal(mine, theirs) if isinstance(theirs, torch.Tensor) else mine == theirs


@pytest.mark.parametrize("name", ["second", gpu])
@pytest.mark.parametrize("what", REFUSED)
def test_what_cuda_refuses_is_refused(what, name):
    REFUSED[what](HERE.clone(), torch.device("cpu"))  # wrong in its place alone
    with on(name) as device, pytest.raises(TypeError if what == "an array" else RuntimeError):
        REFUSED[what](HERE.to(device), device)


def test_where_a_result_is():
    with second_device() as device:
        x = HERE.to(device)
        for t in (
            x * NUMBER,
            NUMBER * x,
            x[ROWS],
            HERE.to(x),
            x.new_tensor([1]),
            torch.zeros(2, device="meta"),
        ):
            assert t.device == x.device == SECOND != HERE.device and isinstance(t, There)
        for t in (x.cpu(), x.to("cpu"), x.new_zeros(2, device="cpu"), torch.zeros(2), HERE.clone().copy_(x)):
            assert t.device == HERE.device and type(t) is torch.Tensor
        assert not x.is_cpu and not x.is_meta and x.to(device) is x and not isinstance(HERE + 1, There)
        assert packed(x, torch.tensor([2, 3]))[1].device == HERE.device


def test_gradients_and_views_and_steps_are_those_of_the_cpu():
    def trained(device):
        w, x = HERE.clone().to(device).requires_grad_(), HERE.to(device)
        for _ in range(3):
            y = 2 * (w[:, 1:] * x[:, :2]).tanh()
            y[0] += w[1, :2]
            (g,) = torch.autograd.grad(F.cross_entropy(y, ROWS.to(device)), [w])
            w.data = w.data - 0.1 * g
            w.data[0].mul_(0.5)
        assert w.is_leaf and w.requires_grad and w.device == device
        return w.detach().cpu()

    with second_device() as device:
        assert torch.equal(trained(device), trained(torch.device("cpu")))


def test_modules_of_torch_move_there_and_back():
    module, x = torch.nn.GRU(3, 4, batch_first=True).double(), HERE[None].double()
    before, parameters = module(x)[0].detach(), list(module.parameters())
    with second_device() as device:
        for p in module.parameters():
            p.data = p.data.to(device)
        with pytest.raises(RuntimeError, match="not at the same device|two devices"):
            module(x)
        assert torch.equal(module(x.to(device))[0].cpu(), before)
        for p in module.parameters():
            p.data = p.data.cpu()
    assert torch.equal(module(x)[0], before)
    assert all(p is q and type(p) is torch.nn.Parameter and p.requires_grad
               for p, q in zip(module.parameters(), parameters, strict=True))  # fmt: skip


def test_what_draws_without_a_cpu_generator_gives_other_numbers():
    with second_device() as device:
        torch.manual_seed(0)
        there, again, dropped = torch.rand(9, device=device), torch.rand(9, device=device), HERE.to(device)
        dropped = F.dropout(dropped + 1)
        here = torch.rand(9)
        torch.manual_seed(0)
        assert torch.equal(here, torch.rand(9))  # the CPU's numbers are not used up there
        assert not torch.equal(there.cpu(), here) and not torch.equal(there, again)
        assert dropped.device == device


def test_outside_there_is_no_second_device():
    with second_device() as device:
        x = HERE.to(device)
    with pytest.raises(RuntimeError, match="outside of `with second_device"):
        x + 1
    assert type(torch.zeros(1, device="meta")) is torch.Tensor and "There(tensor" in repr(x)

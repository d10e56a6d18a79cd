"""Training without torch's compiler: the same bits, and it is not even imported."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from mvlab.training.without_compiler import HIDDEN_FROM_THE_COMPILER, PlainDistributedDataParallel, plain_optimizer

KINDS = (torch.optim.AdamW, torch.optim.SGD)
SCRIPT = """
import sys, tempfile, torch
from pathlib import Path
from torch import distributed
from training.small import EVALUATED, ALONE, assign, few_digits, go
from mvlab.training import build, run_rank
from mvlab.training.without_compiler import PlainDistributedDataParallel
folder = Path(sys.argv[1])
distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
one = run_rank.build_trainer
def as_of_several_ranks(run, bare, world):
    trainer = one(run, bare, world)
    trainer.model = PlainDistributedDataParallel(bare, forward_sync_buffers=False, gradient_as_bucket_view=True)
    return trainer
run_rank.build_trainer = as_of_several_ranks
assert go(assign(folder / "run", few_digits(folder), EVALUATED))
print([name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""


def test_a_run_does_not_import_the_compiler(tmp_path: Path) -> None:
    """Training, evaluation and checkpoint, under DistributedDataParallel."""
    here = [str(Path(__file__).parents[1]), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {here!r}\n{SCRIPT}", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "[]\n", done.stderr


def stepped(kind: type[torch.optim.Optimizer]) -> list[torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.SiLU(), nn.Linear(7, 3))
    optimizer = kind([{"params": list(model.parameters()), "weight_decay": 0.1}], lr=0.1, fused=True)  # type: ignore[call-arg]
    for _ in range(3):
        optimizer.zero_grad(set_to_none=True)
        model(torch.randn(4, 5)).square().mean().backward()
        optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict())
    return [each.detach().clone() for each in model.parameters()]


@pytest.mark.parametrize("kind", KINDS)
def test_an_optimizer_makes_the_same_bits(kind: type[torch.optim.Optimizer]) -> None:
    assert all(map(torch.equal, stepped(kind), stepped(plain_optimizer(kind))))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*HIDDEN_FROM_THE_COMPILER, "step"])
def test_what_is_hidden_from_the_compiler_is_wrapped_once_and_can_be_unwrapped(
    kind: type[torch.optim.Optimizer], name: str
) -> None:
    wrapped = getattr(kind, name)
    assert inspect.unwrap(wrapped) is not wrapped
    assert inspect.signature(inspect.unwrap(wrapped)) == inspect.signature(wrapped)


def test_the_parallel_model_is_torchs_but_for_the_compiler() -> None:
    assert "_inside_ddp_forward" in vars(DistributedDataParallel)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        model = nn.Linear(3, 2)
        outputs = [kind(model)(torch.ones(1, 3)) for kind in (DistributedDataParallel, PlainDistributedDataParallel)]
    finally:
        distributed.destroy_process_group()
    assert torch.equal(*outputs)

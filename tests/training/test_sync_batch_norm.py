"""BatchNorm over several ranks is BatchNorm of one process over the joined batch."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from training.ranks import run_ranks

from mvlab.models.backbones.mobilevit import MobileViT
from mvlab.networks import NANO, MobileViTConfig
from mvlab.training.sync_batch_norm import BatchNormOverRanks, synchronise

CPU = torch.device("cpu")
SIZES = {2: (5, 2), 3: (2, 6, 1), 4: (3, 1, 4, 2)}
"""Images on each rank, by number of ranks."""
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
CHANNELS, CLASSES, STEPS = 6, 3, 2
BUCKETS_MB = (25.0, 0.01)
"""The first holds all gradients; the others are reduced between the layers' own reductions."""
TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-5}


# One layer


def layer(dtype: torch.dtype, momentum: float | None = 0.1) -> nn.BatchNorm2d:
    batch_norm = nn.BatchNorm2d(CHANNELS, momentum=momentum).to(dtype)
    with torch.no_grad():
        batch_norm.weight.copy_(torch.linspace(-1, 2, CHANNELS))
        batch_norm.bias.copy_(torch.linspace(1, -1, CHANNELS))
    return batch_norm


def images_and_directions(count: int, step: int, dtype: torch.dtype, mean: float) -> tuple[Tensor, Tensor]:
    """Images (B, C, 5, 4), each unlike the next, and the direction in which the output is asked to go."""
    generator = torch.Generator().manual_seed(step)
    images, directions = torch.randn(2, count, CHANNELS, 5, 4, generator=generator, dtype=torch.float64)
    spread = torch.linspace(0.5, 3, count, dtype=torch.float64).reshape(-1, 1, 1, 1)
    return (mean + spread + spread * images).to(dtype), (directions + 0.3 + images).to(dtype)


def run_layer(
    batch_norm: nn.Module, part: slice, count: int, memory: torch.memory_format, mean: float, stored: torch.dtype
) -> dict:
    """Two training steps over a part of the images, which are rounded to `stored`: all that they leave behind."""
    dtype, results = next(batch_norm.parameters()).dtype, {}
    for step in range(2):
        images, directions = (each.to(dtype) for each in images_and_directions(count, step, stored, mean))
        images = images[part].contiguous(memory_format=memory).requires_grad_()
        out = batch_norm(images)
        batch_norm.zero_grad()
        (out * directions[part]).sum().backward()
        assert images.grad is not None
        assert out.is_contiguous(memory_format=memory)
        assert images.grad.is_contiguous(memory_format=memory)
        results[f"out {step}"], results[f"d_images {step}"] = out.detach(), images.grad
    grads = {f"d_{name}": parameter.grad for name, parameter in batch_norm.named_parameters()}
    return results | grads | batch_norm.state_dict()


def part_of(rank: int, world: int) -> slice:
    first = sum(SIZES[world][:rank])
    return slice(first, first + SIZES[world][rank])


LAYERS: dict[str, dict[str, Any]] = {
    f"{name}, {dtype}": {"dtype": dtype, "memory": memory}
    for name, memory in FORMATS.items()
    for dtype in (torch.float64, torch.float32)
} | {
    "mean much larger than deviation": {"dtype": torch.float32, "mean": 3000.0},
    "average of all steps": {"dtype": torch.float64, "momentum": None},
}


def run_case(
    part: slice,
    count: int,
    *,
    over_ranks: bool,
    dtype: torch.dtype,
    memory: torch.memory_format = torch.channels_last,
    mean: float = 0.0,
    momentum: float | None = 0.1,
    exactly: bool = False,
) -> dict:
    """`exactly` computes in float64 on the same images: torch's own float32 is no measure where the mean is large."""
    batch_norm = layer(torch.float64 if exactly else dtype, momentum)
    return run_layer(synchronise(batch_norm, CPU) if over_ranks else batch_norm, part, count, memory, mean, dtype)


# A network


def small_cnn() -> nn.Module:
    blocks = [
        nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.SiLU())
        for before, after in ((3, 8), (8, 12), (12, 16))
    ]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, CLASSES))


def nano() -> nn.Module:
    return MobileViT(MobileViTConfig(widths=NANO, classifier_dropout=0.0), CLASSES)


NETWORKS = {"small_cnn": small_cnn, "nano": nano}


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[name]().to(torch.float64, memory_format=torch.channels_last)


def train(model: nn.Module, bare: nn.Module, part: slice, count: int, world: int) -> dict:
    """A few steps of SGD over a part of the images, each rank's loss weighted by its share of them."""
    optimizer = torch.optim.SGD(bare.parameters(), lr=0.1)
    grads: dict[str, Tensor] = {}
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(step)
        images = torch.rand(count, 3, 64, 64, generator=generator, dtype=torch.float64)[part]
        labels = torch.randint(CLASSES, (count,), generator=generator)[part]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images.contiguous(memory_format=torch.channels_last)), labels)
        (loss * world * len(labels) / count).backward()
        grads |= {f"step {step}, d_{name}": p.grad.clone() for name, p in bare.named_parameters() if p.grad is not None}
        optimizer.step()
    return grads | {name: value.clone() for name, value in bare.state_dict().items()}


def train_over_ranks(rank: int, world: int, name: str, bucket_mb: float) -> dict:
    """In DistributedDataParallel as the worker sets it up."""
    bare = synchronise(build(name), CPU)
    model = DistributedDataParallel(
        bare, broadcast_buffers=False, gradient_as_bucket_view=True, bucket_cap_mb=bucket_mb
    )
    return train(model, bare, part_of(rank, world), sum(SIZES[world]), world)


# What the ranks run, all in one start


def autocast_step(rank: int, world: int) -> dict:
    batch_norm = synchronise(layer(torch.float32), CPU)
    images, directions = images_and_directions(sum(SIZES[world]), 0, torch.bfloat16, 0.0)
    images = images[part_of(rank, world)].requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = batch_norm(images)
    (out * directions[part_of(rank, world)]).sum().backward()
    return {"out": out.detach(), "d_images": images.grad} | batch_norm.state_dict()


def empty_batch(rank: int, world: int) -> str:
    batch_norm = synchronise(layer(torch.float32), CPU)
    try:
        batch_norm(torch.zeros(0, CHANNELS, 4, 4))
    except ValueError as error:
        return str(error)
    return ""


def evaluated(rank: int, world: int) -> bool:
    """Whether evaluation is nn.BatchNorm2d's, bit for bit, in a group too. Ranks have different numbers of batches."""
    ours, theirs = synchronise(layer(torch.float32), CPU).eval(), layer(torch.float32).eval()
    batches = [images_and_directions(4, step, torch.float32, 0.0)[0] for step in range(rank + 1)]
    return all(torch.equal(ours(images), theirs(images)) for images in batches)


def everything(rank: int, world: int) -> dict:
    count, part = sum(SIZES[world]), part_of(rank, world)
    return {
        "layers": {name: run_case(part, count, over_ranks=True, **case) for name, case in LAYERS.items()},
        "networks": {(name, mb): train_over_ranks(rank, world, name, mb) for name in NETWORKS for mb in BUCKETS_MB},
        "autocast": autocast_step(rank, world),
        "evaluated": evaluated(rank, world),
        "empty": empty_batch(rank, world),
    }


@pytest.fixture(scope="module", params=list(SIZES))
def ranks(request: pytest.FixtureRequest) -> list[dict]:
    """What each rank has to say."""
    return run_ranks(request.param, everything)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_over_ranks_is_a_layer_over_the_joined_batch(ranks: list[dict], name: str) -> None:
    case, world = LAYERS[name], len(ranks)
    tolerance = TOLERANCES[case["dtype"]]
    if "mean" in case:  # a float32 of 3000 itself is only good to 1e-4
        tolerance = 1e-3
    joined = run_case(slice(None), sum(SIZES[world]), over_ranks=False, exactly=True, **case)
    of_ranks = [rank["layers"][name] for rank in ranks]
    for key, expected in joined.items():
        parts = [results[key] for results in of_ranks]
        if key in ("d_weight", "d_bias"):
            ours = torch.stack(parts).sum(dim=0)
        elif key.startswith(("out", "d_images")):
            ours = torch.cat(parts)
        else:
            ours = parts[0]
            assert all(torch.equal(ours, other) for other in parts), f"{key} differs between the ranks"
        expected = expected.to(ours.dtype)
        torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("bucket_mb", BUCKETS_MB)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_over_ranks_trains_as_over_the_joined_batch(ranks: list[dict], name: str, bucket_mb: float) -> None:
    world, bare = len(ranks), build(name)
    joined = train(bare, bare, slice(None), sum(SIZES[world]), world=1)
    for results in ranks:
        ours = results["networks"][name, bucket_mb]
        assert ours.keys() == joined.keys()
        for key, expected in joined.items():
            error = (ours[key] - expected).double().norm()
            assert error <= 1e-6 * expected.double().norm() + 1e-12, f"{key}: off by {error}"


def test_under_autocast_statistics_are_float32_and_outputs_are_not(ranks: list[dict]) -> None:
    world, batch_norm = len(ranks), layer(torch.float32)
    images, directions = images_and_directions(sum(SIZES[world]), 0, torch.bfloat16, 0.0)
    wide = images.float().requires_grad_()
    out = batch_norm(wide)
    (out * directions.float()).sum().backward()
    assert wide.grad is not None
    ours = {key: torch.cat([rank["autocast"][key] for rank in ranks]) for key in ("out", "d_images")}
    assert {value.dtype for value in ours.values()} == {torch.bfloat16}
    torch.testing.assert_close(ours["out"].float(), out, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(ours["d_images"].float(), wide.grad, rtol=1e-2, atol=1e-2)
    for key in ("running_mean", "running_var"):
        torch.testing.assert_close(ranks[0]["autocast"][key], batch_norm.state_dict()[key], rtol=1e-5, atol=1e-5)


def test_in_a_group_evaluation_is_batch_norm_bit_for_bit(ranks: list[dict]) -> None:
    assert all(rank["evaluated"] for rank in ranks)


def test_an_empty_batch_is_refused(ranks: list[dict]) -> None:
    assert all("every rank needs one" in rank["empty"] for rank in ranks)


# Alone


@pytest.fixture(params=["no group", "a group of one"])
def _alone(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    if request.param == "no group":
        yield
        return
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("_alone")
@pytest.mark.parametrize("name", LAYERS)
def test_alone_it_is_batch_norm_bit_for_bit(name: str) -> None:
    ours, theirs = (run_case(slice(None), 7, over_ranks=over_ranks, **LAYERS[name]) for over_ranks in (True, False))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_is_replaced_and_the_state_stays(name: str) -> None:
    plain, ours = build(name), build(name)
    parameters = dict(ours.named_parameters())
    assert synchronise(ours, CPU) is ours
    layers = [module for module in ours.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(layers) >= 3
    assert {type(module) for module in layers} == {BatchNormOverRanks}
    assert all(parameter is parameters[key] for key, parameter in ours.named_parameters())
    assert list(ours.state_dict()) == list(plain.state_dict())
    copy.deepcopy(ours).load_state_dict(plain.state_dict())
    plain.load_state_dict(ours.state_dict())


# The helper


def fail_on_the_last(rank: int, world: int, message: str) -> None:
    if rank == world - 1:
        raise LookupError(message)
    distributed.barrier()


def hang(rank: int, world: int) -> None:
    if rank == 0:
        distributed.barrier()


def test_an_exception_of_a_rank_is_raised_here_with_its_traceback() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)rank 1: .*fail_on_the_last.*LookupError: as it was told"):
        run_ranks(2, fail_on_the_last, "as it was told")


def test_ranks_that_wait_for_ever_are_ended() -> None:
    with pytest.raises(TimeoutError, match="of 2 ranks"):
        run_ranks(2, hang, time_limit_s=3.0)

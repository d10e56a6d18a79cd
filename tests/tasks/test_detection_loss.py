"""SSD's loss agrees with loops written from the paper and with torchvision's, and does not depend on how a batch is
split among ranks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tasks import plain_ssd
from torch import Tensor
from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from training.ranks import run_ranks

from mvlab.models.build import build_network
from mvlab.models.heads.detector import Predictions
from mvlab.models.heads.ssdlite import SSDLite, priors
from mvlab.networks import NANO, MobileViTConfig, SSDLiteConfig
from mvlab.tasks.detection.coding import decode, to_corners
from mvlab.tasks.detection.config import LossConfig
from mvlab.tasks.detection.loss import LossSums, hard_negatives, loss_sums
from mvlab.tasks.detection.matching import match
from mvlab.tasks.detection.objective import DetectionObjective
from mvlab.training.collectives import AllRanks

CPU = torch.device("cpu")
CLASSES = 4
SIZE = (96, 64)
CONFIG = LossConfig()


PRIORS = priors(*SIZE)


@cache
def detector() -> SSDLite:
    network = build_network(SSDLiteConfig(backbone=MobileViTConfig(widths=NANO)), CLASSES)
    assert isinstance(network, SSDLite)
    return network


@dataclass(frozen=True)
class Sample:
    """Predictions and targets of a batch."""

    outputs: Predictions
    targets: dict[str, Any]

    def part(self, images: slice) -> "Sample":
        return Sample(
            tuple(each[images] for each in self.outputs),  # type: ignore[arg-type]
            {name: column[images] for name, column in self.targets.items()},
        )


def sample(counts: Sequence[int], *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Sample:
    """A batch of images with this many objects, and predictions from a normal distribution."""
    draw = torch.Generator().manual_seed(seed)
    boxes = []
    for count in counts:
        low, high = torch.rand(2, count, 2, generator=draw).sort(dim=0).values * 0.98
        boxes.append(torch.cat((low, high + 0.02), dim=1))
    targets = {
        "boxes": boxes,
        "categories": [torch.randint(CLASSES, (count,), generator=draw) for count in counts],
        "output_size": torch.tensor(SIZE).expand(len(counts), 2),
    }
    offsets = torch.randn(len(counts), len(PRIORS), 4, generator=draw, dtype=dtype)
    logits = torch.randn(len(counts), len(PRIORS), CLASSES + 1, generator=draw, dtype=dtype) * 3
    return Sample((offsets.requires_grad_(), logits.requires_grad_()), targets)


def sums(of: Sample, config: LossConfig = CONFIG) -> LossSums:
    return loss_sums(of.outputs, of.targets["boxes"], of.targets["categories"], PRIORS, config)


def objective(config: LossConfig = CONFIG) -> DetectionObjective:
    return DetectionObjective(config, "release", detector(), AllRanks())


def plain(of: Sample) -> tuple[float, float, int]:
    """Losses by the loops, in float64."""
    totals = np.zeros(3)
    arrays = [each.detach().double().numpy() for each in of.outputs]
    for image, (boxes, categories) in enumerate(zip(of.targets["boxes"], of.targets["categories"], strict=True)):
        matched = plain_ssd.match(boxes.numpy(), PRIORS.numpy(), 0.5)
        one = (each[image] for each in arrays)
        totals += plain_ssd.loss(*one, boxes.double().numpy(), categories.tolist(), PRIORS.double().numpy(), matched)
    return float(totals[0]), float(totals[1]), int(totals[2])


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=4), st.integers(0, 2**32))
def test_it_is_the_papers(counts: list[int], seed: int) -> None:
    batch = sample(counts, seed=seed)
    found, (boxes, classes, positives) = sums(batch), plain(batch)
    assert found.positives == positives
    assert found.boxes.item() == pytest.approx(boxes, rel=1e-6)
    assert found.classes.item() == pytest.approx(classes, rel=1e-6)


def test_it_is_the_papers_for_a_hundred_objects() -> None:
    batch = sample((100, 1, 0))
    boxes, classes, positives = plain(batch)
    loss = objective().loss(batch.outputs, batch.targets)
    assert loss.tolist() == pytest.approx([boxes / positives, classes / positives], rel=1e-6)


def test_it_is_torchvisions_and_so_are_its_gradients() -> None:
    theirs = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES + 1)
    batch = sample((3, 1, 7, 2))
    matches = match(batch.targets["boxes"], PRIORS, 0.5)
    matched = torch.full((4, len(PRIORS)), -1)
    firsts = torch.tensor([0, 3, 4, 11])
    matched[matches.images, matches.priors] = matches.objects - firsts[matches.images]
    labelled = zip(batch.targets["boxes"], batch.targets["categories"], strict=True)
    losses = theirs.compute_loss(
        [{"boxes": boxes, "labels": categories + 1} for boxes, categories in labelled],
        {"bbox_regression": batch.outputs[0], "cls_logits": batch.outputs[1]},
        [to_corners(PRIORS)] * 4,
        list(matched),
    )
    ours = sums(batch)
    assert (ours.boxes / ours.positives).item() == pytest.approx(losses["bbox_regression"].item(), rel=1e-6)
    assert (ours.classes / ours.positives).item() == pytest.approx(losses["classification"].item(), rel=1e-6)
    expected = torch.autograd.grad(sum(losses.values()), batch.outputs)
    found = torch.autograd.grad((ours.boxes + ours.classes) / ours.positives, batch.outputs)
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-7, rtol=1e-5)


def test_negatives_are_those_whose_background_is_least_likely() -> None:
    batch = sample((5, 0, 2))
    matches = match(batch.targets["boxes"], PRIORS, 0.5)
    images, negatives = hard_negatives(batch.outputs[1], matches, 3)
    background = batch.outputs[1].softmax(dim=-1)[..., 0]
    positives = torch.bincount(matches.images, minlength=3)
    assert torch.equal(torch.bincount(images, minlength=3), 3 * positives)
    for image in (0, 2):
        chosen, taken = negatives[images == image], matches.priors[matches.images == image]
        left = torch.ones(len(PRIORS), dtype=torch.bool)
        left[torch.cat((chosen, taken))] = False
        assert not set(chosen.tolist()) & set(taken.tolist())
        assert background[image, chosen].max() <= background[image, left].min()


def test_there_are_no_more_negatives_than_priors_without_an_object() -> None:
    batch = sample((2,))
    matches = match(batch.targets["boxes"], PRIORS, 0.5)
    _, negatives = hard_negatives(batch.outputs[1], matches, 10**6)
    assert sorted(negatives.tolist() + matches.priors.tolist()) == list(range(len(PRIORS)))
    assert len(hard_negatives(batch.outputs[1], matches, 0)[0]) == 0


def test_predictions_that_are_right_have_no_loss() -> None:
    """Gradient descent on free predictions ends at the objects' boxes and classes."""
    batch = sample((4, 0, 2))
    optimizer = torch.optim.Adam(batch.outputs, lr=0.3)
    for _ in range(150):
        optimizer.zero_grad()
        loss = objective().loss(batch.outputs, batch.targets).sum()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    offsets, logits = batch.outputs
    matches = match(batch.targets["boxes"], PRIORS, 0.5)
    boxes, categories = torch.cat(batch.targets["boxes"]), torch.cat(batch.targets["categories"])
    found = decode(offsets, PRIORS)[matches.images, matches.priors]
    torch.testing.assert_close(found, boxes[matches.objects], atol=0.02, rtol=0)
    assert torch.equal(logits[matches.images, matches.priors].argmax(dim=-1), categories[matches.objects] + 1)


@pytest.mark.parametrize("normalised_by", ["all_ranks", "rank"])
def test_a_batch_without_objects_has_loss_zero_and_no_gradients(normalised_by: Any) -> None:
    """The release divides by zero."""
    targets = sample((0, 0)).targets
    detector().zero_grad()
    outputs = detector()(torch.rand(2, 3, *SIZE))
    loss = objective(replace(CONFIG, normalised_by=normalised_by)).loss(outputs, targets)
    assert loss.tolist() == [0, 0]
    loss.sum().backward()
    assert all(each.grad is not None and not each.grad.any() for each in detector().parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_loss_of_half_precision_outputs_is_computed_in_float32(dtype: torch.dtype) -> None:
    half = sample((3, 5), dtype=dtype)
    full = Sample(tuple(each.detach().float() for each in half.outputs), half.targets)  # type: ignore[arg-type]
    loss = objective().loss(half.outputs, half.targets)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, objective().loss(full.outputs, full.targets))
    assert all(each.dtype == dtype for each in torch.autograd.grad(loss.sum(), half.outputs))


def test_boxes_of_one_image_do_not_change_the_losses_of_another() -> None:
    batch = sample((4, 0, 9))
    parts = [sums(batch.part(slice(image, image + 1))) for image in range(3)]
    whole = sums(batch)
    assert whole.positives == sum(each.positives for each in parts)
    assert whole.boxes.item() == pytest.approx(sum(each.boxes.item() for each in parts), rel=1e-6)
    assert whole.classes.item() == pytest.approx(sum(each.classes.item() for each in parts), rel=1e-6)


COUNTS = {2: (5, 0, 1, 9, 0, 0), 3: (5, 0, 0, 0, 7, 1)}
"""Objects of each image of all ranks, by number of ranks. The second of three ranks has none."""
RULES = {rule: replace(CONFIG, normalised_by=rule) for rule in ("all_ranks", "rank")}


@dataclass(frozen=True)
class Share:
    """Results of a rank, under one rule."""

    losses: list[float]
    tally: list[float]
    """Sums over all ranks."""
    gradients: Tensor
    """Its part of the gradients of the mean over ranks."""


def share(part: Sample, whole: Sample, config: LossConfig, world: int) -> Share:
    ours = DetectionObjective(config, "release", detector(), AllRanks())
    losses, tally = ours.loss(part.outputs, part.targets), ours.tally(CPU)
    tally.add(part.outputs, part.targets, losses.detach())
    gradients = torch.autograd.grad(losses.sum() / world, whole.outputs)
    flat = torch.cat([each.flatten() for each in gradients])
    return Share(losses.tolist(), AllRanks().sum(tally.sums).tolist(), flat)


def share_by_rule(rank: int, world: int) -> dict[str, Share]:
    whole, size = sample(COUNTS[world]), len(COUNTS[world]) // world
    part = whole.part(slice(rank * size, (rank + 1) * size))
    return {rule: share(part, whole, config, world) for rule, config in RULES.items()}


@pytest.fixture(scope="module", params=list(COUNTS))
def ranks(request: pytest.FixtureRequest) -> list[dict[str, Share]]:
    return run_ranks(request.param, share_by_rule)


def test_ranks_have_the_loss_and_gradients_of_one_process(ranks: list[dict[str, Share]]) -> None:
    whole = sample(COUNTS[len(ranks)])
    alone, shares = share(whole, whole, CONFIG, world=1), [each["all_ranks"] for each in ranks]
    assert np.mean([each.losses for each in shares], axis=0) == pytest.approx(alone.losses, rel=1e-6)
    torch.testing.assert_close(sum(each.gradients for each in shares), alone.gradients, atol=1e-8, rtol=1e-5)
    assert all(each.tally == pytest.approx(alone.tally, rel=1e-6) for each in shares)


def test_by_the_releases_rule_each_rank_divides_by_its_own_matches(ranks: list[dict[str, Share]]) -> None:
    whole, size = sample(COUNTS[len(ranks)]), len(COUNTS[len(ranks)]) // len(ranks)
    for rank, by_rule in enumerate(ranks):
        own = sums(whole.part(slice(size * rank, size * rank + size)))
        expected = [own.boxes.item() / max(1, own.positives), own.classes.item() / max(1, own.positives)]
        assert by_rule["rank"].losses == pytest.approx(expected, rel=1e-6)


def test_the_tally_is_a_mean_over_images() -> None:
    tally = objective().tally(CPU)
    assert all(np.isnan(value) for value in tally.metrics().values())
    for images, losses in ((3, (1.0, 2.0)), (1, (5.0, 0.0))):
        batch = sample((0,) * images)
        tally.add(batch.outputs, batch.targets, torch.tensor(losses))
    assert tally.metrics() == {"loss": 3.5, "box_loss": 2.0, "class_loss": 1.5}


def test_priors_follow_the_size_of_the_batch() -> None:
    ours = objective()
    for size in ((64, 64), (96, 64), (64, 96), (64, 64)):
        outputs = torch.randn(2, len(priors(*size)), 4), torch.randn(2, len(priors(*size)), CLASSES + 1)
        targets = sample((2, 3)).targets | {"output_size": torch.tensor([size, size])}
        theirs = loss_sums(outputs, targets["boxes"], targets["categories"], priors(*size), CONFIG)
        assert ours.loss(outputs, targets)[0].item() == pytest.approx(theirs.boxes.item() / theirs.positives)

"""Speed of a training step of detection, compared with torchvision's, alternately in one process.

    python benchmarks/detection_step.py [--batch 16] [--rounds 7] [--objects 8]

A step is forward, loss, backward and AdamW, in fp32 and channels last, on random images of 320x320 pixels with boxes of
80 classes. Ours is a run's: it also makes floats of pixels, looks for infinite gradients, sums up losses and averages
weights. The others have their images ready and do none of this. There are two:

- torchvision's SSDLite, with its own head on the same backbone, MobileNetv3-Large;
- our network, to the parameter and the prior, in torchvision's `SSD`, which matches and has the loss.

The last line is one JSON object: the speed-up over each, the median ratio of the two times of a round. `lowest` is the
smaller one. `loss_share` is the part of our step that matching, loss and their gradients take.
"""

import argparse
import json
import statistics
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v3_large
from torchvision.models.detection._utils import retrieve_out_channels
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead, _mobilenet_extractor

from mvlab.config import RunConfig, SamplerConfig
from mvlab.data.feed.batch import Batch
from mvlab.markdown import markdown_table
from mvlab.measure.cost import count_parameters
from mvlab.measure.machine import device_name, use_all_cores
from mvlab.models.heads.ssdlite import ASPECT_RATIOS, BOX, READ_AT, SCALES, SSDLite
from mvlab.networks import SSDLiteConfig, TorchvisionConfig
from mvlab.targets import Ragged
from mvlab.tasks.detection.task import Detection
from mvlab.training.build import World, build_model, build_trainer
from mvlab.training.loop import Trainer, to_device
from mvlab.training.schedule import Step

SIDE, CLASSES = 320, 80
WARMUPS = 2
LR = 1e-4
OURS, THEIRS, IN_THEIRS = "ours", "torchvision's SSDLite", "our network in torchvision's SSD"

Side = Callable[[], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--objects", type=int, default=8, help="mean number of objects in an image")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    use_all_cores()
    torch.manual_seed(0)
    device = torch.device(options.device)
    print(f"Training step of SSDLite on MobileNetv3-Large, batch {options.batch}, {device_name(options.device)}\n")
    batch, trainer = random_batch(options.batch, options.objects), our_trainer(options.batch, device)
    networks = {OURS: trainer.bare, THEIRS: their_ssdlite(), IN_THEIRS: in_theirs(device)}
    sides: dict[str, Side] = {OURS: our_step(trainer, batch)}
    sides |= {name: their_step(networks[name], batch, device) for name in (THEIRS, IN_THEIRS)}
    sides["our loss"] = our_loss(trainer, batch)
    times = take_turns(sides, options.rounds, device)
    medians = {name: 1000 * statistics.median(taken) for name, taken in times.items()}
    rows = [[name, f"{count_parameters(each) / 1e6:.2f}", f"{medians[name]:.0f}"] for name, each in networks.items()]
    print(markdown_table(["network", "parameters, M", "step, ms"], rows))
    ratios = {name: ratio(times[name], times[OURS]) for name in (THEIRS, IN_THEIRS)}
    share = {"loss_share": round(medians["our loss"] / medians[OURS], 4), "loss_ms": round(medians["our loss"], 1)}
    print(json.dumps({**ratios, "lowest": min(ratios.values()), **share}))


def ratio(theirs: list[float], ours: list[float]) -> float:
    return round(statistics.median(other / own for other, own in zip(theirs, ours, strict=True)), 3)


def random_batch(size: int, objects: int) -> Batch:
    """Random images, with boxes of at least 2 % of the sides."""
    draw = np.random.default_rng(0)
    counts = draw.integers(1, 2 * objects, size)
    low, high = np.sort(draw.random((2, counts.sum(), 2)), axis=0) * 0.98
    boxes = np.concatenate((low, high + 0.02), axis=1).astype(np.float32)
    return Batch(
        0,
        draw.integers(0, 256, (size, 3, SIDE, SIDE), np.uint8),
        {
            "boxes": Ragged(boxes, np.cumsum(counts)),
            "categories": Ragged(draw.integers(0, CLASSES, len(boxes)), np.cumsum(counts)),
            "output_size": np.full((size, 2), SIDE),
        },
    )


def our_trainer(batch: int, device: torch.device) -> Trainer:
    """Build our SSDLite on torchvision's backbone, and its trainer."""
    run = RunConfig(
        task=Detection(),
        model=SSDLiteConfig(backbone=TorchvisionConfig(name="mobilenet_v3_large")),
        sampler=SamplerConfig(resolutions=(SIDE,), base_resolution=SIDE, base_batch=batch),
    )
    return build_trainer(run, build_model(run, CLASSES, device), World(0, 1, device))


def our_step(trainer: Trainer, batch: Batch) -> Side:
    tally = trainer.objective.tally(trainer.device)
    return lambda: trainer.step(0, batch, Step(0, 1.0, closes=True, lr=LR), tally)


def our_loss(trainer: Trainer, batch: Batch) -> Side:
    """Return matching, loss and the gradients of the network's outputs."""
    images, targets = to_device(batch, trainer.device, channels_last=True)
    with torch.no_grad():
        outputs = [each.clone() for each in trainer.bare(images)]

    def once() -> None:
        free = [each.requires_grad_() for each in outputs]
        torch.autograd.grad(trainer.objective.loss(free, targets).sum(), free)

    return once


def their_ssdlite() -> nn.Module:
    """Build torchvision's SSDLite as `ssdlite320_mobilenet_v3_large` does for a backbone with weights."""
    norm: Any = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
    features = _mobilenet_extractor(mobilenet_v3_large(norm_layer=norm), 6, norm)
    anchors = DefaultBoxGenerator([[2, 3] for _ in range(6)], min_ratio=0.2, max_ratio=0.95)
    channels = retrieve_out_channels(features, (SIDE, SIDE))
    head = SSDLiteHead(channels, anchors.num_anchors_per_location(), CLASSES + 1, norm)
    return their_ssd(features, anchors, head)


def in_theirs(device: torch.device) -> nn.Module:
    """Put our network into torchvision's `SSD`."""
    network = our_trainer(2, device).bare
    assert isinstance(network, SSDLite)
    return their_ssd(
        Maps(network), DefaultBoxGenerator([list(each) for each in ASPECT_RATIOS], scales=SCALES), Heads(network)
    )


def their_ssd(backbone: nn.Module, anchors: nn.Module, head: nn.Module) -> nn.Module:
    mean_std = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    network: nn.Module = SSD(backbone, anchors, (SIDE, SIDE), CLASSES + 1, head=head, **mean_std)
    return network


class Maps(nn.Module):
    """Maps of our network, as torchvision's `SSD` takes them from a backbone."""

    def __init__(self, network: SSDLite) -> None:
        super().__init__()
        self.backbone, self.extra = network.backbone, network.extra

    def forward(self, images_BCHW: Tensor) -> dict[str, Tensor]:
        features = self.backbone.features(images_BCHW)
        maps = [features[stride] for stride in READ_AT]
        for smaller in self.extra:
            maps.append(smaller(maps[-1]))
        return OrderedDict((str(number), each) for number, each in enumerate(maps))


class Heads(nn.Module):
    """Predictions of our network, as torchvision's `SSD` takes them from a head."""

    def __init__(self, network: SSDLite) -> None:
        super().__init__()
        self.heads = network.heads

    def forward(self, maps: list[Tensor]) -> dict[str, Tensor]:
        predicted = torch.cat([head(each) for head, each in zip(self.heads, maps, strict=True)], dim=1)
        return {"bbox_regression": predicted[..., :BOX], "cls_logits": predicted[..., BOX:]}


def their_step(network: nn.Module, batch: Batch, device: torch.device) -> Side:
    network = network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR)
    images, targets = to_device(batch, device, channels_last=True)
    labelled = [
        {"boxes": boxes * SIDE, "labels": categories + 1}
        for boxes, categories in zip(targets["boxes"], targets["categories"], strict=True)
    ]

    def once() -> None:
        sum(network(list(images), labelled).values()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return once


def take_turns(sides: dict[str, Side], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Return the seconds of every round, by side."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(WARMUPS + rounds):
        for name, once in sides.items():
            started = time.perf_counter()
            once()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn >= WARMUPS:
                times[name].append(time.perf_counter() - started)
    return times


if __name__ == "__main__":
    main()

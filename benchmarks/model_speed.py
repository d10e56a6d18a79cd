"""Speed of MobileViT, compared with timm's and transformers' of the same variant, alternately in one run.

    python benchmarks/model_speed.py [--variant s] [--rounds 15] [--compile] [--keep-freed-memory]

Settings: inference of 1 and of 32 images, and a training step on 16, at 256x256 pixels, in fp32 and in bf16 (training:
autocast). All networks have the same weights, are channels last, and train without dropout, as timm's and transformers'
do by default. Ours trains as `optimize` makes it, and infers as `for_inference` prepares it. With --compile, it and
timm's with frozen weights are also compiled, which takes minutes.

Each setting has a process of its own, since earlier allocations change the cost of memory. --keep-freed-memory keeps
glibc from returning memory, as in our training workers; the other libraries gain more from it than ours. The last line
is one JSON object: the speed-up over each library, by setting. `lowest` is the smallest of all.
"""

import argparse
import copy
import json
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import MobileViTConfig as HuggingFaceConfig
from transformers import MobileViTForImageClassification

from mvlab.markdown import markdown_table
from mvlab.measure.machine import machine_name, use_all_cores
from mvlab.models.build import build_network
from mvlab.models.cpu.inference import for_inference
from mvlab.models.cpu.optimize import optimize
from mvlab.models.weights.timm import TIMM
from mvlab.models.weights.transformers import TRANSFORMERS
from mvlab.networks import XS, XXS, MobileViTConfig, S
from mvlab.training.freed_memory import KEEP_FREED_MEMORY

VARIANTS = {"xxs": XXS, "xs": XS, "s": S}
SIDE = 256
NUM_CLASSES = 1000
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
TASKS = (("infer", 1), ("infer", 32), ("train", 16))
WARMUPS = 2

Setting = tuple[str, int, str]
"""Setting: task, images in a batch, precision."""
Times = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", choices=VARIANTS, default="s")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--keep-freed-memory", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    if options.keep_freed_memory:
        os.environ.update(KEEP_FREED_MEMORY)
    print(f"MobileViT-{options.variant.upper()} on {options.device if 'cuda' in options.device else machine_name()}\n")
    settings = [(task, batch, precision) for precision in PRECISIONS for task, batch in TASKS]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as processes:
        measured = processes.map(partial(measure, options), settings)
        by_setting = dict(zip(map(setting_name, settings), measured, strict=True))
    print(markdown_table(["setting", "network", "ms", "ours is faster by"], rows(by_setting)))
    ratios = {setting: ratios_to_theirs(times) for setting, times in by_setting.items()}
    print(json.dumps({**ratios, "lowest": min(ratio for each in ratios.values() for ratio in each.values())}))


def setting_name(setting: Setting) -> str:
    task, batch, precision = setting
    return f"{task} b{batch} {precision}"


def measure(options: argparse.Namespace, setting: Setting) -> Times:
    """Return the milliseconds of every round, by side. The sides take turns."""
    task, batch, precision = setting
    use_all_cores()
    device, dtype = torch.device(options.device), PRECISIONS[precision]
    networks = build(options.variant, device)
    if task == "train":
        sides = training(networks, batch, dtype, device)
    else:
        sides = inferring(networks, batch, dtype, device, compiled=options.compile)
    return take_turns(sides, options.rounds * (3 if batch == 1 else 1), device)


def build(variant: str, device: torch.device) -> dict[str, nn.Module]:
    """Build all networks with the same weights, as far from zero as trained ones, so that nothing is denormal."""
    widths = replace(VARIANTS[variant], dropout=0.0)
    torch.manual_seed(0)
    config = MobileViTConfig(widths=widths, classifier_dropout=0.0)
    ours = build_network(config, NUM_CLASSES)
    with torch.no_grad():
        for weight in ours.parameters():
            if weight.ndim == 2:
                nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    state = ours.state_dict()
    theirs = timm.create_model(f"mobilevit_{variant}", num_classes=NUM_CLASSES)
    theirs.load_state_dict(TIMM.to_theirs(state, config, "rgb"))
    like_ours = HuggingFaceConfig(
        hidden_sizes=[stage.dim for stage in widths.stages],
        neck_hidden_sizes=[widths.stem, *widths.mv2, *(stage.channels for stage in widths.stages), widths.tail],
        expand_ratio=float(widths.expansion),
        hidden_dropout_prob=0.0,
        classifier_dropout_prob=0.0,
        num_labels=NUM_CLASSES,
    )
    face = MobileViTForImageClassification(like_ours)
    face.load_state_dict(TRANSFORMERS.to_theirs(state, config, "rgb"))
    networks: dict[str, nn.Module] = {"ours": optimize(ours), "timm": theirs, "transformers": face}
    return {name: network.to(device, memory_format=torch.channels_last) for name, network in networks.items()}  # type: ignore[call-overload]


Side = Callable[[], Any]


def inferring(
    networks: dict[str, nn.Module], batch: int, dtype: torch.dtype, device: torch.device, *, compiled: bool
) -> dict[str, Side]:
    """Return each side as a function that infers one batch."""
    images = torch.rand(batch, 3, SIDE, SIDE, device=device).to(dtype, memory_format=torch.channels_last)
    ready = {name: copy.deepcopy(network).eval().to(dtype) for name, network in networks.items()}
    ready["ours"] = for_inference(networks["ours"], images)
    if compiled:
        torch._inductor.config.freezing = True
        ready["ours, compiled"] = for_inference(networks["ours"], images, compiled=True)
        ready["timm, compiled"] = torch.compile(copy.deepcopy(networks["timm"]).eval().to(dtype))  # type: ignore[assignment]

    def infer(network: nn.Module) -> Side:
        @torch.inference_mode()
        def once() -> None:
            network(images)

        return once

    return {name: infer(network) for name, network in ready.items()}


def training(networks: dict[str, nn.Module], batch: int, dtype: torch.dtype, device: torch.device) -> dict[str, Side]:
    """Return each side as a function that runs forward and backward of one batch."""
    images = torch.rand(batch, 3, SIDE, SIDE, device=device).to(memory_format=torch.channels_last)
    labels = torch.randint(NUM_CLASSES, (batch,), device=device)

    def step(network: nn.Module) -> Side:
        network.train()

        def once() -> None:
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                loss = F.cross_entropy(logits(network(images)), labels)
            loss.backward()
            network.zero_grad(set_to_none=True)

        return once

    return {name: step(network) for name, network in networks.items()}


def logits(output: Any) -> Tensor:
    """Return the logits of an output, which transformers' networks wrap."""
    return output if isinstance(output, Tensor) else output.logits  # type: ignore[no-any-return]


def take_turns(sides: dict[str, Side], rounds: int, device: torch.device) -> Times:
    times: Times = {name: [] for name in sides}
    for turn in range(WARMUPS + rounds):
        for name, once in sides.items():
            started = time.perf_counter()
            once()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn >= WARMUPS:
                times[name].append(1000 * (time.perf_counter() - started))
    return times


def faster_by(times: Times) -> dict[str, float]:
    """Return the speed-up of our best side over each of the others: the median ratio of the two times of a round."""
    best = min((name for name in times if name.startswith("ours")), key=lambda name: statistics.median(times[name]))
    return {
        name: statistics.median(theirs / ours for theirs, ours in zip(taken, times[best], strict=True))
        for name, taken in times.items()
        if name != best
    }


def ratios_to_theirs(times: Times) -> dict[str, float]:
    return {name: round(ratio, 2) for name, ratio in faster_by(times).items() if not name.startswith("ours")}


def rows(by_setting: dict[str, Times]) -> list[list[str]]:
    return [
        [setting, name, f"{statistics.median(taken):.1f}", f"{ratios[name]:.2f}" if name in ratios else "–"]
        for setting, times in by_setting.items()
        for ratios in [faster_by(times)]
        for name, taken in times.items()
    ]


if __name__ == "__main__":
    main()

"""Speed of evaluating detections against pycocotools alone, and of selecting them against torchvision's SSD.

    .venv/bin/python benchmarks/detection_evaluation.py [--images 5000] [--rounds 1]

All sides are measured alternately in one run. Evaluation: as many images with 100 detections each of 80 classes, in
worlds of one and of two processes, from arrays to the 12 numbers. pycocotools has the same in memory; its time does not
include putting it there. Selection: a batch of 32 images with 3,232 priors, both sides with all cores. The last line is
JSON.
"""

import argparse
import contextlib
import io
import json
import os
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import distributed
from torch.multiprocessing import get_context
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD

from mvlab.markdown import markdown_table
from mvlab.models.heads.ssdlite import priors
from mvlab.tasks.detection.coco_eval import judged
from mvlab.tasks.detection.coding import to_corners
from mvlab.tasks.detection.config import RULES
from mvlab.tasks.detection.evaluator import Alone
from mvlab.tasks.detection.results import Results, ragged, taken
from mvlab.tasks.detection.selection import select
from mvlab.training.collectives import AllRanks

CLASSES, DETECTIONS, OBJECTS = 80, 100, 7
CLASSES_PER_IMAGE = 12
"""Classes that the detections of an image are of. A detector confuses some classes, not all."""
BATCH, SIDE = 32, 320
SELECTIONS = 3
"""Rounds of selection for each round of evaluation."""


def synthetic(images: int) -> Results:
    """Images with about OBJECTS objects each. A third of the detections lies near an object."""
    rng = np.random.default_rng(0)
    columns: dict[str, list[Any]] = {name: [] for name in ("boxes", "categories", "found", "scores", "classes")}
    for _ in range(images):
        count, classes = rng.poisson(OBJECTS), rng.choice(CLASSES, CLASSES_PER_IMAGE, replace=False)
        boxes = np.concatenate((rng.uniform(0, 400, (count, 2)), rng.uniform(5, 250, (count, 2))), axis=1)
        categories = rng.choice(classes, count)
        found = np.concatenate((rng.uniform(0, 400, (DETECTIONS, 2)), rng.uniform(5, 250, (DETECTIONS, 2))), axis=1)
        found_categories = rng.choice(classes, DETECTIONS)
        near = np.flatnonzero(rng.uniform(size=DETECTIONS) < 1 / 3) if count else np.zeros(0, np.int64)
        source = rng.integers(max(count, 1), size=len(near))
        found[near] = boxes[source] + rng.normal(0, 6, (len(near), 4)) if count else found[near]
        found_categories[near] = categories[source] if count else found_categories[near]
        found[:, 2:] = found[:, 2:].clip(1)
        scores = rng.uniform(0.05, 1, DETECTIONS)
        for column, values in zip(columns.values(), (boxes, categories, found, scores, found_categories), strict=True):
            column.append(values)
    boxes_column = ragged(columns["boxes"], np.zeros((0, 4)))
    return Results(
        image_ids=np.arange(images),
        boxes=boxes_column,
        categories=ragged(columns["categories"], np.zeros(0, np.int64)),
        crowd=ragged([np.zeros(len(each), np.bool_) for each in columns["boxes"]], np.zeros(0, np.bool_)),
        areas=ragged([each[:, 2] * each[:, 3] for each in columns["boxes"]], np.zeros(0)),
        found_boxes=ragged(columns["found"], np.zeros((0, 4))),
        found_scores=ragged(columns["scores"], np.zeros(0)),
        found_categories=ragged(columns["classes"], np.zeros(0, np.int64)),
    )


def as_coco(results: Results) -> tuple[COCO, COCO]:
    """Return objects and detections as pycocotools keeps them."""
    truth, found = COCO(), []
    annotations = []
    for image in range(len(results.image_ids)):
        columns = (results.boxes[image], results.categories[image], results.areas[image])
        for box, category, area in zip(*columns, strict=True):
            each = {"bbox": box.tolist(), "category_id": int(category), "area": float(area), "iscrowd": 0}
            annotations.append({**each, "image_id": image, "id": len(annotations) + 1})
        columns = (results.found_boxes[image], results.found_categories[image], results.found_scores[image])
        for box, category, score in zip(*columns, strict=True):
            each = {"image_id": image, "category_id": int(category), "bbox": box.tolist(), "score": float(score)}
            found.append(each)
    images = [{"id": image} for image in range(len(results.image_ids))]
    categories = [{"id": category} for category in range(CLASSES)]
    truth.dataset = {"images": images, "categories": categories, "annotations": annotations}
    truth.createIndex()
    return truth, truth.loadRes(found)


def by_pycocotools(truth: COCO, found: COCO) -> list[float]:
    judge = COCOeval(truth, found, "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    return judge.stats.tolist()


def rank_process(rank: int, world: int, port: int, images: int, pipe: Any) -> None:
    """Evaluate this rank's images whenever asked; answer with the time, which all ranks begin together."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    distributed.init_process_group("gloo", rank=rank, world_size=world)
    everything = synthetic(images)
    mine = taken(everything, np.arange(rank, images, world))
    pipe.send("ready")
    while pipe.recv():
        distributed.barrier()
        started = time.perf_counter()
        precision, _ = judged(mine, AllRanks())
        numbers = [*precision.summary().values()]
        pipe.send((time.perf_counter() - started, numbers))
    distributed.destroy_process_group()


@contextlib.contextmanager
def two_ranks(images: int) -> Any:
    """Give a function that evaluates in two processes and returns seconds and numbers."""
    context, port = get_context("spawn"), 29_700 + os.getpid() % 200
    pipes = [context.Pipe() for _ in range(2)]
    processes = [
        context.Process(target=rank_process, args=(rank, 2, port, images, pipe[1])) for rank, pipe in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    for pipe, _ in pipes:
        pipe.recv()

    def evaluate() -> tuple[float, list[float]]:
        for pipe, _ in pipes:
            pipe.send(True)
        answers = [pipe.recv() for pipe, _ in pipes]
        return max(seconds for seconds, _ in answers), answers[0][1]

    yield evaluate
    for pipe, _ in pipes:
        pipe.send(False)
    for process in processes:
        process.join()


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        answer = action()
    return time.perf_counter() - started, answer


def evaluation(images: int, rounds: int) -> dict[str, float]:
    """Return seconds of pycocotools, of one process and of two."""
    results = synthetic(images)
    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = as_coco(results)
    times: dict[str, list[float]] = {"pycocotools_s": [], "world_1_s": [], "world_2_s": []}
    with two_ranks(images) as in_two:
        for _ in range(rounds):
            seconds, expected = timed(lambda: by_pycocotools(truth, found))
            times["pycocotools_s"].append(seconds)
            seconds, numbers = timed(lambda: [*judged(results, Alone())[0].summary().values()])
            times["world_1_s"].append(seconds)
            assert numbers == expected, "one process differs from pycocotools"
            seconds, numbers = in_two()
            times["world_2_s"].append(seconds)
            assert numbers == expected, "two processes differ from pycocotools"
    return {name: median(values) for name, values in times.items()}


def selection(rounds: int) -> dict[str, float]:
    """Return milliseconds a batch, of an untrained network and of a trained one, for both sides."""
    rule, priors_N4 = RULES["torchvision"], priors(SIDE, SIDE)
    ssd = SSD(
        torch.nn.Identity(), DefaultBoxGenerator([[2]]), (1, 1), CLASSES + 1, head=torch.nn.Identity(),
        score_thresh=rule.score, nms_thresh=rule.iou, detections_per_img=rule.most, topk_candidates=rule.candidates,
    )  # fmt: skip
    anchors, measured = [to_corners(priors_N4)] * BATCH, {}
    for name, background in (("untrained", 0.0), ("trained", 8.0)):
        outputs = predictions(len(priors_N4), background)
        head = {"bbox_regression": outputs[0], "cls_logits": outputs[1]}
        actions: Sequence[tuple[str, Callable[[], Any]]] = (
            ("ours", lambda outputs=outputs: select(outputs, priors_N4, rule)),
            ("torchvision", lambda head=head: ssd.postprocess_detections(head, anchors, [(1, 1)] * BATCH)),
        )
        timed(actions[0][1])  # compiles
        times = [[timed(action)[0] for _, action in actions] for _ in range(rounds)]
        for (side, _), seconds in zip(actions, zip(*times, strict=True), strict=True):
            measured[f"select_{name}_{side}_ms"] = 1e3 * median(seconds)
    return measured


def predictions(num_priors: int, background: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions of a batch; a higher logit of the background leaves fewer candidates, as training does."""
    generator = torch.Generator().manual_seed(0)
    offsets = torch.randn((BATCH, num_priors, 4), generator=generator)
    logits = torch.randn((BATCH, num_priors, CLASSES + 1), generator=generator)
    logits[..., 0] += background
    return offsets, logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    measured = evaluation(asked.images, asked.rounds) | selection(SELECTIONS * asked.rounds)
    print(markdown_table(["measured", "median"], [[name, f"{value:.2f}"] for name, value in measured.items()]))
    ratios = {
        "world_1_share": measured["world_1_s"] / measured["pycocotools_s"],
        "world_2_share": measured["world_2_s"] / measured["pycocotools_s"],
        "select_untrained_speedup": measured["select_untrained_torchvision_ms"] / measured["select_untrained_ours_ms"],
        "select_trained_speedup": measured["select_trained_torchvision_ms"] / measured["select_trained_ours_ms"],
    }
    print(json.dumps({name: round(value, 3) for name, value in (measured | ratios).items()}))


if __name__ == "__main__":
    main()

"""A profile: a trace of some steps of the first epoch that a process works on, and a page on where their time went.

A step, here, reaches from the end of one update to the end of the next: it begins with what there is to report. On a
GPU the phases of traced steps wait for it, so that each has its own time; other steps do not.
"""

import gzip
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, record_function

from mvlab.data.feed.batch import Batch
from mvlab.data.plan import EpochPlan
from mvlab.durable import atomic_write, partial_name
from mvlab.training.files import RunFolder

TRACED_STEPS = 10
WARM_UP_STEPS = 3
"""Steps before the traced ones: the first ones start the feed and fill caches."""
OPERATORS = 10
OURS = "mvlab: "
"""Prefix of our ranges' names in the trace."""
STEP = f"{OURS}step"


class Phase(StrEnum):
    """Phases of a step, one after the other. Time in none of them is Python between them."""

    REPORT = "report"
    CHECKPOINT = "checkpoint"
    DATA_WAIT = "data wait"
    FORWARD = "forward"
    BACKWARD = "backward"
    OPTIMIZER = "optimizer"


OTHER = "other"

MEANING = {
    Phase.REPORT: "progress and ledger",
    Phase.CHECKPOINT: "copying the state; it is written beside the next steps",
    Phase.DATA_WAIT: "until the feed hands over the batch",
    Phase.FORWARD: "pixels to the device, network, loss",
    Phase.BACKWARD: "gradients, all-reduce included",
    Phase.OPTIMIZER: "norm, clipping, update, EMA",
    OTHER: "Python in between, consensus of ranks, accuracy",
    "**step**": "",
    "all-reduce": "within backward, beside its computing: not added",
    "exposed all-reduce": "of that, while nothing is computed: backward only waits",
}

SIZED = (Phase.DATA_WAIT, Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER)
"""Phases that the page shows for each size of batch."""

PhaseOf = Callable[[Phase], AbstractContextManager[None]]


def unprofiled(phase: Phase) -> AbstractContextManager[None]:
    """Return the context of a phase that is not measured."""
    return nullcontext()


class Profiler:
    """Tracer of up to `num_steps` steps of this rank (none, if 0). It writes down the result once they are over."""

    def __init__(self, title: str, folder: RunFolder, device: torch.device, num_steps: int) -> None:
        self.title, self.folder, self.device, self.num_steps = title, folder, device, num_steps
        self._on_gpu = device.type == "cuda"
        self._epoch = 0
        self._traced = range(0)
        """Number of steps, counted from the first of this process."""
        self._done = 0
        self._batches: list[Batch] = []
        self._trace: torch.profiler.profile | None = None
        self._step = ExitStack()

    def begin(self, plan: EpochPlan) -> None:
        """Note that an epoch starts or resumes. Only the first one with steps left matters."""
        if not self._traced and plan.num_steps and self.num_steps:
            first = min(WARM_UP_STEPS, (plan.num_steps - 1) // 2)
            self._traced = range(first, min(first + self.num_steps, plan.num_steps))
            self._epoch = plan.epoch
            self._go_on()

    def phase(self, phase: Phase) -> AbstractContextManager[None]:
        """Return a context whose code is this phase of the step."""
        return nullcontext() if self._trace is None else self._range(phase)

    def stepped(self, batch: Batch) -> None:
        """Note that the batch's update is over, and that the next step begins."""
        self._done += 1
        if self._trace is not None:
            self._step.close()
            self._batches.append(batch)
        self._go_on()

    def close(self) -> None:
        """Stop tracing, and write down the complete steps that were traced."""
        if self._trace is not None:
            trace, self._trace = self._trace, None
            self._step.close()
            trace.stop()
            if self._batches:
                self._write(trace)

    def _go_on(self) -> None:
        if self._done not in self._traced:
            return self.close()
        if self._trace is None:
            os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # it tells everyone of GPUs that it does not find
            cuda = [ProfilerActivity.CUDA] if self._on_gpu else []
            self._trace = torch.profiler.profile(activities=[ProfilerActivity.CPU, *cuda])
            self._trace.start()
        self._step.enter_context(record_function(STEP))

    @contextmanager
    def _range(self, phase: Phase) -> Iterator[None]:
        with record_function(OURS + phase):
            yield
            if self._on_gpu:
                torch.cuda.synchronize(self.device)

    def _write(self, trace: torch.profiler.profile) -> None:
        partial = self.folder.path / f"{partial_name('profile-trace')}.json"
        trace.export_chrome_trace(str(partial))
        content = partial.read_bytes()
        partial.unlink()
        atomic_write(self.folder.profile_trace, gzip.compress(content, compresslevel=4))
        steps = read_steps(json.loads(content)["traceEvents"], self._batches, on_gpu=self._on_gpu)
        atomic_write(self.folder.profile_summary, f"# {self.title}\n\n{self._where()}\n\n{summary(steps)}")

    def _where(self) -> str:
        processor = torch.cuda.get_device_name(self.device) if self._on_gpu else f"{torch.get_num_threads()} CPU(s)"
        steps = f"steps {self._batches[0].step + 1} to {self._batches[-1].step + 1}"
        return (
            f"Epoch {self._epoch + 1}, {steps}, on {processor}. Tracing makes them slower than others. "
            f"`{self.folder.profile_trace.name}`, beside this page, opens in https://ui.perfetto.dev."
        )


@dataclass(frozen=True, slots=True)
class Span:
    """Span of time in a trace, in ms."""

    name: str
    start: float
    end: float

    @property
    def ms(self) -> float:
        return self.end - self.start


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Times of one step, in ms."""

    images: int
    side: int
    whole: float
    phases: Mapping[Phase, float]
    all_reduce: float
    """Part of backward during which gradients are exchanged."""
    exposed: float
    """Part of `all_reduce` during which nothing is computed."""
    calls: Sequence[tuple[str, float]]
    """Operators, without the operators that they call; on a GPU, its kernels."""


def read_steps(events: Iterable[Mapping[str, Any]], batches: Sequence[Batch], *, on_gpu: bool) -> list[Step]:
    """Return the steps of these batches, from the `traceEvents` of a Chrome trace."""
    events = [event for event in events if event.get("ph") == "X"]  # events with a duration
    ours = [event for event in events if event["cat"] == "user_annotation" and event["name"].startswith(OURS)]
    if on_gpu:
        kernels = _spans(event for event in events if event["cat"] == "kernel")
        exchanges = [span for span in kernels if span.name.startswith("nccl")]
        computing = [span for span in kernels if not span.name.startswith("nccl")]
    else:
        thread = ours[0]["tid"]  # backward runs on it too; others only help with operators, or exchange
        computing = _spans(event for event in events if event["cat"] == "cpu_op" and event["tid"] == thread)
        exchanges = _spans(event for event in events if event["name"].startswith("gloo:"))
    ranges = _spans(ours)
    steps = [span for span in ranges if span.name == STEP]
    inside = [[_in([step], spans) for spans in (ranges, computing, exchanges)] for step in steps]
    return [
        _read_step(batch, step, *spans, on_gpu=on_gpu)
        for batch, step, spans in zip(batches, steps, inside, strict=False)  # the last one may have been cut short
    ]


def _read_step(
    batch: Batch, step: Span, ranges: list[Span], computing: list[Span], exchanges: list[Span], *, on_gpu: bool
) -> Step:
    all_reduce = _in([span for span in ranges if span.name == OURS + Phase.BACKWARD], exchanges)
    return Step(
        images=len(batch),
        side=batch.pixels.shape[-1],
        whole=step.ms,
        phases={phase: sum(span.ms for span in ranges if span.name == OURS + phase) for phase in Phase},
        all_reduce=_covered(all_reduce),
        exposed=max(0.0, _covered([*all_reduce, *computing]) - _covered(computing)),
        calls=[(span.name, span.ms) for span in computing] if on_gpu else _own_times(computing),
    )


def _spans(events: Iterable[Mapping[str, Any]]) -> list[Span]:
    """Return the spans by start; of those that start together, the longest first."""
    spans = [Span(each["name"], each["ts"] / 1000, (each["ts"] + each["dur"]) / 1000) for each in events]
    return sorted(spans, key=lambda span: (span.start, -span.end))


def _in(outer: Iterable[Span], spans: Iterable[Span]) -> list[Span]:
    """Return the spans that start in one of `outer`."""
    return [span for span in spans if any(each.start <= span.start < each.end for each in outer)]


def _own_times(spans: Sequence[Span]) -> list[tuple[str, float]]:
    """Return the calls of one thread, in the order of `_spans`, with their times without the calls that they make."""
    own: list[float] = []
    callers: list[int] = []
    for index, span in enumerate(spans):
        while callers and spans[callers[-1]].end <= span.start:
            callers.pop()
        if callers:
            own[callers[-1]] -= span.ms
        own.append(span.ms)
        callers.append(index)
    return [(span.name, ms) for span, ms in zip(spans, own, strict=True)]


def _covered(spans: Iterable[Span]) -> float:
    """Return the time, in ms, in which at least one span is active."""
    covered, end = 0.0, float("-inf")
    for span in sorted(spans, key=lambda span: span.start):
        covered += max(0.0, span.end - max(span.start, end))
        end = max(end, span.end)
    return covered


def summary(steps: Sequence[Step]) -> str:
    """Return three tables: the phases of a step, the sizes of batches, the operators."""
    whole = sum(step.whole for step in steps)
    phases = {str(phase): [step.phases[phase] for step in steps] for phase in Phase}
    phases[OTHER] = [step.whole - sum(step.phases.values()) for step in steps]
    most = max(phases, key=lambda name: sum(phases[name]))
    computed = sum(ms for step in steps for _, ms in step.calls)
    found = (
        f"Most of the time is **{most}**: {sum(phases[most]) / whole:.0%}. Operators, of which the last table lists "
        f"the costliest, are {computed / whole:.0%}; the rest is Python and waiting."
    )
    rows = phases | {
        "**step**": [step.whole for step in steps],
        "all-reduce": [step.all_reduce for step in steps],
        "exposed all-reduce": [step.exposed for step in steps],
    }
    by_phase = [[name, f"{median(ms):.2f}", f"{sum(ms) / whole:.1%}", MEANING[name]] for name, ms in rows.items()]
    tables = [
        _table(["phase", "ms a step (median)", "share", ""], by_phase),
        _table(["images", "steps", "ms a step (median)", "ms an image", *map("its {}".format, SIZED)], _by_size(steps)),
        _table([f"{OPERATORS} costliest", "ms a step", "share", "calls a step"], _by_operator(steps, whole)),
    ]
    return "\n\n".join([found, *tables]) + "\n"


def _by_size(steps: Sequence[Step]) -> list[list[str]]:
    """Return a row per batch size, with the ms that each phase takes per image (median)."""
    rows = []
    for images, side in sorted({(step.images, step.side) for step in steps}, key=lambda size: (size[1], size[0])):
        same = [step for step in steps if (step.images, step.side) == (images, side)]
        whole = median(step.whole for step in same)
        parts = [median(step.phases[phase] for step in same) / images for phase in SIZED]
        numbers = [f"{ms:.2f}" for ms in (whole, whole / images, *parts)]
        rows.append([f"{images} of {side}x{side}", str(len(same)), *numbers])
    return rows


def _by_operator(steps: Sequence[Step], whole: float) -> list[list[str]]:
    calls: dict[str, list[float]] = defaultdict(list)
    for step in steps:
        for name, ms in step.calls:
            calls[name].append(ms)
    costliest = sorted(calls.items(), key=lambda item: sum(item[1]), reverse=True)[:OPERATORS]
    return [
        [f"`{name}`", f"{sum(ms) / len(steps):.2f}", f"{sum(ms) / whole:.1%}", f"{len(ms) / len(steps):.0f}"]
        for name, ms in costliest
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = [":--", *("--:" for _ in header[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))

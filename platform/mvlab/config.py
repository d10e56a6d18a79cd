"""What one training run is: a frozen, complete, validated value whose digest names it in every record.

Where it runs (workers, devices, folders, servers) is never in here; that arrives as arguments.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from mvlab.checks import require, require_fields, require_number
from mvlab.networks import NetworkConfig
from mvlab.networks.base import is_value, network_as_dict
from mvlab.tasks.base import Task


def require_once(name: str, sides: tuple[int, ...]) -> None:
    """Raise a ValueError where a side occurs twice."""
    require(len(set(sides)) == len(sides), f"{name}={sides} has a side twice")


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerConfig:
    """Section 3.2's samplers: a step draws a resolution r, and has b_t = floor(base_resolution^2 base_batch / r^2).

    The paper and its code state several batch rules; they are this formula with other numbers
    (`mvlab.samplers` has them by name):

    - base resolution (the release): `base_batch` images at 256 px, more below and fewer above;
    - Listing 1: the same over its own printed resolutions. Its batch sizes are floats, which cannot index a list;
      here they are floored;
    - maximum resolution (section 3.2's equation): `base_resolution = max(resolutions)`, so `base_batch` is the
      smallest batch;
    - standard: one resolution, the base.

    Raises:
        ValueError: no resolutions, one that is not positive, or a batch below 2.
    """

    resolutions: tuple[int, ...]
    """Sides of the square training inputs, pixels; one is drawn for each step."""
    base_resolution: int
    base_batch: int
    """Images a rank at `base_resolution`; b_t = floor(base_resolution^2 base_batch / H_t W_t)."""

    def __post_init__(self) -> None:
        require_fields(self)
        require(len(self.resolutions) > 0, "sampler.resolutions is empty: name at least one")
        require_once("sampler.resolutions", self.resolutions)
        for side in (*self.resolutions, self.base_resolution):
            require_number("sampler resolution", side, least=1)
        smallest = self.batch_at(max(self.resolutions))
        require(
            smallest >= 2,
            f"base_batch={self.base_batch} leaves {smallest} image(s) a rank at {max(self.resolutions)} px: "
            "BatchNorm needs 2; raise base_batch or drop the largest resolution",
        )

    def batch_at(self, resolution: int) -> int:
        """Images a rank in a step at `resolution` pixels."""
        return self.base_resolution**2 * self.base_batch // resolution**2


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """The update and its learning rate: AdamW, linear warm-up, cosine decay (section 4.1); SGD for Table 5's CNNs."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr_start: float = 2e-4
    lr_peak: float = 2e-3
    lr_end: float = 2e-4
    warmup_updates: int = 3_000
    """Optimizer updates, not epochs: multi-scale batches change how many an epoch has."""
    schedule: Literal["update", "epoch"] = "update"
    """When the cosine moves: at every update, or, as in the release, at every epoch."""
    weight_decay: float = 0.01
    decay: Literal["all", "matrices"] = "all"
    """What decays: all parameters, norms and biases included, as in the release; or those of 2 and more dimensions."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of AdamW."""
    momentum: float = 0.9
    """Of SGD."""
    nesterov: bool = False
    accumulate: int = 1
    """Steps whose gradients make one update, each image weighing the same."""
    clip_norm: float | None = None
    """The most that the gradients' norm may be; None does not clip."""
    lr_factors: tuple[tuple[str, float], ...] = ()
    """Prefixes of parameters' names, such as "classifier", each with a factor of the learning rate. Where several fit,
    the longest counts; all other parameters have the learning rate itself."""

    def __post_init__(self) -> None:
        require_fields(self)
        for name in ("lr_start", "lr_end", "weight_decay", "warmup_updates"):
            require_number(f"optimizer.{name}", getattr(self, name), least=0)
        require_number("optimizer.lr_peak", self.lr_peak, above=0)
        require_number("optimizer.momentum", self.momentum, least=0, below=1)
        for beta in self.betas:
            require_number("optimizer.betas", beta, least=0, below=1)
        require(
            not self.nesterov or self.momentum > 0,
            "optimizer.nesterov needs a momentum above 0",
        )
        require(self.accumulate >= 1, f"optimizer.accumulate={self.accumulate}: an update takes at least one step")
        require(
            self.clip_norm is None or self.clip_norm > 0,
            f"optimizer.clip_norm={self.clip_norm} must be positive; None does not clip",
        )
        prefixes = [prefix for prefix, _ in self.lr_factors]
        require(len(set(prefixes)) == len(prefixes), f"optimizer.lr_factors={self.lr_factors} has a prefix twice")
        for prefix, factor in self.lr_factors:
            require_number(f"optimizer.lr_factors: factor of {prefix!r}", factor, least=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class NumericsConfig:
    """How the numbers are computed."""

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of forward and backward (autocast); weights, their average and the optimizer stay fp32. fp16 scales the loss."""
    channels_last: bool = True
    compile: bool = False
    """torch.compile, once for every resolution: pays off in long runs only."""
    batch_norm: Literal["rank", "all_ranks"] = "rank"
    """Whose images a BatchNorm layer normalises over: those of its rank (the release), or of all ranks."""
    non_finite: Literal["stop", "skip"] = "stop"
    """At gradients that are infinite or no numbers: end the run and keep the batch, or leave the update out and count.
    fp16's loss scaling leaves out updates of its own; those are counted too, and never end a run."""

    def __post_init__(self) -> None:
        require_fields(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """One training run, complete."""

    task: Task
    """What the network is trained for: targets, placement, loss, metrics."""
    model: NetworkConfig
    sampler: SamplerConfig
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    numerics: NumericsConfig = field(default_factory=NumericsConfig)
    epochs: int = 300
    ema_decay: float = 0.9995
    """ema = decay * ema + (1 - decay) * weights, at every update from the first, BN statistics included."""
    seed: int = 0
    initial_weights: str | None = None
    """sha256 of the file whose weights training begins with (fine-tuning); None begins with random ones."""

    def __post_init__(self) -> None:
        require_fields(self)
        require(self.epochs >= 1, f"epochs={self.epochs}: at least one is needed")
        require(0 <= self.ema_decay < 1, f"ema_decay={self.ema_decay} must be in [0, 1)")
        require(0 <= self.seed < 2**32, f"seed={self.seed} must be in [0, 2^32)")
        require(
            self.initial_weights is None or re.fullmatch("[0-9a-f]{64}", self.initial_weights) is not None,
            f"initial_weights={self.initial_weights!r} is no sha256 in lower-case hexadecimal digits",
        )
        kind = type(self.model).__name__
        require(is_value(self.model), f"model is a {kind}, which may change: make it a dataclass with frozen=True")
        require(
            self.model.task == self.task.network,
            f"model: {kind} is for {self.model.task}; {self.task.kind} trains a network for {self.task.network}",
        )
        sizes = {side for each in self.task.evaluations(last=True) for side in each.size}
        self.model.require_sizes(sorted({*self.sampler.resolutions, *sizes}))

    def as_dict(self) -> dict[str, Any]:
        """Nested plain values, for JSON; the task's kind is among its values."""
        values = asdict(self)
        return values | {"task": {"kind": self.task.kind, **values["task"]}, "model": network_as_dict(self.model)}

    def digest(self) -> str:
        """First 16 hex digits of the sha256 of the canonical JSON of every field."""
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`: the dotted names that `vary` takes and people read."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def as_written_now(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of a run that any version recorded, as this version records them.

    Before there were tasks, classification's fields lay beside the others.
    """
    if "task" in values:
        return dict(values)
    once = ("augmentation", "evaluation", "label_smoothing")
    task = {"kind": "classification", **{name: values[name] for name in once if name in values}}
    return {"task": task, **{name: value for name, value in values.items() if name not in once}}


def config_differences(then: str, run: RunConfig) -> list[str]:
    """Each field in which the JSON of a config is not that of `run`, for people."""
    before, now = flatten(as_written_now(json.loads(then))), flatten(json.loads(json.dumps(run.as_dict())))
    names = sorted(before.keys() | now.keys())
    return [
        f"{name}: {before.get(name, 'absent')} then, {now.get(name, 'absent')} now"
        for name in names
        if before.get(name, "absent") != now.get(name, "absent")
    ]

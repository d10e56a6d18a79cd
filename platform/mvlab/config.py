"""Configuration of one training run: a frozen, complete, validated value. Its digest names it in every record.

The place where a run executes (workers, devices, folders, servers) is never part of it. It arrives as arguments.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
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
    """Sampler of section 3.2: a step draws a resolution r; a rank has floor(base_resolution^2 base_batch / r^2) images.

    The paper and its code state several batch rules. All are this formula with other numbers, and `mvlab.samplers` has
    them by name:

    - base resolution (the release): `base_batch` images at 256 px, more below and fewer above;
    - Listing 1: the same rule over the resolutions that it prints. Its batch sizes are floats, which cannot index a
      list; here they are rounded down;
    - maximum resolution (section 3.2's equation): `base_resolution = max(resolutions)`, so `base_batch` is the smallest
      batch;
    - standard: one resolution, the base.

    Raises:
        ValueError: no resolutions, one that is not positive or occurs twice, or a batch below 2.
    """

    resolutions: tuple[int, ...]
    """Sides of the square training inputs, pixels. Each step draws one."""
    base_resolution: int
    base_batch: int
    """Images per rank at `base_resolution`; b_t = floor(base_resolution^2 base_batch / H_t W_t)."""

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
        """Return the images per rank in a step at `resolution` pixels."""
        return self.base_resolution**2 * self.base_batch // resolution**2


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """Optimizer and learning rate: AdamW, linear warm-up, cosine decay (section 4.1); SGD for Table 5's CNNs."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr_start: float = 2e-4
    lr_peak: float = 2e-3
    lr_end: float = 2e-4
    warmup_updates: int = 3_000
    """Length of the warm-up in updates, not epochs: with multi-scale batches, epochs differ in their number of
    updates."""
    schedule: Literal["update", "epoch"] = "update"
    """Interval at which the cosine decay changes the learning rate: each update, or each epoch as in the release."""
    weight_decay: float = 0.01
    decay: Literal["all", "matrices"] = "all"
    """Parameters with weight decay: all, norms and biases included, as in the release; or those of 2 and more
    dimensions."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of AdamW's two moments."""
    momentum: float = 0.9
    """Momentum of SGD."""
    nesterov: bool = False
    accumulate: int = 1
    """Steps whose gradients are accumulated into one update. Each image has the same weight."""
    clip_norm: float | None = None
    """Largest norm of the gradients; larger ones are clipped. None: no clipping."""
    lr_factors: tuple[tuple[str, float], ...] = ()
    """Prefixes of parameter names, such as "classifier", each with a factor of the learning rate. The longest matching
    prefix counts. Parameters without a match have the learning rate itself."""

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
    """Numerical options: precision, memory format, compilation, BatchNorm and non-finite gradients."""

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Precision of forward and backward (autocast). Weights, their EMA and the optimizer stay fp32. fp16 scales the
    loss."""
    channels_last: bool = True
    compile: bool = False
    """Compile with torch.compile, once for every resolution: pays off in long runs only."""
    batch_norm: Literal["rank", "all_ranks"] = "rank"
    """Images that a BatchNorm layer normalises over: those of its rank (the release), or of all ranks."""
    non_finite: Literal["stop", "skip"] = "stop"
    """Reaction to infinite or NaN gradients. stop: end the run and keep the batch. skip: leave the update out and count
    it. Updates that fp16's loss scaling leaves out are counted too; they never end a run."""

    def __post_init__(self) -> None:
        require_fields(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """Complete configuration of one training run."""

    task: Task
    """Task that the network is trained for: targets, placement, loss, metrics."""
    model: NetworkConfig
    sampler: SamplerConfig
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    numerics: NumericsConfig = field(default_factory=NumericsConfig)
    epochs: int = 300
    ema_decay: float = 0.9995
    """Decay of the moving average: ema = decay * ema + (1 - decay) * weights. It is applied at every update from the
    first, BatchNorm statistics included."""
    seed: int = 0
    initial_weights: str | None = None
    """sha256 of the file whose weights training begins with (fine-tuning). None: random weights."""

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
        """Return all fields as nested plain values, for JSON. The task's kind is among its values."""
        values = asdict(self)
        return values | {"task": {"kind": self.task.kind, **values["task"]}, "model": network_as_dict(self.model)}

    def digest(self) -> str:
        """Return the first 16 hex digits of the sha256 of the canonical JSON of every field."""
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings: `{"a": {"b": 1}}` becomes `{"a.b": 1}`. `vary` takes such dotted names."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def as_written_now(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert plain values of a run, recorded by any version, to the form that this version records.

    Records from before there were tasks hold classification's fields beside the others.
    """
    if "task" in values:
        return dict(values)
    once = ("augmentation", "evaluation", "label_smoothing")
    task = {"kind": "classification", **{name: values[name] for name in once if name in values}}
    return {"task": task, **{name: value for name, value in values.items() if name not in once}}


def config_differences(then: str, run: RunConfig) -> list[str]:
    """List each field in which the JSON of a config differs from `run`, for people.

    A field that is younger than the record had its default then.
    """
    before, now = flatten(as_written_now(json.loads(then))), flatten(json.loads(json.dumps(run.as_dict())))
    before = {name: value for name, value in flatten(_defaults(run)).items() if name in now} | before
    names = sorted(before.keys() | now.keys())
    return [
        f"{name}: {before.get(name, 'absent')} then, {now.get(name, 'absent')} now"
        for name in names
        if before.get(name, "absent") != now.get(name, "absent")
    ]


def _defaults(config: Any) -> dict[str, Any]:
    """Nested plain values of the fields that have a default."""
    found: dict[str, Any] = {}
    for each in fields(config):
        value = getattr(config, each.name)
        if is_dataclass(value):
            found[each.name] = _defaults(value)
        elif each.default is not MISSING:
            found[each.name] = json.loads(json.dumps(each.default))
    return found

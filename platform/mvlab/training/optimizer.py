"""The optimizers of section 4.1 and of Table 5's CNNs."""

import torch
from torch import nn

from mvlab.checks import require_one_of
from mvlab.config import OptimizerConfig
from mvlab.training.without_compiler import plain_optimizer

LR_FACTOR = "lr_factor"
"""Key of a parameter group whose learning rate is a multiple of the step's."""
Named = list[tuple[str, nn.Parameter]]


def build_optimizer(model: nn.Module, config: OptimizerConfig, *, compiled: bool = False) -> torch.optim.Optimizer:
    """Return AdamW or SGD over all parameters. `config.decay` names those with weight decay.

    It is fused: one kernel for all parameters takes a third of the time on a CPU, where a step has few images.

    Args:
        compiled: True if the model is compiled. Otherwise torch's compiler is not even imported.

    Raises:
        ValueError: a prefix in `config.lr_factors` begins the name of no parameter.
    """
    groups = _groups(model, config)
    sgd, adamw = torch.optim.SGD, torch.optim.AdamW
    if not compiled:
        sgd, adamw = plain_optimizer(sgd), plain_optimizer(adamw)
    if config.name == "sgd":
        return sgd(groups, lr=config.lr_start, momentum=config.momentum, nesterov=config.nesterov, fused=True)
    return adamw(groups, lr=config.lr_start, betas=config.betas, fused=True)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group this learning rate, times its factor where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group[LR_FACTOR] if LR_FACTOR in group else lr


def lr_of(optimizer: torch.optim.Optimizer) -> float:
    """Return the learning rate that factors multiply; 0 if all factors are 0."""
    groups = optimizer.param_groups
    plain = [group["lr"] for group in groups if LR_FACTOR not in group]
    multiples = [group["lr"] / group[LR_FACTOR] for group in groups if group.get(LR_FACTOR)]
    return float((*plain, *multiples, 0.0)[0])


def _groups(model: nn.Module, config: OptimizerConfig) -> list[dict[str, object]]:
    """Return groups by decay. Factors divide each further, and leave out those without parameters."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    groups = _by_decay(named, config)
    if not config.lr_factors:
        return [{"params": [each for _, each in some], "weight_decay": decay} for some, decay in groups]
    factors = _factors([name for name, _ in named], dict(config.lr_factors))
    return [
        {"params": params, "weight_decay": decay} | ({} if factor is None else {LR_FACTOR: factor})
        for some, decay in groups
        for factor in dict.fromkeys(factors.values())
        if (params := [each for name, each in some if factors[name] == factor])
    ]


def _by_decay(named: Named, config: OptimizerConfig) -> list[tuple[Named, float]]:
    if config.decay == "all":
        return [(named, config.weight_decay)]
    matrices = [each for each in named if each[1].ndim > 1]
    vectors = [each for each in named if each[1].ndim <= 1]
    return [(matrices, config.weight_decay), (vectors, 0.0)]


def _factors(names: list[str], by_prefix: dict[str, float]) -> dict[str, float | None]:
    """Return the factor of each parameter; None where no prefix begins its name.

    Raises:
        ValueError: a prefix begins no name.
    """
    for prefix in by_prefix:
        parts = prefix.count(".") + 1
        known = dict.fromkeys(".".join(name.split(".")[:parts]) for name in names)
        require_one_of("optimizer.lr_factors: prefix", prefix, known)
    fitting = {name: [prefix for prefix in by_prefix if f"{name}.".startswith(f"{prefix}.")] for name in names}
    return {name: by_prefix[max(some, key=len)] if some else None for name, some in fitting.items()}

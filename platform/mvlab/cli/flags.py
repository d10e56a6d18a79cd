"""Names of the flags. Below the command line an option is known by its field: a message says `workers`."""

import re

RENAMED = {
    "best": "--keep-best",
    "every_minutes": "--checkpoint-minutes",
    "every_steps": "--checkpoint-steps",
    "grace_epochs": "--asha",
    "initial": "--initial-weights",
    "last": "--keep-last",
}
"""Field -> flag of another name."""
SAME_NAME = (
    *("accept_changes", "annotations", "classes", "crop", "data", "format", "gpus_per_worker", "ground_truth", "host"),
    *(
        "images",
        "max_bad",
        "max_side",
        "mix_machines",
        "name",
        "network",
        "nms",
        "only",
        "out",
        "resize",
        "resume",
        "scale",
        "seeds",
        "shard_mb",
    ),
    *("shuffle_seed", "split", "src", "storage", "tracking_uri", "workers"),
)
FLAGS = {field: f"--{field.replace('_', '-')}" for field in SAME_NAME} | RENAMED


def with_flags(text: str) -> str:
    """Replace each field in backticks by its flag."""
    return re.sub(r"`(\w+)`", lambda found: FLAGS.get(found[1], found[0]), text)

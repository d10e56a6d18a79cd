"""Internals of Ray Data: its statistics for the dashboard, which a feed does without.

- `_StatsManager`: its four functions speak to an actor of the cluster that keeps the statistics. A data set waits for
  that actor's process before it starts (a second, 0.2 GB). A run's own meter tells more. If these functions are gone,
  the feed starts as slowly as Ray's own.
"""

from uuid import uuid4

from ray.data._internal.stats import _StatsManager

TOLD = ("register_dataset_to_stats_actor", "update_execution_metrics", "update_iteration_metrics")
"""Functions that only tell the actor something."""
ASKED = "gen_dataset_id_from_stats_actor"
"""Function that asks it for a name that no other data set has."""


def leave_out_statistics() -> None:
    """Keep no statistics on data sets that this process makes from now on."""
    for name in TOLD:
        setattr(_StatsManager, name, staticmethod(_tell_nobody))
    setattr(_StatsManager, ASKED, staticmethod(lambda: uuid4().hex))


def _tell_nobody(*told: object, **more: object) -> None:
    pass

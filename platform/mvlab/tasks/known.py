"""Tasks by kind, as records and data sets name them."""

from mvlab.checks import did_you_mean
from mvlab.tasks.base import Task
from mvlab.tasks.classification.task import Classification
from mvlab.tasks.detection.task import Detection

BUILT_IN: tuple[type[Task], ...] = (Classification, Detection)
"""Built-in tasks, imported here so that they are known."""


def task_of_kind(kind: str) -> type[Task]:
    """Return the class of the task that records and data sets call `kind`: built in, or from a file imported already.

    Raises:
        ValueError: there is none. A record never decides which file is imported.
    """
    known: dict[str, type[Task]] = {}
    waiting: list[type[Task]] = Task.__subclasses__()
    for each in waiting:
        waiting += each.__subclasses__()
        known[each.kind] = each
    if kind not in known:
        raise ValueError(
            f"no task {kind!r} is known here{did_you_mean(kind, known)}. If it is your own, import the file that "
            "defines it"
        )
    return known[kind]

"""Environment variables of Ray that its reference does not list, with the values that are used here. Imports no Ray.

A variable that is set already keeps its value. If Ray no longer reads one, only its effect described here is lost.
"""

import os
from collections.abc import Mapping

TUNE = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # otherwise Tune ends at Ctrl-C before the sweep has closed its record
    "RAY_AIR_NEW_OUTPUT": "0",  # otherwise Tune prints tables of its own between the lines of progress
}
ELASTIC = {
    # Seconds that an elastic run waits for as many workers as before, until it continues with fewer; 60 by default.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "10",
}
"""Variables read by the process that calls `TorchTrainer.fit`, which passes them on. Each costs every worker's start a
second: Ray imports itself twice in a process with variables of its own."""


def set_defaults(variables: Mapping[str, str]) -> None:
    """Set those variables that are not set yet."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)

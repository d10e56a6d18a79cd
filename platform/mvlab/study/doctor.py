"""What dead processes left behind, in the record and in the storage; found, and mended where that is safe."""

import json
import shlex
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlflow.tracking import MlflowClient

from mvlab.record.carried import read_carried, store_id
from mvlab.record.journal import SWEEP, Event, Journal, Status
from mvlab.record.mlflow_sink import MlflowSink
from mvlab.record.process import Process
from mvlab.record.store import RunningRun, close_stale_runs, connect, look_into, running_runs
from mvlab.report.study import COMMAND_TAG
from mvlab.study.folder import JOURNAL, OWNER, STUDY

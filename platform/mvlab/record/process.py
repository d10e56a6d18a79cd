"""Names a process so that a later one on the same machine can tell whether it still lives."""

import os
import socket
from collections.abc import Container
from dataclasses import dataclass

import psutil

OWNER_TAG = "mvlab.process"
"""On every run: the process that writes it, so that a later one can tell whether it died."""


@dataclass(frozen=True, slots=True)
class Process:
    """Host, process id and start time: ids are used again, the three together are not."""

    host: str
    pid: int
    started: int
    """Seconds since 1970."""

    @classmethod
    def current(cls) -> "Process":
        return cls(socket.gethostname(), os.getpid(), int(psutil.Process().create_time()))

    @classmethod
    def parse(cls, text: str) -> "Process":
        """The inverse of `str`."""
        host, pid, started = text.rsplit("/", 2)
        return cls(host, int(pid), int(started))

    def __str__(self) -> str:
        return f"{self.host}/{self.pid}/{self.started}"

    @property
    def is_foreign(self) -> bool:
        """Whether it is, or was, another machine's."""
        return self.host != socket.gethostname()

    def is_dead(self, gone: Container[str] = ()) -> bool:
        """Whether it has surely ended; of another machine's processes nothing is known, unless that is `gone`."""
        if self.is_foreign:
            return self.host in gone
        try:
            process = psutil.Process(self.pid)
            # The clock may have been set since: a few seconds are the same process.
            return bool(abs(process.create_time() - self.started) > 5 or process.status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True

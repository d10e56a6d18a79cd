"""Identity of a process. A later process can tell whether it is alive, or else that it is foreign.

On Linux a process is named by boot id, pid namespace, pid, and start in clock ticks since boot. No adjustable clock is
involved. Elsewhere (macOS) there are no namespaces and no boot id. There it is named by host name, pid and start in
seconds, so two machines of one name are taken for one.
"""

import os
import socket
import sys
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

import psutil

OWNER_TAG = "mvlab.process"
"""Tag of every run: the process that writes it. A later process can tell whether it died."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
ENDED = ("Z", "X", psutil.STATUS_ZOMBIE)
"""States of a process that has ended and is still listed: Linux's letters, and psutil's word."""
HAS_PROC = sys.platform.startswith("linux")


@dataclass(frozen=True, slots=True)
class Process:
    """Process, identified by values that no other process ever shares."""

    host: str
    scope: str
    """Boot id and pid namespace, in which pid and start identify one process; empty if unknown."""
    pid: int
    started: int
    """Clock ticks since boot; on systems other than Linux, seconds since 1970."""

    @classmethod
    def current(cls) -> "Process":
        scope = _scope()
        return cls(socket.gethostname(), scope, os.getpid(), _started(os.getpid()) if scope else 0)

    @classmethod
    def parse(cls, text: str) -> "Process":
        """Parse the output of `str`, or of an earlier version without scope.

        Raises:
            ValueError: the text is neither.
        """
        parts = text.split("/")
        if len(parts) == 3:
            parts.insert(1, "")
        try:
            host, scope, pid, started = parts
            return cls(host, scope, int(pid), int(started))
        except ValueError:
            raise ValueError(f"{text!r} names no process") from None

    def __str__(self) -> str:
        return f"{self.host}/{self.scope}/{self.pid}/{self.started}"

    @property
    def is_foreign(self) -> bool:
        """Tell whether nothing is known of it here: it is of another machine, another container, or an earlier boot.

        An earlier boot cannot be distinguished from another machine of the same name.
        """
        return not self.scope or (self.host, self.scope) != (socket.gethostname(), _scope())

    @property
    def where(self) -> str:
        """Describe the place of a foreign process."""
        is_namesake = self.host == socket.gethostname()
        return f"another container, or an earlier boot, of {self.host}" if is_namesake else self.host

    def is_dead(self, gone: Container[str] = ()) -> bool:
        """Tell whether it has certainly ended. A foreign process is dead only if its host is in `gone`."""
        if self.is_foreign:
            return self.host in gone
        try:
            os.kill(self.pid, 0)
            state = _stat(self.pid)[0] if HAS_PROC else psutil.Process(self.pid).status()
            return state in ENDED or _started(self.pid) != self.started
        except (ProcessLookupError, psutil.NoSuchProcess):
            return True
        except OSError:  # another user's; the system may hide all but its existence
            return False


def _scope() -> str:
    if not HAS_PROC:
        return sys.platform
    try:
        if os.readlink("/proc/self") != str(os.getpid()):  # mounted for another pid namespace: other ids
            return ""
        return f"{BOOT_ID.read_text().strip()}:{os.readlink('/proc/self/ns/pid')[len('pid:[') : -1]}"
    except OSError:
        return ""


def _started(pid: int) -> int:
    return int(_stat(pid)[19] if HAS_PROC else psutil.Process(pid).create_time())


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on, after the name, which may contain anything."""
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()

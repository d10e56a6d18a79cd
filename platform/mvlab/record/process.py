"""Identity of a process: a later one can tell whether it still lives, and where it cannot, calls it foreign.

On Linux a process is named by the boot id, the pid namespace, the pid, and its start in clock ticks since boot. No
clock that can be set has a part in it. Elsewhere (macOS) there are no namespaces and no boot id. There a process is
named by the host name, the pid and the second it started in, so two machines of one name are taken for one.
"""

import os
import socket
import sys
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

import psutil

OWNER_TAG = "mvlab.process"
"""On every run: the process that writes it, so that a later one can tell whether it died."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
ENDED = ("Z", "X")
"""States of a process that has ended and is still listed."""
HAS_PROC = sys.platform.startswith("linux")


@dataclass(frozen=True, slots=True)
class Process:
    """A process, by what no other one ever shares with it."""

    host: str
    scope: str
    """Boot id and pid namespace, within which pid and start name one process; empty where they are not known."""
    pid: int
    started: int
    """Clock ticks since boot; on other systems than Linux seconds since 1970."""

    @classmethod
    def current(cls) -> "Process":
        scope = _scope()
        return cls(socket.gethostname(), scope, os.getpid(), _started(os.getpid()) if scope else 0)

    @classmethod
    def parse(cls, text: str) -> "Process":
        """The inverse of `str`; an earlier version wrote no scope.

        Raises:
            ValueError: it is neither's text.
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
        """True where nothing is known of it here: it is another machine's, another container's, or of an earlier boot.

        An earlier boot cannot be told from another machine of the same name.
        """
        return not self.scope or (self.host, self.scope) != (socket.gethostname(), _scope())

    @property
    def where(self) -> str:
        """The place of a foreign one, for people."""
        is_namesake = self.host == socket.gethostname()
        return f"another container, or an earlier boot, of {self.host}" if is_namesake else self.host

    def is_dead(self, gone: Container[str] = ()) -> bool:
        """True once it has surely ended. A foreign one is dead only if its host is among those that are `gone`."""
        if self.is_foreign:
            return self.host in gone
        try:
            os.kill(self.pid, 0)
            return _has_ended(self.pid) or _started(self.pid) != self.started
        except (ProcessLookupError, psutil.NoSuchProcess):
            return True
        except OSError:  # another user's, and the system may hide all but its being there
            return False


def _scope() -> str:
    if not HAS_PROC:
        return sys.platform
    try:
        if os.readlink("/proc/self") != str(os.getpid()):  # mounted for another pid namespace: ids mean others there
            return ""
        return f"{BOOT_ID.read_text().strip()}:{os.readlink('/proc/self/ns/pid')[len('pid:[') : -1]}"
    except OSError:
        return ""


def _has_ended(pid: int) -> bool:
    """True for a zombie: ended, and still listed."""
    return _stat(pid)[0] in ENDED if HAS_PROC else psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def _started(pid: int) -> int:
    return int(_stat(pid)[19] if HAS_PROC else psutil.Process(pid).create_time())


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on, after the name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()

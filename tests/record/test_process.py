"""A process is called dead only where that is certain: another container, boot or machine is foreign."""

import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from mvlab.record import process as identity
from mvlab.record.process import Process

ON_LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
HERE = Process.current()
HOST = socket.gethostname()
ANOTHER_SCOPE = "11111111-2222-3333-4444-555555555555:4026531836"


def test_this_process_is_alive_and_ours() -> None:
    assert not HERE.is_foreign
    assert not HERE.is_dead()
    assert not HERE.is_dead([HOST]), "of processes here more is known than anybody can say"


@pytest.mark.parametrize("each", [HERE, replace(HERE, host="h"), replace(HERE, scope=""), replace(HERE, scope="linux")])
def test_its_text_is_read_back(each: Process) -> None:
    assert Process.parse(str(each)) == each


@pytest.mark.parametrize("text", ["", "host", "host/1", "host/x/1", "host/scope/1/x", "a/b/1/2/3", "h/1/2\nh/1/2"])
def test_what_is_no_process_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="names no process"):
        Process.parse(text)


def test_one_that_has_ended_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        mine = replace(HERE, pid=child.pid, started=identity._started(child.pid))
        assert not mine.is_dead()
        assert replace(mine, started=mine.started - 1).is_dead(), "its id was used again"
        assert child.stdin is not None
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert mine.is_dead(), "a zombie"
    assert mine.is_dead()


@ON_LINUX
def test_a_clock_that_is_set_kills_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """psutil adds the ticks since boot to the time of the boot, which is the wall clock less the uptime."""
    before = Process.current()
    monkeypatch.setattr(psutil, "boot_time", lambda: 7.0)
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: 7.0)
    assert Process.current() == before
    assert not before.is_dead()


@pytest.mark.parametrize("pid", [HERE.pid, 2**22 + 1], ids=["an id that is in use here", "an id that nobody has"])
@pytest.mark.parametrize(
    "elsewhere",
    [replace(HERE, host="another-host"), replace(HERE, scope=ANOTHER_SCOPE), replace(HERE, scope="")],
    ids=["another host", "another container or boot of this host name", "an earlier version's record"],
)
def test_what_is_foreign_is_never_dead_unless_somebody_says_so(elsewhere: Process, pid: int) -> None:
    one = replace(elsewhere, pid=pid)
    assert one.is_foreign
    assert not one.is_dead()
    assert not one.is_dead(["a-third-host"])
    assert one.is_dead([one.host])


def test_the_record_of_an_earlier_version_is_read() -> None:
    old = Process.parse(f"{HOST}/{os.getpid()}/{int(psutil.Process().create_time())}")
    assert (old.host, old.scope, old.pid) == (HOST, "", os.getpid())


def test_where_it_is_is_said() -> None:
    assert replace(HERE, host="another-host").where == "another-host"
    assert replace(HERE, scope=ANOTHER_SCOPE).where == f"another container, or an earlier boot, of {HOST}"


@ON_LINUX
@pytest.mark.parametrize("file", ["boot_id", "ns/pid"])
def test_where_the_kernel_does_not_say_everything_is_foreign(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    readlink, read_text = os.readlink, Path.read_text

    def hidden(path: str | Path) -> None:
        if str(path).endswith(file):
            raise FileNotFoundError(path)

    monkeypatch.setattr(os, "readlink", lambda path: hidden(path) or readlink(path))
    monkeypatch.setattr(Path, "read_text", lambda path, **given: hidden(path) or read_text(path, **given))
    assert Process.current().scope == ""
    assert Process.current().is_foreign


@ON_LINUX
def test_a_process_that_the_system_hides_may_be_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """/proc mounted with hidepid=2, on machines that many users share."""
    read_text = Path.read_text

    def hiding(path: Path, **given: str) -> str:
        if str(path) == "/proc/1/stat":
            raise FileNotFoundError(path)
        return read_text(path, **given)

    monkeypatch.setattr(Path, "read_text", hiding)
    assert not replace(HERE, pid=1).is_dead()


@ON_LINUX
def test_a_name_with_brackets_and_blanks_hides_nothing(tmp_path: Path) -> None:
    """The name of the program stands before the fields that are read."""
    program = tmp_path / ") Z 1 (x y"
    shutil.copyfile(shutil.which("sleep") or "", program)
    program.chmod(0o755)
    with subprocess.Popen([program, "60"]) as child:
        assert not replace(HERE, pid=child.pid, started=identity._started(child.pid)).is_dead()
        child.kill()


IN_ANOTHER = (
    "import sys; from mvlab.record.process import Process\n"
    "theirs = Process.parse(sys.argv[1])\n"
    "print(theirs.is_foreign, theirs.is_dead(), Process.current())"
)


def in_namespace(*options: str) -> list[str]:
    """Return what a process of another pid namespace says of us, and who it is."""
    command = ["unshare", "--pid", "--fork", *options, sys.executable, "-c", IN_ANOTHER, str(HERE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0 and "unshare" in done.stderr:
        pytest.skip(f"no namespaces here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@ON_LINUX
@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare")
@pytest.mark.parametrize("options", [["--mount-proc"], []], ids=["its own /proc", "the /proc of outside"])
def test_two_containers_that_share_a_host_name_are_foreign_to_each_other(options: list[str]) -> None:
    is_foreign, is_dead, text = in_namespace(*options)
    assert (is_foreign, is_dead) == ("True", "False")
    theirs = Process.parse(text)
    assert theirs.host == HOST
    assert theirs.is_foreign
    assert not theirs.is_dead(), "though it has ended: who is to know?"
    assert theirs.is_dead([HOST])

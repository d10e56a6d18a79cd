"""Signals become checkpoints and one KeyboardInterrupt."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mvlab.sweep import interrupts
from mvlab.sweep.interrupts import SIGNALS, Interrupted, Stop, interruptible


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [tmp_path / name / "stop" for name in ("a", "b")]


def send(signum: int) -> None:
    """To this process; its handler has run when this returns."""
    os.kill(os.getpid(), signum)
    time.sleep(0.01)


@pytest.mark.parametrize("signum", SIGNALS)
def test_runs_are_told_to_stop_and_we_go_on_until_they_have(signum: signal.Signals, files: list[Path]) -> None:
    ended = False
    with interruptible() as stop:
        with pytest.raises(KeyboardInterrupt), stop.gracefully(files):  # noqa: PT012
            assert not any(file.exists() for file in files)
            send(signum)
            assert all(file.exists() for file in files)
            ended = True
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0), "the alarm is off"
    assert ended
    assert stop.signum == signum


def test_a_disk_that_takes_no_file_stops_us_at_once(files: list[Path]) -> None:
    """It would take no checkpoint either."""
    files[1].parent.touch()
    with interruptible() as stop:
        with pytest.raises(KeyboardInterrupt), stop.gracefully(files):  # noqa: PT012
            send(signal.SIGTERM)
            raise AssertionError("we should be gone")
        assert stop.signum == signal.SIGTERM


def test_a_second_signal_stops_us_at_once_and_a_third_not_again(files: list[Path]) -> None:
    with interruptible() as stop:
        with pytest.raises(KeyboardInterrupt), stop.gracefully(files):  # noqa: PT012
            send(signal.SIGINT)
            send(signal.SIGTERM)
            raise AssertionError("we should be gone")
        assert stop.signum == signal.SIGTERM
        for signum in SIGNALS:
            send(signum)  # while the record is closed


def test_runs_that_do_not_stop_are_not_waited_for_for_ever(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "SECONDS_FOR_CHECKPOINTS", 0.2)
    with interruptible() as stop:
        with pytest.raises(KeyboardInterrupt), stop.gracefully(files):  # noqa: PT012
            send(signal.SIGTERM)
            time.sleep(30)
            raise AssertionError("the alarm did not go off")
        assert stop.signum == signal.SIGTERM


@pytest.mark.parametrize("where", ["before", "after", "without files"])
def test_where_no_run_has_to_end_we_stop_at_once(where: str, files: list[Path]) -> None:
    with interruptible() as stop:
        if where == "after":
            with stop.gracefully(files):
                pass
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012
            if where == "without files":
                with stop.gracefully([]):
                    send(signal.SIGTERM)
            else:
                send(signal.SIGTERM)
            raise AssertionError("we should be gone")
    assert not any(file.exists() for file in files)


def test_without_a_signal_nothing_happens(files: list[Path]) -> None:
    before = [signal.getsignal(each) for each in (*SIGNALS, signal.SIGALRM)]
    with interruptible() as stop, stop.gracefully(files):
        pass
    assert not stop.requested
    assert not any(file.exists() for file in files)
    assert [signal.getsignal(each) for each in (*SIGNALS, signal.SIGALRM)] == before


def test_what_goes_wrong_while_runs_end_is_told_as_it_is(files: list[Path]) -> None:
    with interruptible() as stop:
        with pytest.raises(RuntimeError, match="the sweep broke"), stop.gracefully(files):  # noqa: PT012
            send(signal.SIGTERM)
            raise RuntimeError("the sweep broke")
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_another_thread_than_the_main_one_gets_no_handlers() -> None:
    seen: list[object] = []

    def work() -> None:
        with interruptible() as stop, stop.gracefully([]):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


def test_a_process_that_is_stopped_says_so(tmp_path: Path) -> None:
    """A signal from outside, while the main thread waits in a system call."""
    code = (
        "import sys, time; from pathlib import Path; from mvlab.sweep.interrupts import Interrupted, interruptible\n"
        "stopped = Path(sys.argv[1])\n"
        "with interruptible() as stop:\n"
        "    try:\n"
        "        with stop.gracefully([stopped]):\n"
        "            print('working', flush=True)\n"
        "            while not stopped.exists():\n"
        "                time.sleep(0.05)\n"
        "    except KeyboardInterrupt:\n"
        "        why = Interrupted(stop, recorded=True)\n"
        "        print(why, file=sys.stderr)\n"
        "        sys.exit(why.exit_status)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "stop")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert err == ("stopped by SIGTERM: every run has ended in MLflow. The same command with --resume resumes it\n")


def test_what_mlflow_did_not_take_is_said() -> None:
    said = str(Interrupted(Stop(), recorded=False))
    assert "in the journal; MLflow did not take all of it" in said
    assert "--resume resumes it, and carries the rest, as `mvlab doctor --mend` does" in said

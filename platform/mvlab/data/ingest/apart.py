"""Image check in a process of its own: a decoder that crashes ends that process and no more."""

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from mvlab.data.ingest.image_check import Intake, UnreadableImageError, take_in

TakeIn = Callable[[bytes, int | None], Intake]
FAULTS_OF_A_FILE = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}


class Apart:
    """Process that calls `take_in`. It is started on first use, and again after a crash."""

    def __init__(self, work: TakeIn = take_in) -> None:
        self._work = work
        self._process: BaseProcess | None = None

    def take_in(self, encoded: bytes, max_side: int | None = None) -> Intake:
        """Take in an image as `take_in` of image_check.py does.

        Raises:
            UnreadableImageError: it cannot be decoded, or its decoder crashes.
            OSError: the process was ended from outside, perhaps for lack of memory.
        """
        if self._process is None:
            self._start()
        try:
            self._pipe.send((encoded, max_side))
            answer: Intake | Exception = self._pipe.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            raise self._death() from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        if self._process is not None:
            self._pipe.close()
            self._process.join()
            self._process = None

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")  # a fork would inherit locks that our threads hold
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, self._work), daemon=True)
        self._process.start()
        theirs.close()

    def _death(self) -> Exception:
        process, self._process = self._process, None
        assert process is not None
        process.join()
        status = process.exitcode or 0
        if -status in FAULTS_OF_A_FILE:
            return UnreadableImageError(f"its decoder crashed ({signal.Signals(-status).name})")
        return OSError(f"the process that decoded it ended with status {status}")


def _serve(pipe: Connection, work: TakeIn) -> None:
    while True:
        try:
            encoded, max_side = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(work(encoded, max_side))
        except (UnreadableImageError, MemoryError) as error:
            pipe.send(error)

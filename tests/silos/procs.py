"""Child processes that never outlive us, and the signals that the tests send them.

Only processes started here are ever signalled, each by its own pid. If this process dies, even by SIGKILL, the kernel ends
its children (PR_SET_PDEATHSIG). That is tied to the *thread* that started them, so one thread starts them all.
"""

import ctypes
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") / 1024


class StartError(Exception):
    """A process ended, or did not become ready in time. Carries the end of its log."""


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class _Starter(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="starter", daemon=True)
        self.jobs: queue.Queue = queue.Queue()
        self.start()

    def run(self) -> None:
        while True:
            future, args, kwargs = self.jobs.get()
            try:
                future.set_result(subprocess.Popen(*args, **kwargs))
            except BaseException as error:  # handed to the caller
                future.set_exception(error)

    def popen(self, *args, **kwargs) -> subprocess.Popen:
        future: Future = Future()
        self.jobs.put((future, args, kwargs))
        return future.result()


_STARTER: _Starter | None = None
_STARTER_LOCK = threading.Lock()


def _starter() -> _Starter:
    global _STARTER
    with _STARTER_LOCK:
        if _STARTER is None:
            _STARTER = _Starter()
        return _STARTER


class Proc:
    """A long-running child with a log file, restartable under the same command."""

    def __init__(self, name: str, command: list[str], log: Path, ready: Callable[[], bool], cwd: Path,
                 env: dict[str, str] | None = None, ready_seconds: float = 60.0):
        self.name, self.command, self.log, self.cwd = name, command, log, cwd
        self._ready, self._env, self._ready_seconds = ready, env or {}, ready_seconds
        self._child: subprocess.Popen | None = None
        self._cpu_of_dead = 0.0
        self.starts = 0

    def launch(self) -> None:
        """Starts the process without waiting for readiness."""
        if self.alive():
            return
        with open(self.log, "ab") as out:
            out.write(f"==== start {self.starts + 1} of {self.name}\n".encode())
            out.flush()
            self._child = _starter().popen(
                self.command, cwd=self.cwd, env={**os.environ, **self._env}, stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, preexec_fn=_die_with_parent, start_new_session=True)
        self.starts += 1

    def wait_ready(self) -> float:
        """Polls until it serves; seconds waited."""
        began = time.monotonic()
        while not self._ready():
            if not self.alive():
                raise StartError(f"{self.name} ended with status {self._child and self._child.returncode}:\n{self.tail()}")
            if time.monotonic() - began > self._ready_seconds:
                raise StartError(f"{self.name} was not ready after {self._ready_seconds:.0f} s:\n{self.tail()}")
            time.sleep(0.02)
        return time.monotonic() - began

    def start(self) -> float:
        self.launch()
        return self.wait_ready()

    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        if self._child is None:
            raise StartError(f"{self.name} was never started")
        return self._child.pid

    def signal(self, number: int) -> None:
        if self.alive():
            self._child.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and waits until it is gone."""
        if self._child is None:
            return
        if self._child.poll() is None:
            self._cpu_of_dead += self._cpu_now()
            self._child.send_signal(signal.SIGKILL)
        self._child.wait()

    def stop(self, seconds: float = 10.0) -> int | None:
        """SIGTERM and a grace period, then SIGKILL; the exit status."""
        if self._child is None:
            return None
        if self._child.poll() is None:
            self._cpu_of_dead += self._cpu_now()
            self._child.send_signal(signal.SIGCONT)
            self._child.send_signal(signal.SIGTERM)
            try:
                self._child.wait(seconds)
            except subprocess.TimeoutExpired:
                self._child.send_signal(signal.SIGKILL)
        return self._child.wait()

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def _cpu_now(self) -> float:
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            return 0.0
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def cpu_seconds(self) -> float:
        """User and system time, over all starts."""
        return self._cpu_of_dead + (self._cpu_now() if self.alive() else 0.0)

    def resident_mb(self) -> float:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE_KB / 1024

    def tail(self, lines: int = 25) -> str:
        try:
            return "\n".join("    " + line for line in self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return "    (no log)"


def end_on_signals() -> None:
    """SIGTERM and SIGHUP end us like Ctrl-C does, so that `finally` blocks run."""
    def stop(number, _frame):
        raise SystemExit(128 + number)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)

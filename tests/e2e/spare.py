"""Runs one of `examples/` as the spare peer `c.example`: a command a line, one JSON object as its answer."""

import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable

from silos.gateway import binary, profile
from silos.paths import ROOT, TARGET
from silos.play import Wrong
from silos.stage import Silos


def build(example: str) -> str:
    """Builds the example beside the gateway that runs (cargo does nothing if it is there) and answers its path."""
    folder = binary().parent
    beside = folder.parent == TARGET
    kind = {"debug": "dev"}.get(folder.name, folder.name) if beside else profile()
    command = ["cargo", "build", "--locked", "--quiet", "--profile", kind, "--example", example]
    if subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        raise Wrong(f"examples/{example}.rs does not build")
    return str(TARGET / {"dev": "debug"}.get(kind, kind) / f"examples/{example}")


class SparePeer:
    """The program, running. Ends with `close`. What it tells unasked, objects with `event`, is kept in `events`."""

    def __init__(self, silos: Silos, example: str, *arguments: str):
        self.name = example
        self._log = open(silos.folder / f"{example}.log", "ab")
        self._process = subprocess.Popen([build(example), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=self._log, text=True, env=dict(os.environ))
        self._answers: queue.Queue[dict] = queue.Queue()
        self.events: list[dict] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()
        self._answer("start")

    def _read(self) -> None:
        for line in self._process.stdout:
            told = json.loads(line)
            if "event" not in told:
                self._answers.put(told)
                continue
            with self._changed:
                self.events.append(told)
                self._changed.notify_all()
        self._answers.put({})

    def _answer(self, what: str) -> dict:
        try:
            answer = self._answers.get(timeout=60)
        except queue.Empty:
            raise Wrong(f"the {self.name} does not answer to {what!r}") from None
        if not answer:
            raise Wrong(f"the {self.name} ended at {what!r}; see {self._log.name}")
        if "error" in answer:
            raise Wrong(f"the {self.name} cannot {what!r}: {answer['error']}")
        return answer

    def do(self, command: str) -> dict:
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer(command)

    def wait(self, what: str, wanted: Callable[[dict], bool], seconds: float = 30.0, start: int = 0) -> dict:
        """The first event, from number `start` on, that is wanted; waits for it."""
        deadline, position = time.monotonic() + seconds, start
        with self._changed:
            while True:
                while position < len(self.events):
                    if wanted(self.events[position]):
                        return self.events[position]
                    position += 1
                if not self._changed.wait(max(deadline - time.monotonic(), 0)) and time.monotonic() >= deadline:
                    raise Wrong(f"the {self.name} did not tell {what} within {seconds:.0f} s: {self.events[start:][-5:]}")

    def mark(self) -> int:
        with self._changed:
            return len(self.events)

    def close(self) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

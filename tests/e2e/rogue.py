"""Drives `examples/rogue.rs`, a provider with a real MLS client that breaks the rules."""

import json
import os
import queue
import subprocess
import threading

from silos.gateway import binary, profile
from silos.paths import ROOT, TARGET
from silos.play import Wrong
from silos.stage import Silos


def build() -> str:
    """Builds the example beside the gateway that runs (cargo does nothing if it is there) and answers its path."""
    folder = binary().parent
    beside = folder.parent == TARGET
    kind = {"debug": "dev"}.get(folder.name, folder.name) if beside else profile()
    command = ["cargo", "build", "--locked", "--quiet", "--profile", kind, "--example", "rogue"]
    if subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        raise Wrong("examples/rogue.rs does not build")
    return str(TARGET / {"dev": "debug"}.get(kind, kind) / "examples/rogue")


class Rogue:
    """The spare peer, running. Ends with `close`."""

    def __init__(self, silos: Silos):
        self._log = open(silos.folder / "rogue.log", "ab")
        self._process = subprocess.Popen([build(), str(silos.env_file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=self._log, text=True, env=dict(os.environ))
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._answer("start")

    def _read(self) -> None:
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def _answer(self, what: str) -> dict:
        try:
            line = self._answers.get(timeout=60)
        except queue.Empty:
            raise Wrong(f"the rogue does not answer to {what!r}") from None
        if not line:
            raise Wrong(f"the rogue ended at {what!r}; see {self._log.name}")
        answer = json.loads(line)
        if "error" in answer:
            raise Wrong(f"the rogue cannot {what!r}: {answer['error']}")
        return answer

    def do(self, command: str) -> dict:
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer(command)

    def close(self) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

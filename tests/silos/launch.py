#!/usr/bin/env python3
"""Makes the Python environment that holds Synapse (once, in the cache directory), then runs a command in it.

    launch.py silos|demo|e2e|bench [arguments]     the make targets of the same names
    launch.py install                              only make the environment, print its Python

Standard library only: this file runs on the system's Python, 3.10 or newer.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from silos.paths import CACHE, ROOT, Lock  # noqa: E402

SYNAPSE = "matrix-synapse==1.163.2"
REQUIREMENTS = ROOT / "tests/silos/requirements.txt"
COMMANDS = {
    "silos": ["-m", "silos.keep"],
    "demo": ["-m", "silos.demo"],
    "e2e": ["-m", "e2e.run"],
    "bench": [str(ROOT / "benches/e2e/run.py")],
}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def pip(python: Path, *arguments: str) -> bool:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *arguments]
    for attempt in (1, 2):
        if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == 0:
            return True
        say(f"   pip failed (attempt {attempt} of 2)")
        time.sleep(2)
    return False


def environment() -> Path:
    """The environment's Python. Its directory's name holds all that decides what is in it."""
    if sys.version_info < (3, 10):
        raise SystemExit("Python 3.10 or newer is needed for Synapse")
    key = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = CACHE / f"synapse-{SYNAPSE.split('==')[1]}-{key}"
    python, complete = folder / "bin/python", folder / "complete"
    if complete.exists():
        return python
    lock = Lock(CACHE / f"{folder.name}.lock")
    if not lock.take(wait=False):
        say(f"== another run is installing Synapse into {folder}; waiting for it")
        lock.take()
    try:
        if complete.exists():
            return python
        began = time.monotonic()
        say(f"== installing Synapse into {folder} (about 250 MB, once; half a minute)")
        shutil.rmtree(folder, ignore_errors=True)
        if subprocess.run([sys.executable, "-m", "venv", str(folder)], check=False).returncode != 0:
            raise SystemExit("`python3 -m venv` failed: on Debian, `apt-get install python3-venv`")
        wanted = (["-r", str(REQUIREMENTS)], [SYNAPSE], ["matrix-synapse"])
        for number, what in enumerate(wanted):
            if number:
                say(f"   that did not install here; trying {what[0]}")
            if pip(python, *what):
                break
        else:
            raise SystemExit("Synapse could not be installed from PyPI")
        complete.touch()
        say(f"== installed in {time.monotonic() - began:.0f} s")
        return python
    finally:
        lock.release()


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in {*COMMANDS, "install"}:
        raise SystemExit(__doc__)
    python = environment()
    if sys.argv[1] == "install":
        print(python)
        return
    env = dict(os.environ, PYTHONPATH=str(ROOT / "tests"), PYTHONUNBUFFERED="1", PYTHONDONTWRITEBYTECODE="1")
    os.execve(python, [str(python), *COMMANDS[sys.argv[1]], *sys.argv[2:]], env)


if __name__ == "__main__":
    main()

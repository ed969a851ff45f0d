"""Drives `examples/rogue.rs`, a provider with a real MLS client that breaks the rules."""

from silos.stage import Silos

from .spare import SparePeer


class Rogue(SparePeer):
    """The spare peer, running. Ends with `close`."""

    def __init__(self, silos: Silos):
        super().__init__(silos, "rogue", str(silos.env_file))

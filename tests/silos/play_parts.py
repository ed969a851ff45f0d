"""What all parts of the play share."""

from dataclasses import dataclass


class Wrong(Exception):
    """The conversation did not go as it must."""


@dataclass
class Said:
    """A message that was sent, and who has to have it."""

    who: str  # MIMI URI
    body: str
    audience: set[str]  # names of people
    timely: bool  # sent while everything ran: its time must be right everywhere

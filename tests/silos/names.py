"""What people are called on the other side."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING
from urllib.parse import quote

from .play_parts import Wrong

if TYPE_CHECKING:
    from .play import Play


def _png(side: int) -> bytes:
    """A picture of so many pixels each way, large enough to be made smaller."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + bytes((x * y) % 251 for x in range(side) for _ in range(3)) for y in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PICTURE = _png(400)


def called(play: Play, room_id: str, reader: str, other: str, name: str, mark: int) -> None:
    """Waits until `reader` sees `other` under that name in the room."""
    user = play.as_seen_by(reader, other)
    wanted = f"{name} ({play.silo(other).domain})"
    seen = play.person(reader).wait(
        f"{other} under the name {wanted!r}", lambda seen: seen.room == room_id and seen.kind == "m.room.member"
        and seen.event.get("state_key") == user and seen.content.get("displayname") == wanted, play.patience, mark)
    play.tell.seen(reader, f"sees {other.upper()} as {wanted}", seen)
    if seen.content.get("membership") != "join":
        raise Wrong(f"{user} is {seen.content.get('membership')!r} with its new name")


def pictured(play: Play, room_id: str, reader: str, other: str, name: str, mark: int) -> None:
    """Waits until `reader` sees `other` with a picture in the room, still under that name."""
    user, wanted = play.as_seen_by(reader, other), f"{name} ({play.silo(other).domain})"
    seen = play.person(reader).wait(
        f"{other} with a picture", lambda seen: seen.room == room_id and seen.kind == "m.room.member"
        and seen.event.get("state_key") == user and seen.content.get("avatar_url"), play.patience, mark)
    play.tell.seen(reader, f"sees {other.upper()} with a picture", seen)
    if seen.content.get("displayname") != wanted:
        raise Wrong(f"{user} is {seen.content.get('displayname')!r} with its picture")
    found = play.person(reader).client.download(seen.content["avatar_url"])
    if not found.startswith(b"\x89PNG") or len(found) > 40_000:
        raise Wrong(f"that is no small picture: {found[:20]!r}, {len(found)} bytes")


def written(play: Play, room_id: str, reader: str, other: str) -> int:
    """How often the ghost's member event says that it is in the room."""
    user = play.as_seen_by(reader, other)
    events = play.person(reader).client.messages(room_id, seconds=play.patience)
    return sum(event["type"] == "m.room.member" and event.get("state_key") == user
               and event["content"].get("membership") == "join" for event in events)


def names(play: Play) -> None:
    """A1's name is that of its profile, B1's of this room alone."""
    room, other = play.gather("Who is who", guests=1), play.gather("Elsewhere", guests=1)
    a1, b1 = play.person("a1"), play.person("b1")
    at_a, at_b = room.ids["a"], room.ids["b"]
    marks = a1.mark(), b1.mark()
    play.tell.act("a1", "takes the name 'Alice Liddell'")
    profile = f"/_matrix/client/v3/profile/{quote(a1.user)}/displayname"
    a1.client.call("PUT", profile, {"displayname": "Alice Liddell"})
    # A homeserver renames its user in one room after the other.
    a1.wait("its own name in the room", lambda seen: seen.room == at_a and seen.kind == "m.room.member"
            and seen.content.get("displayname") == "Alice Liddell", play.patience, marks[0])
    play.say(room, "a1", "I have a name now")
    called(play, at_b, "b1", "a1", "Alice Liddell", marks[1])
    play.tell.act("b1", "takes the name 'Bob (a.example)', in this room alone")
    b1.client.set_state(at_b, "m.room.member", {"membership": "join", "displayname": "Bob (a.example)"}, b1.user)
    play.say(room, "b1", "So have I")
    # Nobody can stand there as somebody of another provider.
    called(play, at_a, "a1", "b1", "Bob [a.example]", marks[0])
    play.tell.act("b1", "takes a picture, too")
    picture = b1.client.upload(PICTURE, "image/png")
    mine = {"membership": "join", "displayname": "Bob (a.example)", "avatar_url": picture}
    b1.client.set_state(at_b, "m.room.member", mine, b1.user)
    play.say(room, "b1", "So I look")
    pictured(play, at_a, "a1", "b1", "Bob [a.example]", marks[0])
    for number in range(3):
        play.say(room, "a1", f"I keep it, {number}")
    play.say(other, "b1", "and nobody knows it here")
    user = play.as_seen_by("a1", "b1")
    content = a1.client.state_content(other.ids["a"], "m.room.member", user) or {}
    if "Bob" in (content.get("displayname") or ""):
        raise Wrong(f"a name of one room is one in another: {content}")
    if (times := written(play, at_b, "b1", "a1")) > 2:
        raise Wrong(f"a ghost's member event was written {times} times for one name")
    for checked in (room, other):
        play.check(checked)
    a1.client.call("PUT", profile, {"displayname": "a1"})

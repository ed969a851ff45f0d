"""Steps of the play about what a room is called, and who may do what in it."""

import time

from .matrix import MatrixError
from .play_parts import Wrong

NAME, TOPIC, AVATAR, LEVELS = "m.room.name", "m.room.topic", "m.room.avatar", "m.room.power_levels"


def wait_state(play, room, name: str, kind: str, wanted, told: str) -> dict:
    """Waits until the state that `name` has of this kind is as wanted."""
    began, here = time.monotonic(), play.here(room, name)
    while True:
        found = play.person(name).client.state_content(here, kind) or {}
        if wanted(found):
            play.tell.saw(name, told, (time.monotonic() - began) * 1000)
            return found
        if time.monotonic() - began > play.patience:
            raise Wrong(f"{name} does not see that {told}: {found}")
        time.sleep(0.1)


def calls(play, room, name: str, text: str, kind: str = NAME) -> None:
    word = kind.rpartition(".")[2]
    play.tell.act(name, f"sets the {word} {text!r}")
    play.person(name).client.set_state(play.here(room, name), kind, {word: text})


def called(play, room, name: str, text: str, kind: str = NAME) -> None:
    word = kind.rpartition(".")[2]
    wait_state(play, room, name, kind, lambda found: found.get(word) == text, f"the {word} is {text!r}")


def wears(play, room, name: str, reader: str) -> None:
    """Somebody gives the room a picture; the reader's room has the same, on the reader's homeserver."""
    data = b"\x89PNG\r\n\x1a\n" + f"by {name}".encode() * 100
    play.tell.act(name, "gives the room a picture")
    client = play.person(name).client
    client.set_state(play.here(room, name), AVATAR, {"url": client.upload(data, "image/png")})
    seen = play.person(reader).client
    wait_state(play, room, reader, AVATAR, lambda found: "url" in found and seen.download(found["url"]) == data,
               f"the room has the picture of {name}")


def rename(play) -> None:
    """Name, topic and picture of the host's room are those of the guests'; only who may changes them."""
    for host, guest in (("a", "b"), ("b", "a")):
        room = play.gather("Bakers", host=host, guests=1)
        first, second = f"{host}1", f"{guest}1"
        called(play, room, second, "Bakers")
        calls(play, room, first, "Butchers")
        calls(play, room, first, "Meat, not bread", TOPIC)
        called(play, room, second, "Butchers")
        called(play, room, second, "Meat, not bread", TOPIC)
        wears(play, room, first, second)
        try:
            calls(play, room, second, "Greengrocers")
        except MatrixError as error:
            if error.status != 403:
                raise
        else:
            raise Wrong(f"{second}, a member of the MIMI room, may rename it")
        # Its own echoes are no news.
        play.say(room, first, "Enough names?")
        play.say(room, second, "Enough.")
        for name in (first, second):
            events = play.person(name).client.messages(play.here(room, name), seconds=play.patience)
            names = [event["content"].get("name") for event in events if event["type"] == NAME]
            # Guests do not read what was before them.
            if names not in (["Bakers", "Butchers"], ["Butchers"]):
                raise Wrong(f"{name} saw the names {names}")
        play.check(room)


def empower(play, room, name: str, user: str, level: int) -> None:
    play.tell.act(name, f"gives {user} power level {level}")
    client, here = play.person(name).client, play.here(room, name)
    levels = client.state_content(here, LEVELS)
    client.set_state(here, LEVELS, levels | {"users": levels.get("users", {}) | {user: level}})


def has_level(play, room, name: str, user: str, level: int) -> None:
    wait_state(play, room, name, LEVELS, lambda found: found.get("users", {}).get(user, 0) == level,
               f"{user} has power level {level}")


def roles(play) -> None:
    """Power levels of either side are roles of the MIMI room, and power levels of the other side."""
    for host, guest in (("a", "b"), ("b", "a")):
        room = play.gather("Committee", host=host)
        first, second, third, fourth = f"{host}1", f"{host}2", f"{guest}1", f"{guest}2"
        user = {name: play.person(name).user for name in (first, second, third, fourth)}
        empower(play, room, first, play.as_seen_by(first, third), 50)
        has_level(play, room, third, user[third], 50)
        calls(play, room, third, "Chaired by a guest")
        called(play, room, first, "Chaired by a guest")
        wears(play, room, third, first)
        empower(play, room, first, play.as_seen_by(first, third), 100)
        # Less than the bot has, which can take it away again.
        has_level(play, room, third, user[third], 95)
        empower(play, room, third, user[fourth], 50)
        has_level(play, room, first, play.as_seen_by(first, fourth), 50)
        empower(play, room, third, play.as_seen_by(third, second), 50)
        has_level(play, room, first, user[second], 50)
        empower(play, room, first, play.as_seen_by(first, fourth), 0)
        has_level(play, room, fourth, user[fourth], 0)
        try:
            calls(play, room, fourth, "Mutiny")
        except MatrixError as error:
            if error.status != 403:
                raise
        else:
            raise Wrong(f"{fourth}, a moderator no more, may rename the room")
        play.say(room, second, "Who else is moderator now?")
        play.say(room, third, "You are.")
        play.check(room)

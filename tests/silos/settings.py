"""Steps of the play about what a room is called, and who may do what in it."""

import time

from .matrix import MatrixError
from .play_parts import Wrong

NAME, TOPIC = "m.room.name", "m.room.topic"


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


def rename(play) -> None:
    """Name and topic of the host's room are those of the guests'; only who may changes them."""
    for host, guest in (("a", "b"), ("b", "a")):
        room = play.gather("Bakers", host=host, guests=1)
        first, second = f"{host}1", f"{guest}1"
        called(play, room, second, "Bakers")
        calls(play, room, first, "Butchers")
        calls(play, room, first, "Meat, not bread", TOPIC)
        called(play, room, second, "Butchers")
        called(play, room, second, "Meat, not bread", TOPIC)
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

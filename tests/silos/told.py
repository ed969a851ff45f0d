"""A step of the play about what people are told of their messages, and what time does to them."""

import itertools
import time
from urllib.parse import quote

from .play_parts import Wrong
from .relations import Talk, expect

QUESTION = itertools.count(1)
STATUS = "com.beeper.message_send_status"


def status(play, room, name: str, event: str, wanted: str, mark: int) -> dict:
    """What the client of `name` is told of one of its messages."""
    here = play.here(room, name)
    seen = play.person(name).wait(f"{wanted} of {event}", lambda seen: seen.room == here and seen.kind == STATUS
                                  and seen.content["m.relates_to"]["event_id"] == event and seen.content["status"] == wanted,
                                  play.patience, mark)
    play.tell.seen(name, f"is told {wanted}: {seen.content.get('message', 'it was accepted')}", seen)
    return seen.content


def receipt_of(play, room, reader: str, user: str) -> str | None:
    """The event up to which `user` has read, as the client of `reader` shows it."""
    # Synapse gives the same answer to the same question for two minutes.
    query = {"timeout": next(QUESTION), "set_presence": "offline"}
    answer = play.person(reader).client.call("GET", "/_matrix/client/v3/sync", query=query)
    here = answer.get("rooms", {}).get("join", {}).get(play.here(room, reader), {})
    for event in here.get("ephemeral", {}).get("events", []):
        if event["type"] == "m.receipt":
            for target, kinds in event["content"].items():
                if user in kinds.get("m.read", {}):
                    return target
    return None


def told(play) -> None:
    room = play.gather("Post office", guests=1)
    a1, b1 = play.person("a1"), play.person("b1")

    # What cannot be sent.
    mark = b1.mark()
    secret = b1.client.send(play.here(room, "b1"), "?", kind="m.room.encrypted", more={"algorithm": "m.megolm.v1.aes-sha2"})
    play.tell.act("b1", "sends what the gateway cannot read")
    expect("the reason", status(play, room, "b1", secret, "FAIL_PERMANENT", mark)["reason"], "com.beeper.undecryptable_event")

    # What others do not get of it: once.
    def lost() -> list[str]:
        events = a1.client.messages(play.here(room, "a1"))
        return [event["content"]["body"] for event in events if "not all reaches" in event["content"].get("body", "")]

    cat = {"format": "org.matrix.custom.html", "formatted_body": '<img data-mx-emoticon src="mxc://a/b" alt=":cat:">'}
    there = Talk(play, room, "a1", "b1", {})
    for text in (":cat:", ":cat: again"):
        there.say(text, f"writes {text!r} with a picture for it", **cat)
    play.say(room, "a1", "That was my cat.")
    notices = lost()
    if len(notices) != 1 or "emoji" not in notices[0]:
        raise Wrong(f"of the loss people were told: {notices}")

    # Who has read it.
    letter, shown = there.say("A letter for you", "writes 'A letter for you'")
    play.tell.act("b1", "reads it")
    path = f"/_matrix/client/v3/rooms/{quote(play.here(room, 'b1'))}/receipt/m.read/{quote(shown['event_id'])}"
    b1.client.call("POST", path, {})
    deadline, ghost = time.monotonic() + play.patience, play.as_seen_by("a1", "b1")
    while (found := receipt_of(play, room, "a1", ghost)) != letter:
        if time.monotonic() > deadline:
            raise Wrong(f"a1 sees that b1 has read up to {found}, not {letter}")
        time.sleep(0.2)

    # What shall disappear, on both sides.
    at = int(time.time() * 1000) + 3000
    gone, shown = there.say("Burn this", "writes 'Burn this', for three seconds", **{"org.matrix.self_destruct_after": at})
    for name, event, by in (("b1", shown["event_id"], play.as_seen_by("b1", "a1")), ("a1", gone, play.silos.a.gateway.bot)):
        seen = play.person(name).wait("the removal", lambda seen, event=event: seen.kind == "m.room.redaction"
                                      and event in (seen.event.get("redacts"), seen.content.get("redacts")), play.patience)
        play.tell.seen(name, "sees it go", seen)
        expect("who removed it", seen.sender, by)
        if int(time.time() * 1000) < at:
            raise Wrong("it went too early")

    # What waits for its host.
    gateway, mark = play.silos.a.gateway, b1.mark()
    play.tell.act("b1", "writes while A's gateway is away")
    gateway.proc.kill()
    waits = b1.client.send(play.here(room, "b1"), "Is anybody there?")
    words = status(play, room, "b1", waits, "PENDING", mark)["message"]
    if "a.example" not in words:
        raise Wrong(f"it waits for {words!r}")
    gateway.proc.start()
    status(play, room, "b1", waits, "SUCCESS", mark)
    play.wait_message(room, "a1", "b1", "Is anybody there?")

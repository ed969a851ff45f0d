"""Steps of the play about how chats and bridged rooms are marked, and how they end."""

import time

from .matrix import MatrixError, Seen
from .play_parts import Said, Wrong

READS_ALONG = "Encryption towards MIMI ends at this gateway"


def bridges(play, name: str, room_id: str) -> list[dict]:
    """What `m.bridge` says in a room, as one who is in it reads it."""
    return [event["content"] for event in play.person(name).client.state(room_id) if event["type"] == "m.bridge"]


def told(play, name: str, room_id: str, text: str, sender: str, mark: int = 0) -> Seen:
    """Waits until the gateway says something with `text`, by the mouth of `sender`."""
    seen = play.person(name).wait(f"the gateway say {text!r}", lambda seen: seen.room == room_id and seen.sender == sender
                                  and seen.content.get("msgtype") == "m.notice" and text in seen.body, play.patience, mark)
    play.tell.seen(name, f"is told: {seen.body}", seen)
    return seen


def in_vain(play, room, name: str, body: str) -> None:
    """Writes where nobody reads it any more, and waits for the answer that says so."""
    person, room_id = play.person(name), play.here(room, name)
    play.tell.act(name, f"writes {body!r}")
    room.said.append(Said(play.mimi(name), body, {name}, timely=True))
    event = person.client.send(room_id, body)
    seen = person.wait("an answer", lambda seen: seen.content.get("m.relates_to", {}).get("m.in_reply_to", {}).get("event_id")
                       == event, play.patience)
    if seen.sender != play.silo(name).gateway.bot or "not delivered" not in seen.body:
        raise Wrong(f"{body!r} was answered by {seen.sender} with {seen.body!r}")
    play.tell.seen(name, f"is answered: {seen.body}", seen)


def begun(play, room) -> None:
    """A direct chat of A1, who began it, with B2: each side sees what it is, and who reads along."""
    ghost, bot = play.as_seen_by("a1", "b2"), play.silos.b.gateway.bot
    words = told(play, "a1", room.ids["a"], READS_ALONG, ghost)
    if not words.body.startswith("[MIMI gateway, not b2 (b.example)] "):
        raise Wrong(f"the gateway's words look like B2's: {words.body!r}")
    told(play, "b2", room.ids["b"], READS_ALONG, bot)
    if play.person("b2").client.state_content(room.ids["b"], "m.room.name"):
        raise Wrong("the direct chat has a name of its own at B")
    for name, other in (("a1", "b2 (b.example)"), ("b2", "a1 (a.example)")):
        found = [content["channel"].get("displayname") for content in bridges(play, name, play.here(room, name))]
        if found != [other]:
            raise Wrong(f"m.bridge at {name} names {found}")


def direct_ends(play) -> None:
    """B2 leaves, A1 asks again in the same room, and ends the chat by a command."""
    room, ghost = play.rooms["direct"], play.as_seen_by("a1", "b2")
    a1, b2 = play.person("a1"), play.person("b2")
    uri = bridges(play, "a1", room.ids["a"])[0]["channel"]["id"]
    mark = a1.mark()
    play.tell.act("b2", "leaves the direct chat")
    b2.client.leave(room.ids["b"])
    room.present.remove("b2")
    told(play, "a1", room.ids["a"], "left this chat", ghost, mark)
    a1.wait_member(room.ids["a"], ghost, "leave", play.patience, mark)
    in_vain(play, room, "a1", "B2? Are you still there?")
    if bridges(play, "a1", room.ids["a"]) != [{}]:
        raise Wrong(f"m.bridge is left behind: {bridges(play, 'a1', room.ids['a'])}")

    play.tell.act("a1", f"invites {ghost} again")
    marks = {"a1": a1.mark(), "b2": b2.mark()}
    a1.client.invite(room.ids["a"], ghost)
    invite = b2.wait_invite("another invite", lambda seen: seen.sender == play.as_seen_by("b2", "a1"), play.patience, marks["b2"])
    if invite.room == room.ids["b"] or invite.content.get("is_direct") is not True:
        raise Wrong(f"the second invite is {invite.content} into {invite.room}")
    play.invited("b2", invite)
    play.tell.act("b2", "accepts")
    b2.client.join(invite.room)
    a1.wait_member(room.ids["a"], ghost, "join", play.patience, marks["a1"])
    room.ids["b"] = invite.room
    for said in room.said:  # B's part of that is in the room that B2 left
        said.audience.discard("b2")
    room.enter("b2")
    play.say(room, "a1", "There you are again.")
    play.say(room, "b2", "Wrong button.")
    play.check(room)
    now = [content for content in bridges(play, "a1", room.ids["a"]) if content]
    if [content["channel"]["id"] for content in now] != [uri]:
        raise Wrong(f"the second chat of the same two is another MIMI room: {now}")

    marks = {"a1": a1.mark(), "b2": b2.mark()}
    play.tell.act("a1", "writes '!mimi unbridge'")
    a1.client.send(room.ids["a"], "!mimi unbridge")
    told(play, "a1", room.ids["a"], "This chat is over", ghost, marks["a1"])
    a1.wait_member(room.ids["a"], ghost, "leave", play.patience, marks["a1"])
    told(play, "b2", room.ids["b"], "left this chat", play.silos.b.gateway.bot, marks["b2"])
    in_vain(play, room, "b2", "A1?")
    play.tell.act("b2", "leaves, too")
    b2.client.leave(room.ids["b"])
    room.present.remove("b2")


def let_go(play) -> None:
    """B1, who brought it to B, lets a followed room go: the ghosts leave, B's people stay and are told."""
    room = play.gather("Lending library")
    b1, bot = play.person("b1"), play.silos.b.gateway.bot
    play.say(room, "b2", "Which books do we give back?")
    if [content["channel"].get("displayname") for content in bridges(play, "b1", room.ids["b"])] != ["Lending library"]:
        raise Wrong(f"m.bridge at B: {bridges(play, 'b1', room.ids['b'])}")
    alias = b1.client.state_content(room.ids["b"], "m.room.canonical_alias")["alias"]
    mark = b1.mark()
    told(play, "b1", room.ids["b"], READS_ALONG, bot)
    play.tell.act("b1", "writes '!mimi unbridge'")
    b1.client.send(room.ids["b"], "!mimi unbridge")
    told(play, "b1", room.ids["b"], f"{b1.user} ended the connection to MIMI", bot, mark)
    for other in ("a1", "a2"):
        b1.wait_member(room.ids["b"], play.as_seen_by("b1", other), "leave", play.patience, mark)
    for other in ("b1", "b2"):
        play.sees_member(room, "a1", other, "leave")
        room.present.remove(other)
    if b1.client.membership(room.ids["b"], play.person("b2").user) != "join":
        raise Wrong("B2 was put out of the Matrix room")
    deadline = time.monotonic() + play.patience
    while (left := _left_behind(b1.client, room.ids["b"], alias)) and time.monotonic() < deadline:
        time.sleep(0.1)
    if left:
        raise Wrong(f"left behind: {left}")
    play.say(room, "a1", "All of them.", local=True)
    play.check(room)
    for name in ("b1", "b2"):
        last = play.last_words(name, room)
        if "ended the connection to MIMI" not in last:
            raise Wrong(f"{name} was told something else at the end: {last}")
        play.tell.saw(name, "does not see that: " + last, 0)


def _left_behind(client, room_id: str, alias: str) -> list[str]:
    found = [f"{event['type']} {event['content']}" for event in client.state(room_id)
             if event["type"] in ("m.bridge", "m.room.canonical_alias") and event["content"]]
    try:
        found.append(client.call("GET", "/_matrix/client/v3/directory/room/" + alias.replace("#", "%23"))["room_id"])
    except MatrixError as error:
        if error.status != 404:
            raise
    return found

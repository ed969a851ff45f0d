"""A step of the play about what is said in other ways than by text."""

from .play_parts import Wrong

POLL = "org.matrix.msc3381.poll.start"


def in_words(kind: str, content: dict) -> str:
    """What an event is, said from its content."""
    if new := content.get("m.new_content"):
        return f"a new version: {in_words(kind, new)}"
    if kind == POLL:
        poll = content[POLL]
        answers = [answer["org.matrix.msc1767.text"] for answer in poll["answers"]]
        return f"the poll {poll['question']['org.matrix.msc1767.text']!r} with the answers {', '.join(map(repr, answers))}"
    if content.get("msgtype") == "m.location":
        return f"the place {content['body']!r} at {content['geo_uri'].removeprefix('geo:')} on the map"
    if timer := content.get("com.beeper.disappearing_timer"):
        return f"a notice, {content['body']!r}, that shall disappear {timer['timer'] // 1000} s after it was read"
    return f"an event of an own kind, {kind}: {content.get('body')!r}, {len(content)} fields"


def cross(play, room, name: str, reader: str, kind: str, content: dict) -> dict:
    """Sends an event as a client does; its content as `reader` sees it, without what the gateway adds."""
    return send(play, room, name, reader, kind, content)[0]


def send(play, room, name: str, reader: str, kind: str, content: dict) -> tuple[dict, str, str]:
    """The same, and the event's id on both sides."""
    person, sender = play.person(reader), play.as_seen_by(reader, name)
    mark = person.mark()
    play.tell.act(name, f"sends {in_words(kind, content)}")
    body, more = content.get("body", ""), {key: value for key, value in content.items() if key != "body"}
    path = f"/_matrix/client/v3/rooms/{play.here(room, name)}/send/{kind}/{play.person(name).client.next_txn()}"
    sent = play.person(name).client.call("PUT", path, more | ({"body": body} if body else {}))
    seen = person.wait(f"{kind} of {sender}", lambda seen: seen.room == play.here(room, reader) and seen.sender == sender
                       and seen.kind == kind, play.patience, mark)
    came = {key: value for key, value in seen.content.items() if key not in ("im.mimi-gateway.message", "m.mentions")}
    play.tell.seen(reader, f"sees {in_words(kind, came)}", seen)
    return came, sent["event_id"], seen.event["event_id"]


def version(new: dict, of: str) -> dict:
    """As Element edits what is no message."""
    return {"m.new_content": new, "m.relates_to": {"rel_type": "m.replace", "event_id": of}}


def kinds(play) -> None:
    room = play.gather("Games night", guests=1)
    dice = {"body": "rolled a 6", "org.example.dice": {"sides": 6, "fair": True, "seen": [1, -2, None, "ü"]}}
    poll = {POLL: {"kind": "org.matrix.msc3381.poll.disclosed", "max_selections": 1,
                   "question": {"org.matrix.msc1767.text": "Chess or go?"},
                   "answers": [{"id": "1", "org.matrix.msc1767.text": "Chess"}, {"id": "2", "org.matrix.msc1767.text": "Go"}]},
            "org.matrix.msc1767.text": "Chess or go?"}
    for name, reader in (("a1", "b1"), ("b1", "a1")):
        for kind, content in (("org.example.dice", dice), (POLL, poll)):
            came, here, there = send(play, room, name, reader, kind, content)
            if came != content:
                raise Wrong(f"{kind} came as {came}")
            new = content | {"org.example.more": [True, None]}
            if (came := cross(play, room, name, reader, kind, version(new, here))) != version(new, there):
                raise Wrong(f"a new version of {kind} came as {came}")
        place = {"msgtype": "m.location", "body": "The club", "geo_uri": "geo:51.5008,-0.1247"}
        came = cross(play, room, name, reader, "m.room.message", place)
        if {key: came.get(key) for key in place} != place:
            raise Wrong(f"the location came as {came}")
        gone = {"msgtype": "m.notice", "body": "for a minute", "com.beeper.disappearing_timer": {"type": "after_read", "timer": 60000}}
        if (came := cross(play, room, name, reader, "m.room.message", gone)) != gone:
            raise Wrong(f"the notice that shall go came as {came}")

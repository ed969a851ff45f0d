"""A step of the play about messages that refer to earlier ones."""

from urllib.parse import quote

from .play_parts import Wrong


class Talk:
    """A room in which events are sent as clients send them, and looked at as the other side's clients get them. `texts` says
    what stands in which event, on either side."""

    def __init__(self, play, room, name: str, reader: str, texts: dict[str, str]):
        self.play, self.room, self.name, self.reader, self.texts = play, room, name, reader, texts
        self.client, self.person = play.person(name).client, play.person(reader)

    def send(self, kind: str, content: dict, told: str) -> tuple[str, dict]:
        """The event's id, and the event by which the reader has it."""
        mark = self.person.mark()
        self.play.tell.act(self.name, told)
        path = f"/_matrix/client/v3/rooms/{self.play.here(self.room, self.name)}/send/{kind}/{self.client.next_txn()}"
        sent = self.client.call("PUT", path, content)["event_id"]
        shown = self.shown(kind, mark)
        self.texts[sent] = self.texts[shown["event_id"]]
        if relation(shown).get("rel_type") == "m.replace":
            for edited in (content, shown["content"]):
                self.texts[edited["m.relates_to"]["event_id"]] = self.texts[sent]
        return sent, shown

    def say(self, text: str, told: str, **more) -> tuple[str, dict]:
        return self.send("m.room.message", {"msgtype": "m.text", "body": text} | more, told)

    def redact(self, event: str, reason: str, told: str) -> dict:
        mark = self.person.mark()
        self.play.tell.act(self.name, told)
        room = quote(self.play.here(self.room, self.name))
        self.client.call("PUT", f"/_matrix/client/v3/rooms/{room}/redact/{quote(event)}/{self.client.next_txn()}", {"reason": reason})
        return self.shown("m.room.redaction", mark)

    def shown(self, kind: str, mark: int) -> dict:
        sender, here = self.play.as_seen_by(self.reader, self.name), self.play.here(self.room, self.reader)
        seen = self.person.wait(f"{kind} of {sender}", lambda seen: seen.room == here and seen.sender == sender
                                and seen.kind == kind, self.play.patience, mark)
        self.texts[seen.event["event_id"]] = plain(seen.content.get("m.new_content", seen.content).get("body", ""))
        self.play.tell.seen(self.reader, self.in_words(seen.event), seen)
        return seen.event

    def in_words(self, event: dict) -> str:
        """What the reader's client makes of an event: the event that it points at is named by what stands there."""
        to, body = relation(event), self.texts[event["event_id"]]

        def there(event_id: str | None) -> str:
            return repr(self.texts.get(event_id, "something that is not there"))

        if event["type"] == "m.room.redaction":
            return f"sees {there(event.get('redacts'))} disappear"
        match to.get("rel_type"):
            case "m.replace":
                return f"sees {there(to['event_id'])} become {body!r}"
            case "m.annotation":
                self.texts[event["event_id"]] = to["key"]
                return f"sees {to['key']} at {there(to['event_id'])}"
            case "m.thread":
                return f"sees {body!r} in the thread under {there(to['event_id'])}"
        if "m.in_reply_to" in to:
            return f"sees {body!r} as an answer to {there(to['m.in_reply_to']['event_id'])}"
        return f"sees {body!r}"


def plain(body: str) -> str:
    """Without the quotation that older clients put above an answer."""
    return body.rpartition("\n\n")[2] if body.startswith("> ") else body


def relation(event: dict) -> dict:
    return event["content"].get("m.relates_to", {})


def expect(what: str, found, wanted) -> None:
    if found != wanted:
        raise Wrong(f"{what}: {found}, not {wanted}")


def relations(play) -> None:
    """Answers, threads, edits, reactions and deletions of each side point at the right event of the other."""
    room = play.gather("Choir", guests=1)
    texts: dict[str, str] = {}
    for name, reader in (("a1", "b1"), ("b1", "a1")):
        here, there = Talk(play, room, name, reader, texts), Talk(play, room, reader, name, texts)
        first, shown = here.say("Rehearsal at eight?", "asks 'Rehearsal at eight?'")
        theirs = shown["event_id"]

        answer, shown = there.say("> <@x:y> Rehearsal at eight?\n\nNine!", "answers 'Nine!'",
                                  **{"m.relates_to": {"m.in_reply_to": {"event_id": theirs}}})
        expect("the answer", (shown["content"]["body"], relation(shown)), ("Nine!", {"m.in_reply_to": {"event_id": first}}))
        answer_here = shown["event_id"]

        new = {"msgtype": "m.text", "body": "Half past eight!"}
        _, shown = there.say("* Half past eight!", "edits it to 'Half past eight!'",
                             **{"m.new_content": new, "m.relates_to": {"rel_type": "m.replace", "event_id": answer}})
        expect("the edit", relation(shown), {"rel_type": "m.replace", "event_id": answer_here})
        expect("the new text", shown["content"]["m.new_content"]["body"], "Half past eight!")

        annotation = {"rel_type": "m.annotation", "event_id": answer_here, "key": "👍"}
        reaction, shown = here.send("m.reaction", {"m.relates_to": annotation}, "reacts with 👍")
        expect("the reaction", relation(shown), annotation | {"event_id": answer})
        expect("the reaction that is taken back", here.redact(reaction, "", "takes the reaction back")["redacts"], shown["event_id"])

        thread = {"rel_type": "m.thread", "event_id": theirs, "is_falling_back": True, "m.in_reply_to": {"event_id": theirs}}
        _, shown = there.say("Who brings the notes?", "begins a thread: 'Who brings the notes?'", **{"m.relates_to": thread})
        expect("the thread", (relation(shown).get("rel_type"), relation(shown).get("event_id")), ("m.thread", first))
        inner = {"rel_type": "m.thread", "event_id": first, "is_falling_back": True, "m.in_reply_to": {"event_id": shown["event_id"]}}
        _, shown = here.say("I do.", "writes in it: 'I do.'", **{"m.relates_to": inner})
        expect("the other side of the thread", (relation(shown).get("rel_type"), relation(shown).get("event_id")), ("m.thread", theirs))

        gone = there.redact(answer, "nonsense", "deletes the answer")
        expect("the deletion", (gone["redacts"], gone["content"].get("reason")), (answer_here, "nonsense"))
    end = play.say(room, "a1", "Good night!")
    if not end:
        raise Wrong("nobody is there in the end")

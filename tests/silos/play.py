"""The conversation of two silos, step by step, with real client calls. `make demo` prints it, the end-to-end tests assert it.

Every step waits for what the people must see, and ends by comparing both homeservers' `/messages` (judge.py): everything
once, from the right sender, in the right order and with the right time.
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from . import bans, consent, endings, finding, judge, kinds, media, names, provisioning, relations, reports, settings, told
from .matrix import Seen, Watcher
from .play_parts import Said, Wrong
from .stage import LETTERS, Silo, Silos, domain, in_parallel, start_all


class Narrator(Protocol):
    def step(self, number: int, title: str) -> None: ...
    def act(self, who: str, what: str) -> None: ...
    def saw(self, who: str, what: str, milliseconds: float) -> None: ...


class Told:
    """A narrator that knows when the last act began: what people see is timed from there."""

    def __init__(self, narrator: Narrator):
        self._narrator, self.at = narrator, time.monotonic()

    def step(self, number: int, title: str) -> None:
        self._narrator.step(number, title)

    def act(self, who: str, what: str) -> None:
        """To be called right before the act."""
        self._narrator.act(who, what)
        self.at = time.monotonic()

    def saw(self, who: str, what: str, milliseconds: float) -> None:
        self._narrator.saw(who, what, milliseconds)

    def seen(self, who: str, what: str, seen: Seen) -> None:
        """Something on a screen, timed from the last act."""
        self._narrator.saw(who, what, (seen.at - self.at) * 1000)


def _short(text: str, most: int = 32) -> str:
    return text if len(text) <= most else text[:most - 1] + "…"


@dataclass
class Room:
    """A conversation: one Matrix room on each side."""

    ids: dict[str, str] = field(default_factory=dict)
    present: list[str] = field(default_factory=list)
    everyone: list[str] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)

    def enter(self, *names: str) -> None:
        self.present += names
        self.everyone += [name for name in names if name not in self.everyone]


class Play:
    """`steps` in order; each needs the ones named with it. `people` are a1, a2, b1, b2."""

    NAME, TOPIC = "Garden club", "Tomatoes, and what ate them"

    def __init__(self, silos: Silos, narrator: Narrator, patience: float = 30.0):
        self.silos, self.tell, self.patience = silos, Told(narrator), patience
        self.rooms: dict[str, Room] = {"club": Room(), "direct": Room(), "hosted by b": Room()}
        # Who is in which room that `gather` made: the invites into these are answered.
        self.gathered: set[tuple[str, str]] = set()
        for name in ("a1", "a2", "b1", "b2"):
            self.person(name)
        # name, title, what it needs, function
        self.steps: list[tuple[str, str, tuple[str, ...], Callable[[], None]]] = [
            ("bridge", "A1 makes a room and has it mirrored as a MIMI room", (), self.bridge),
            ("invite", "A1 invites a user of another provider", ("bridge",), self.invite),
            ("talk", "A1 and B1 talk", ("invite",), self.talk),
            ("other kinds", "A1 and B1 send and edit a custom event and a poll, and send a place and what shall disappear", (), lambda: kinds.kinds(self)),
            ("relations", "A1 and B1 answer, edit, react, write in threads, and delete", (), lambda: relations.relations(self)),
            ("rename", "A1 and B1 give rooms other names and topics", (), lambda: settings.rename(self)),
            ("names", "A1 and B1 give themselves names, which the others see", (), lambda: names.names(self)),
            ("media", "A1 and B1 send pictures, a voice message, a file, a gallery and a sticker", (), lambda: media.media(self)),
            ("roles", "A1 and B1 make others moderators and admins", (), lambda: settings.roles(self)),
            ("told", "A1 and B1 are told what becomes of their messages, and some of those disappear", (), lambda: told.told(self)),
            ("second guest", "B1, a guest, invites B2", ("invite",), self.second_guest),
            ("no set-up", "A2, a member of the room since step 1, just writes", ("invite",), self.without_setup),
            ("killed gateways", "Both gateways are killed in the middle of a talk, and come back", ("invite",), self.killed_gateways),
            ("leave", "B1 leaves, and can no longer read", ("second guest",), self.leave),
            ("direct", "A1 starts a direct chat with B2", (), self.direct),
            ("direct ends", "B2 leaves the direct chat; A1 is told, asks again, and ends it", ("direct",),
             lambda: endings.direct_ends(self)),
            ("hosted by b", "B1 hosts a room; A1 and A2 come, A1 leaves, A2 stays", (), self.hosted_by_b),
            ("without host", "Everybody of the hosting side leaves; the guests talk on, and ask A1 back", (), self.without_host),
            ("let go", "B1 has a room of A's no longer mirrored at B", (), lambda: endings.let_go(self)),
            ("ban", "A1 bans B2, whom nobody gets in again before the ban is lifted", (), lambda: bans.ban(self)),
            ("consent", "A2 asks B3 for consent for every room; B3 agrees, then blocks A2", (), lambda: consent.consent(self)),
            ("reports", "B1 reports messages; those who run A, which hosts the room, read them with the proof", (),
             lambda: reports.reports(self)),
            ("start-chat", "B2 lets itself be found; A2 finds B2 and begins a chat", (), lambda: finding.start_chat(self)),
            ("provisioning", "A program mirrors a room for A1 and asks B1 in; for A9 it may not", (),
             lambda: provisioning.provisioning(self)),
            ("declines", "A1 invites those who cannot come", (), lambda: bans.declines(self)),
        ]

    # ------------------------------------------------------------------------------------------------ helpers

    def silo(self, name: str) -> Silo:
        return self.silos.silos[name[0]]

    def person(self, name: str) -> Watcher:
        return self.silo(name).person(name)

    def mimi(self, name: str) -> str:
        return self.silo(name).mimi(name)

    def as_seen_by(self, name: str, other: str) -> str:
        """The Matrix id under which `name` sees `other`."""
        silo = self.silo(name)
        return self.person(other).user if silo is self.silo(other) else silo.gateway.ghost(self.silo(other).domain, other)

    def here(self, room: Room, name: str) -> str:
        return room.ids[name[0]]

    def shown(self, reader: str, user: str) -> str:
        """How `reader`'s client shows a user: by the display name that it got with a member event."""
        for seen in reversed(self.person(reader).seen):
            if seen.kind == "m.room.member" and seen.event.get("state_key") == user and seen.content.get("displayname"):
                return seen.content["displayname"]
        return user

    def invited(self, name: str, invite: Seen) -> None:
        """Tells the invite as `name`'s client shows it: by whom, and into what."""
        titles = [seen.content.get("name") for seen in self.person(name).seen
                  if seen.invite and seen.room == invite.room and seen.kind == "m.room.name"]
        into = f"into {titles[-1]!r}" if titles and titles[-1] else "to a chat" if invite.content.get("is_direct") else "into a room"
        shown = self.shown(name, invite.sender)
        who = shown if shown == invite.sender else f"{shown}, that is {invite.sender}"
        self.tell.seen(name, f"is invited {into} by {who}", invite)

    def command(self, room_id: str, name: str, text: str, part: str = "") -> Seen:
        """Writes a command and waits for the bot's answer; with `part` for one that says that."""
        person, bot = self.person(name), self.silo(name).gateway.bot
        mark = person.mark()
        self.tell.act(name, f"writes {text!r}")
        person.client.send(room_id, text)
        what = f"an answer of the bot to {text!r}" + (f" that says {part!r}" if part else "")
        answer = person.wait(what, lambda seen: seen.room == room_id and seen.sender == bot and bool(seen.body)
                             and part in seen.body, self.patience, mark)
        self.tell.seen(name, f"sees the bot answer: {answer.body}", answer)
        return answer

    def say(self, room: Room, name: str, body: str, html: str | None = None, local: bool = False) -> dict[str, Seen]:
        """Sends a message and waits until all who are present see it, from the right sender. Those on the sender's own
        homeserver are told of only if `local` is set."""
        self.tell.act(name, f"writes {html or body!r}")
        self.person(name).client.send(self.here(room, name), body, html)
        room.said.append(Said(self.mimi(name), body, set(room.present), timely=True))
        found = {}
        for other in room.present:
            if other == name:
                continue
            seen = self.wait_message(room, other, name, body)
            found[other] = seen
            if local or other[0] != name[0]:
                words = f"{seen.content.get('formatted_body') or seen.body!r} from {self.shown(other, seen.sender)}"
                self.tell.seen(other, f"sees {words}{', on the same homeserver' if other[0] == name[0] else ''}", seen)
        return found

    def wait_message(self, room: Room, reader: str, sender: str, body: str, seconds: float | None = None) -> Seen:
        seen = self.person(reader).wait_text(self.here(room, reader), body, seconds or self.patience)
        wanted = self.as_seen_by(reader, sender)
        if seen.sender != wanted:
            raise Wrong(f"{reader} sees {body!r} from {seen.sender} instead of {wanted}")
        return seen

    def accept(self, room: Room, name: str, inviter: str | None, seconds: float | None = None, mark: int = 0) -> Seen:
        """Waits for an invite to `name`, from `inviter` as seen there and not before `mark`, and joins."""
        person = self.person(name)
        sender = self.as_seen_by(name, inviter) if inviter else None
        invite = person.wait_invite(f"an invite from {sender or 'anybody'}", lambda seen: (name, seen.room) not in self.gathered
                                    and (sender is None or seen.sender == sender), seconds or self.patience, mark)
        self.invited(name, invite)
        self.tell.act(name, "accepts")
        person.client.join(invite.room)
        room.ids.setdefault(name[0], invite.room)
        if room.ids[name[0]] != invite.room:
            raise Wrong(f"{name} was invited into {invite.room}, not into the room of the others, {room.ids[name[0]]}")
        return invite

    def sees_member(self, room: Room, reader: str, other: str, membership: str = "join") -> Seen:
        user = self.as_seen_by(reader, other)
        seen = self.person(reader).wait_member(self.here(room, reader), user, membership, self.patience)
        verb = {"join": "in the room", "leave": "leave"}[membership]
        self.tell.seen(reader, f"sees {self.shown(reader, user)} {verb}", seen)
        return seen

    def check(self, room: Room) -> None:
        """Compares what the homeservers say with what was said."""
        domains = [domain(letter) for letter in LETTERS]
        timelines = {}
        for name in room.everyone:
            silo = self.silo(name)
            events = self.person(name).client.messages(self.here(room, name), seconds=self.patience)
            timelines[name] = judge.lines(events, silo.domain, domains, silo.gateway.bot)
        # The original's time is what its sender's own homeserver says.
        origin = {}
        for name, timeline in timelines.items():
            for line in timeline:
                if line.who == self.mimi(name):
                    origin[line.who, line.body] = line.ts
        timely = {(said.who, said.body) for said in room.said if said.timely}
        origin = {key: ts for key, ts in origin.items() if key in timely}
        spoken: dict[str, list[str]] = {}
        for said in room.said:
            spoken.setdefault(said.who, []).append(said.body)
        wrong = []
        for name, timeline in timelines.items():
            expected = [(said.who, said.body) for said in room.said if name in said.audience]
            # One who came later may or may not be shown what was said before; one who left must not see what came after.
            left = name not in room.present
            allowed = [] if left else [(said.who, said.body) for said in room.said]
            problems = judge.once(timeline, expected, allowed) + judge.sender_order(timeline, spoken)
            problems += judge.hub_order(timeline) + judge.times(timeline, origin)
            wrong += [f"{name}: {problem}" for problem in problems]
        if wrong:
            raise Wrong("; ".join(wrong[:8]) + (f"; and {len(wrong) - 8} more" if len(wrong) > 8 else ""))
        self.compared(room, timelines)

    def compared(self, room: Room, timelines: dict[str, list[judge.Line]], last: int = 3) -> None:
        """Tells what `check` found, and shows it: how each one's homeserver has the last messages."""
        here = [name for name in room.everyone if name in room.present]
        names = ", ".join(name.upper() for name in here)
        late = sum(1 for said in room.said if not said.timely)
        self.tell.saw("/messages", f"of {names}: {len(room.said)} messages, each once, in order; the time is the sender's own"
                      + (f" ({late} are not judged by time)" if late else ""), 0)
        for name in dict((name[0], name) for name in here).values():
            clock = [f"{time.strftime('%H:%M:%S', time.localtime(line.ts / 1000))}.{line.ts % 1000:03} "
                     f"{line.who.rpartition('/')[2].upper()} {_short(line.body)!r}" for line in timelines[name][-last:]]
            self.tell.saw("", f"{name.upper()} has at the end: {', '.join(clock)}", 0)

    def gather(self, title: str, host: str = "a", guests: int = 2) -> Room:
        """A mirrored room of two people on the hosting side and `guests` of the other side, everybody in it."""
        other = "b" if host == "a" else "a"
        first, second = f"{host}1", f"{host}2"
        bot, room = self.silos.silos[host].gateway.bot, Room()
        owner = self.person(first)
        self.tell.act(first, f"makes the room {title!r}, and invites {second.upper()} and the bot")
        room_id = room.ids[host] = owner.client.create_room(
            name=title, preset="private_chat", power_level_content_override={"users": {bot: 100}},
            invite=[bot, self.person(second).user])
        self.person(second).client.join(room_id)
        self.gathered.add((second, room_id))
        owner.wait_member(room_id, bot, "join", self.patience)
        self.command(room_id, first, "!mimi bridge")
        room.enter(first, second)
        for name in (f"{other}1", f"{other}2")[:guests]:
            mark = self.person(name).mark()
            self.command(room_id, first, f"!mimi invite {self.mimi(name)}")
            invite = self.person(name).wait_invite("an invite", lambda seen, name=name:
                                                   seen.sender == self.as_seen_by(name, first), self.patience, mark)
            self.invited(name, invite)
            self.tell.act(name, "accepts")
            self.person(name).client.join(invite.room)
            self.gathered.add((name, invite.room))
            room.ids[other] = invite.room
            room.enter(name)
            self.sees_member(room, first, name)
        return room

    # -------------------------------------------------------------------------------------------------- steps

    def bridge(self) -> None:
        room, bot = self.rooms["club"], self.silos.a.gateway.bot
        a1, a2 = self.person("a1"), self.person("a2")
        self.tell.act("a1", f"makes the room {self.NAME!r} with the topic {self.TOPIC!r}, and invites A2, who joins")
        room_id = a1.client.create_room(name=self.NAME, topic=self.TOPIC, preset="private_chat",
                                        power_level_content_override={"users": {bot: 100}}, invite=[a2.user])
        a2.client.join(room_id)
        room.ids["a"] = room_id
        room.enter("a1", "a2")
        self.tell.act("a1", f"invites the gateway's bot, {bot}")
        a1.client.invite(room_id, bot)
        self.tell.seen("a1", "sees the bot join", a1.wait_member(room_id, bot, "join", self.patience))
        self.command(room_id, "a1", "!mimi bridge")

    def invite(self) -> None:
        room = self.rooms["club"]
        self.command(room.ids["a"], "a1", f"!mimi invite {self.mimi('b1')}")
        self.accept(room, "b1", "a1")
        room.enter("b1")
        b1 = self.person("b1")
        for kind, key, wanted in (("m.room.name", "name", self.NAME), ("m.room.topic", "topic", self.TOPIC)):
            seen = b1.wait(f"the room's {key} {wanted!r}", lambda seen, kind=kind, key=key, wanted=wanted:
                           seen.room == room.ids["b"] and seen.kind == kind and seen.content.get(key) == wanted, self.patience)
            self.tell.seen("b1", f"sees the room's {key}: {wanted!r}", seen)
        for other in ("a1", "a2"):
            member = self.sees_member(room, "b1", other)
            if other not in (member.content.get("displayname") or "").lower():
                raise Wrong(f"b1 sees {other} under the name {member.content.get('displayname')!r}")
        for reader in ("a1", "a2"):
            self.sees_member(room, reader, "b1")

    def talk(self) -> None:
        room = self.rooms["club"]
        self.say(room, "a1", "Hello B1, can you read this?")
        self.say(room, "b1", "Loud and clear, A1!")
        formatted = (("a1", "some bold news and a link (https://example.org/slugs)",
                      'some <strong>bold</strong> news and <a href="https://example.org/slugs">a link</a>'),
                     ("b1", "slugs, really?", "<em>slugs</em>, really?"))
        for name, body, html in formatted:
            self.say_formatted(room, name, body, html)
        self.say(room, "a1", "line one\nline two: 1 < 2 & *no* markup, 🐌")
        self.check(room)

    def say_formatted(self, room: Room, name: str, body: str, html: str) -> None:
        """The fallback text may be made anew on the way: the others are asked for the markup, not for the body."""
        marker = html[html.index("<"):html.index(">") + 1]
        self.tell.act(name, f"writes {html}")
        marks = {other: self.person(other).mark() for other in room.present}
        self.person(name).client.send(self.here(room, name), body, html)
        room.said.append(Said(self.mimi(name), body, {other for other in room.present if other[0] == name[0]}, timely=True))
        for other in room.present:
            if other[0] == name[0]:
                continue
            sender = self.as_seen_by(other, name)
            seen = self.person(other).wait(f"a message with {marker}", lambda seen, sender=sender: seen.sender == sender
                                           and seen.room == self.here(room, other)
                                           and marker in seen.content.get("formatted_body", ""), self.patience, marks[other])
            self.tell.seen(other, f"sees {seen.content['formatted_body']} from {self.shown(other, seen.sender)}", seen)
            if seen.content.get("format") != "org.matrix.custom.html":
                raise Wrong(f"{other} sees formatted text without its format")
            if seen.body == body:
                room.said[-1].audience.add(other)
            else:  # same message, other fallback text
                room.said.append(Said(self.mimi(name), seen.body, {other}, timely=False))

    def second_guest(self) -> None:
        room = self.rooms["club"]
        self.tell.act("b1", "invites B2 in its client, as into any room")
        self.person("b1").client.invite(room.ids["b"], self.person("b2").user)
        self.accept(room, "b2", "b1")
        room.enter("b2")
        for reader in ("a1", "a2"):
            self.sees_member(room, reader, "b2")
        self.say(room, "b2", "Hi all, B2 here. B1 sent me.")
        self.say(room, "a1", "Welcome, B2!")
        self.check(room)

    def without_setup(self) -> None:
        room = self.rooms["club"]
        self.say(room, "a2", "I never typed a command. Does this arrive?")
        self.say(room, "b1", "It does, A2.")
        self.check(room)

    def killed_gateways(self, count: int = 20, pause: float = 0.15) -> None:
        room, gateways = self.rooms["club"], self.silos.gateway_procs()
        third, two_thirds = threading.Barrier(3), threading.Barrier(3)

        def speak(name: str) -> None:
            client, room_id = self.person(name).client, self.here(room, name)
            for number in range(1, count + 1):
                client.send(room_id, f"{name} counts {number}", seconds=self.patience)
                if number == count // 3:
                    third.wait(60)
                elif number == 2 * count // 3:
                    two_thirds.wait(60)
                time.sleep(pause)  # the pace of talking, nothing waits for it

        def strike() -> None:
            third.wait(60)
            for proc in gateways:
                proc.kill()
            self.tell.act("both gateways", "are killed (SIGKILL), while A1 and B1 go on writing")
            two_thirds.wait(60)
            start_all(gateways)
            self.tell.act("both gateways", "run again, on what they have on disk")

        self.tell.act("A1 and B1", f"write {count} messages each, seven a second")
        in_parallel(lambda: speak("a1"), lambda: speak("b1"), strike)
        began = time.monotonic()
        for number in range(1, count + 1):
            for name in ("a1", "b1"):
                body = f"{name} counts {number}"
                room.said.append(Said(self.mimi(name), body, set(room.present), timely=False))
                for other in room.present:
                    if other != name:
                        self.wait_message(room, other, name, body, 4 * self.patience)
        late = time.monotonic() - began
        self.tell.saw("everybody", f"has all {2 * count} messages, each once, {late:.1f} s after the last was written", 0)
        self.say(room, "b1", "All there?")
        self.say(room, "a1", "All there.")
        self.check(room)

    def leave(self) -> None:
        room, b1 = self.rooms["club"], self.person("b1")
        self.tell.act("b1", "leaves")
        b1.client.leave(room.ids["b"])
        room.present.remove("b1")
        for reader in ("a1", "b2"):
            self.sees_member(room, reader, "b1", "leave")
        self.say(room, "a1", "Now that B1 is gone: the party is on Friday.")
        self.say(room, "b2", "I'll bring cake.")
        self.check(room)
        self.tell.saw("b1", "does not see any of that: " + self.last_words("b1", room), 0)

    def last_words(self, name: str, room: Room) -> str:
        bodies = [event["content"]["body"] for event in self.person(name).client.messages(self.here(room, name))
                  if event["type"] == "m.room.message"]
        return f"the last message it can read is {bodies[-1]!r}" if bodies else "it can read no message"

    def direct(self) -> None:
        room, a1 = self.rooms["direct"], self.person("a1")
        ghost = self.as_seen_by("a1", "b2")
        self.person("b2")
        self.tell.act("a1", f"starts a direct chat with {self.shown('a1', ghost)} in its client, by inviting {ghost}")
        room.ids["a"] = a1.client.create_direct(ghost)
        room.enter("a1")
        invite = self.accept(room, "b2", "a1")
        room.enter("b2")
        if invite.content.get("is_direct") is not True:
            raise Wrong("B2's invite is not marked as a direct chat")
        self.sees_member(room, "a1", "b2")
        self.say(room, "a1", "Just between the two of us, B2: is B1 angry?")
        self.say(room, "b2", "No, only on holiday.")
        self.check(room)
        members = self.person("b2").client.members(room.ids["b"])
        people = {user for user, content in members.items() if content["membership"] in ("join", "invite")}
        extra = people - {self.person("b2").user, self.as_seen_by("b2", "a1"), self.silos.b.gateway.bot}
        if extra:
            raise Wrong(f"strangers in the direct chat: {extra}")
        endings.begun(self, room)

    def hosted_by_b(self) -> None:
        room, bot = self.rooms["hosted by b"], self.silos.b.gateway.bot
        b1 = self.person("b1")
        marks = {name: self.person(name).mark() for name in ("a1", "a2")}
        self.tell.act("b1", "makes the room 'Book circle' and invites the bot")
        room_id = b1.client.create_room(name="Book circle", topic="One chapter a week", preset="private_chat",
                                        power_level_content_override={"users": {bot: 100}}, invite=[bot])
        room.ids["b"] = room_id
        room.enter("b1")
        b1.wait_member(room_id, bot, "join", self.patience)
        self.command(room_id, "b1", "!mimi bridge")
        for name in ("a1", "a2"):
            self.command(room_id, "b1", f"!mimi invite {self.mimi(name)}")
            person = self.person(name)
            sender = self.as_seen_by(name, "b1")
            invite = person.wait_invite(f"an invite from {sender}", lambda seen, sender=sender: seen.sender == sender,
                                        self.patience, marks[name])
            self.invited(name, invite)
            self.tell.act(name, "accepts")
            person.client.join(invite.room)
            if room.ids.setdefault("a", invite.room) != invite.room:
                raise Wrong("A1 and A2 were invited into different rooms")
            room.enter(name)
            self.sees_member(room, "b1", name)
            self.say(room, name, f"{name} is here")
        self.say(room, "b1", "Chapter one, then.")
        self.tell.act("a1", "leaves; A's gateway has read the room with A1's keys, and goes on with A2's")
        self.person("a1").client.leave(room.ids["a"])
        room.present.remove("a1")
        self.sees_member(room, "b1", "a1", "leave")
        self.say(room, "a2", "I liked the second chapter.")
        self.say(room, "b1", "Wait for the third!")
        self.say(room, "a2", "I will.")
        self.check(room)

    def without_host(self) -> None:
        room = self.gather("Reading room")
        self.say(room, "b2", "Who is going to close up?")
        for name, words in (("a1", "leaves"), ("a2", "leaves, the last one of the hosting side; a guest's gateway completes that")):
            self.tell.act(name, words)
            self.person(name).client.leave(room.ids["a"])
            room.present.remove(name)
            for reader in room.present:
                if reader[0] == "b":
                    self.sees_member(room, reader, name, "leave")
        self.say(room, "b1", "Not me, I only live here.", local=True)
        self.say(room, "b2", "A's gateway still orders what we say, and cannot read it.", local=True)
        self.check(room)
        self.tell.saw("a1", "does not see any of that: " + self.last_words("a1", room), 0)
        self.tell.saw("A's operator", f"finds the room with `mimi-gateway rooms`: {self.as_listed('a', room)}", 0)
        a1, b2 = self.person("a1"), self.person("b2")
        mark = a1.mark()
        self.command(room.ids["b"], "b1", f"!mimi invite {self.mimi('a1')}")
        sender = self.as_seen_by("a1", "b1")
        invite = a1.wait_invite(f"an invite from {sender}", lambda seen: seen.sender == sender, self.patience, mark)
        self.invited("a1", invite)
        if invite.room != room.ids["a"]:
            raise Wrong(f"A1 was invited into {invite.room}, not into {room.ids['a']}")
        marks = {name: self.person(name).mark() for name in ("b1", "b2")}
        self.tell.act("a1", "accepts, and is in the room that it had left")
        a1.client.join(invite.room)
        for name, mark in marks.items():
            ghost = self.as_seen_by(name, "a1")
            seen = self.person(name).wait_member(room.ids["b"], ghost, "join", self.patience, mark)
            self.tell.seen(name, f"sees {self.shown(name, ghost)} in the room again", seen)
        room.enter("a1")
        self.say(room, "b1", "Good that you are back.", local=True)
        self.say(room, "a1", "I have the key.")
        self.check(room)

    def as_listed(self, letter: str, room: Room) -> str:
        """What the room's gateway says of it to its operator."""
        listed = self.silos.silos[letter].gateway.run("rooms", "--json")
        rows = [json.loads(line) for line in listed.stdout.splitlines()]
        row = next((row for row in rows if row.get("matrix_room") == room.ids[letter]), None)
        if row is None:
            raise Wrong(f"the gateway of {letter} does not list the room: {listed.stdout}{listed.stderr}")
        if (row["role"], row["state"], row["participants"]) != ("hub", "active", len(room.present)):
            raise Wrong(f"the gateway of {letter} lists the room as {row}")
        return f"role {row['role']}, {row['state']}, epoch {row['epoch']}, {row['participants']} participants"

    def run(self, finished: Callable[[str, Exception | None, float], None]) -> bool:
        """Plays all steps; `finished` hears of each by name, with the error if it failed. True if all went well."""
        failed: set[str] = set()
        for number, (name, title, needs, step) in enumerate(self.steps, 1):
            self.tell.step(number, title)
            began, error = time.monotonic(), None
            missing = sorted(set(needs) & failed)
            try:
                if missing:
                    raise Wrong(f"not possible without: {', '.join(missing)}")
                step()
            except Exception as caught:  # whatever went wrong is told; the other steps still have their chance
                error = caught
                failed.add(name)
                start_all([proc for proc in self.silos.gateway_procs() if not proc.alive()])
            finished(name, error, time.monotonic() - began)
        return not failed

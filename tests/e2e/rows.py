"""Rows of docs/membership.md that a native provider begins, or somebody at one: moderators elsewhere, open rooms of others, joining
codes, chats of two, no for an answer."""

from collections.abc import Callable
from urllib.parse import quote

from silos import finding
from silos import settings as shown
from silos.matrix import Seen
from silos.play import Room, Wrong

from .three import mimi


class Rows:
    """`cases` stand by themselves. `membership` lends its helpers."""

    def __init__(self, membership):
        self.membership, self.silos, self.play, self.three = membership, membership.silos, membership.play, membership.three
        self.patience = self.play.patience
        self.hears, self.silo_hears = membership.hears, membership.silo_hears
        self.member, self.silo_member, self.rule = membership.member, membership.silo_member, membership.rule
        self.cases: list[tuple[str, Callable[[], None]]] = [
            ("membership: moderators elsewhere", self.moderators),
            ("membership: a moderator no more, whose gateway was away", self.undone),
            ("membership: power over a portal that the homeserver gives", self.portal),
            ("membership: open rooms of the silo and of B, and a joining code", self.open_rooms),
            ("membership: a chat that the silo begins, and one that ends where it began", self.chats),
            ("membership: the silo declines", self.declines),
        ]

    # ------------------------------------------------------------------------------------------------ helpers

    def says(self, name: str, room_id: str, part: str, mark: int = 0) -> Seen:
        """Waits until `name`'s gateway says this there, by whatever mouth."""
        return self.play.person(name).wait(f"the gateway say {part!r}", lambda seen: seen.room == room_id and part in seen.body
                                           and seen.content.get("msgtype") == "m.notice", self.patience, mark)

    def as_one_of_the_silo(self, room: Room, name: str, command: str) -> dict:
        silo = self.three.start()
        silo.do(f"user {name}")
        silo.do(f"in {room.ids['c']}")
        return silo.do(command)

    def empowered(self, room: Room, level: int) -> None:
        """A1 gives B1 and C1 this level, which is theirs in their own rooms then."""
        play, silo = self.play, self.three.start()
        told = silo.mark()
        levels = play.person("a1").client.state_content(room.ids["a"], shown.LEVELS)
        users = {play.as_seen_by("a1", "b1"): level, self.three.ghost("a", "c1"): level}
        play.person("a1").client.set_state(room.ids["a"], shown.LEVELS, levels | {"users": levels["users"] | users})
        shown.has_level(play, room, "b1", play.person("b1").user, level)
        silo.wait(f"that C1 has level {level}", lambda e: e["event"] == "power" and e["room"] == room.ids["c"]
                  and e["levels"].get(mimi("c1")) == level, self.patience, told)

    def asks_in(self, name: str, room_id: str, who: str) -> None:
        """A1 invites one of A's people again, who comes."""
        self.play.person(name).client.invite(room_id, self.play.person(who).user)
        self.play.person(who).client.join(room_id)

    # -------------------------------------------------------------------------------------------------- cases

    def moderators(self) -> None:
        """One at the silo and one at B may do to A's people, and to each other's, what moderators do."""
        play, silo = self.play, self.three.start()
        room = play.gather("Moderated")
        self.three.enter(room, "c1", "a1")
        a1, a2, b1, b2 = (play.person(name) for name in ("a1", "a2", "b1", "b2"))
        self.empowered(room, 50)
        # A guest's topic is the host's.
        shown.calls(play, room, "b1", "Be nice", shown.TOPIC)
        shown.called(play, room, "a1", "Be nice", shown.TOPIC)
        # The silo's moderator removes, bans and lets in one of the host's people.
        by, ghost = mimi("c1"), play.as_seen_by("b1", "a2")
        mark, seen = a2.mark(), b1.mark()
        self.as_one_of_the_silo(room, "c1", f"remove {play.mimi('a2')}")
        self.member(room, "a2", a2.user, "leave", mark, f"removed from the MIMI room by {by}")
        self.member(room, "b1", ghost, "leave", seen)
        told, seen = silo.mark(), b1.mark()
        self.asks_in("a1", room.ids["a"], "a2")
        self.member(room, "b1", ghost, "join", seen)
        self.silo_member(room, play.mimi("a2"), "join", told)
        mark, seen = a2.mark(), b1.mark()
        silo.do(f"ban {play.mimi('a2')}")
        self.member(room, "a2", a2.user, "ban", mark, f"banned from the MIMI room by {by}")
        self.member(room, "b1", ghost, "ban", seen)
        mark, seen, told = a2.mark(), b1.mark(), silo.mark()
        silo.do(f"unban {play.mimi('a2')}")
        self.member(room, "a2", a2.user, "leave", mark)
        self.member(room, "b1", ghost, "leave", seen)
        self.asks_in("a1", room.ids["a"], "a2")
        self.member(room, "b1", ghost, "join", seen)
        self.silo_member(room, play.mimi("a2"), "join", told)
        # A ban that A1 makes ends when B1 lifts it, for all.
        ghost = play.as_seen_by("a1", "b2")
        mark, told = b2.mark(), silo.mark()
        a1.client.ban(room.ids["a"], ghost)
        self.member(room, "b2", b2.user, "ban", mark)
        self.silo_member(room, play.mimi("b2"), "ban", told)
        seen, told = a1.mark(), silo.mark()
        b1.client.unban(room.ids["b"], b2.user)
        self.member(room, "a1", ghost, "leave", seen)
        self.silo_member(room, play.mimi("b2"), "leave", told)
        self.asks_in("b1", room.ids["b"], "b2")
        self.member(room, "a1", ghost, "join", seen)
        self.three.gateway_says(room, "b2", "Thank you, B1.")
        self.three.gateway_says(room, "a2", "And I am here, too.")
        self.three.same_state(room, self.three.uri(room), log=False)

    def undone(self) -> None:
        """B1 does in its portal what the homeserver lets it do, and the MIMI room, by then, does not: it is put back."""
        play, proc = self.play, self.silos.b.gateway.proc
        room = play.gather("Quiet room")
        self.three.enter(room, "c1", "a1")
        a1, b1, b2 = (play.person(name) for name in ("a1", "b1", "b2"))
        ghost, here = play.as_seen_by("a1", "b2"), room.ids["b"]
        self.empowered(room, 50)
        mark = b2.mark()
        a1.client.ban(room.ids["a"], ghost)
        self.member(room, "b2", b2.user, "ban", mark)
        # While B's gateway is away, A takes B1's role away.
        proc.kill()
        told = self.three.start().mark()
        shown.empower(play, room, "a1", play.as_seen_by("a1", "b1"), 0)
        a1.client.send(room.ids["a"], "B1 is no moderator any more.")
        self.silo_hears("B1 is no moderator any more.", told)
        seen, mark, at_a = b1.mark(), b2.mark(), a1.mark()
        b1.client.set_state(here, shown.NAME, {"name": "Noisy room"})
        b1.client.unban(here, b2.user)
        proc.launch()
        proc.wait_ready()
        self.says("b1", here, f"{b1.user} changed the name of this room", seen)
        self.says("b1", here, "The ban of b2 (b.example) could not be lifted in the MIMI room, and is put back here", seen)
        shown.called(play, room, "b1", "Quiet room")
        self.member(room, "b2", b2.user, "ban", mark)
        shown.has_level(play, room, "b1", b1.user, 0)
        play.wait_message(room, "b1", "a1", "B1 is no moderator any more.")
        b1.client.send(here, "I see.")
        play.wait_message(room, "a1", "b1", "I see.")
        names = [s.content for s in a1.seen[at_a:] if s.room == room.ids["a"] and s.kind == shown.NAME]
        if names or a1.client.membership(room.ids["a"], ghost) != "ban":
            raise Wrong(f"A1 was shown the names {names}, and B2 as {a1.client.membership(room.ids['a'], ghost)}")

    def governs(self, room_id: str, name: str) -> None:
        """The homeserver's administrator gives somebody power over a room, in the name of whoever has most there."""
        admin = self.play.silo(name).admin.client
        admin.call("POST", f"/_synapse/admin/v1/rooms/{quote(room_id)}/make_room_admin", {"user_id": self.play.person(name).user})

    def portal(self) -> None:
        """B1 has power over the portal by the homeserver, and none in the MIMI room. Levels are put back; the room may be replaced."""
        play, proc, bot = self.play, self.silos.b.gateway.proc, self.silos.b.gateway.bot
        room = play.gather("Portal", guests=2)
        a1, b1, b2, old = play.person("a1"), play.person("b1"), play.person("b2"), room.ids["b"]
        seen = b1.mark()
        proc.kill()
        self.governs(old, "b1")
        levels = b1.client.state_content(old, shown.LEVELS)
        b1.client.set_state(old, shown.LEVELS, levels | {"users": levels["users"] | {b2.user: 50}})
        proc.launch()
        proc.wait_ready()
        told = self.says("b1", old, f"{b1.user} changed who may do what", seen)
        if "put back" not in told.body:
            raise Wrong(f"B1 is told {told.body!r}")
        for user in (b1.user, b2.user):
            shown.has_level(play, room, "b1", user, 0)
        play.say(room, "b1", "I tried.")
        shown.has_level(play, room, "a1", play.as_seen_by("a1", "b2"), 0)
        # The portal is replaced while the gateway is away.
        proc.kill()
        self.governs(old, "b1")
        answer = b1.client.call("POST", f"/_matrix/client/v3/rooms/{quote(old)}/upgrade", {"new_version": "12"}, seconds=60)
        new = room.ids["b"] = answer["replacement_room"]
        a1.client.send(room.ids["a"], "In between.")
        seen, asked = b1.mark(), b2.mark()
        b1.client.invite(new, bot)
        proc.launch()
        proc.wait_ready()
        self.says("b1", new, "This room goes on as ", seen)
        # The room's creator was the bot, whose power was that: it asks for it.
        self.says("b1", new, "Give me power level 100", seen)
        levels = b1.client.state_content(new, shown.LEVELS)
        b1.client.set_state(new, shown.LEVELS, levels | {"users": levels["users"] | {bot: 100}})
        b1.wait("m.bridge in the new room", lambda s: s.room == new and s.kind == "m.bridge"
                and s.content.get("channel", {}).get("displayname") == "Portal", self.patience, seen)
        b2.wait_invite("an invite into the new room", lambda s: s.room == new, self.patience, asked)
        b2.client.join(new)
        self.member(room, "b1", play.as_seen_by("b1", "a1"), "join")
        for name in ("b1", "b2", "a1"):
            play.say(room, name, f"{name} is still here.")
        # What came while the portal was being replaced is in one of the two.
        found = [s for s in b1.seen if s.body == "In between." and s.room in (old, new)]
        if len(found) != 1:
            raise Wrong(f"B1 was shown {found}")

    def open_rooms(self) -> None:
        """C1 and A1 come into B's open room by its address; B1 into one of the silo's; A1, by a code, into one that is closed."""
        play, silo, bot = self.play, self.three.start(), self.silos.b.gateway.bot
        a1, b1 = play.person("a1"), play.person("b1")
        desks = {name: finding.bot_chat(play, name) for name in ("a1", "b1")}
        room = Room()
        here = room.ids["b"] = b1.client.create_room(name="Bazaar", preset="public_chat", invite=[bot],
                                                     power_level_content_override={"users": {bot: 100}})
        b1.wait_member(here, bot, "join", self.patience)
        mirrored = play.command(here, "b1", "!mimi bridge", "This room is mirrored as ").body
        uri = mirrored.removeprefix("This room is mirrored as ").split(". ")[0]
        room.enter("b1")
        told, seen = silo.mark(), b1.mark()
        silo.do("user c1")
        silo.do(f"join {uri}")
        room.ids["c"] = self.three.invited("c1", told)
        self.member(room, "b1", self.three.ghost("b", "c1"), "join", seen)
        self.three.silo_says(room, "c1", "I let myself in.")
        # Closed, it lets nobody in without a code.
        b1.client.set_state(here, "m.room.join_rules", {"join_rule": "invite"})
        self.says("b1", here, "have to be asked into this room again", seen)
        play.command(desks["a1"], "a1", f"join {uri}", "does not let you in")
        code = play.command(here, "b1", "!mimi code 1", "Whoever has this code").body.split("\n")[0].rsplit(" ", 1)[1]
        play.command(desks["a1"], "a1", f"join {uri} {code}x", "does not let you in")
        mark = a1.mark()
        play.command(desks["a1"], "a1", f"join {uri} {code}", "asked")
        play.accept(room, "a1", None, mark=mark)
        self.member(room, "b1", play.as_seen_by("b1", "a1"), "join", seen)
        room.enter("a1")
        self.three.gateway_says(room, "a1", "I had a code.")
        self.three.silo_says(room, "c1", "I needed none.")
        if any(code in s.body for s in a1.seen if s.room == room.ids["a"]):
            raise Wrong("the code is to be read in A's room")

        # The silo's room.
        room = Room()
        silo.do("user c3")
        told = silo.mark()
        room.ids["c"] = silo.do("room Fair")["room"]
        uri = self.three.uri(room)
        play.command(desks["b1"], "b1", f"join {uri}", "does not let you in")
        silo.do("open")
        silo.wait("that it is open", lambda e: e["event"] == "notice" and e["room"] == room.ids["c"] and "It is public" in e["text"],
                  self.patience, told)
        mark = b1.mark()
        play.command(desks["b1"], "b1", f"join {uri}", "asked")
        play.accept(room, "b1", None, mark=mark)
        self.silo_member(room, play.mimi("b1"), "join", told)
        room.enter("b1")
        self.three.gateway_says(room, "b1", "What a fair.")
        self.three.silo_says(room, "c3", "Come in.")
        # Who is banned does not come in, not even here; who is not any more does.
        mark = b1.mark()
        silo.do(f"ban {play.mimi('b1')}")
        self.member(room, "b1", b1.user, "ban", mark, f"banned from the MIMI room by {mimi('c3')}")
        play.command(desks["b1"], "b1", f"join {uri}", "does not let you in")
        mark, told = b1.mark(), silo.mark()
        silo.do(f"unban {play.mimi('b1')}")
        silo.do(f"invite {play.mimi('b1')}")
        invite = b1.wait_invite("an invite", lambda s: s.sender == self.three.ghost("b", "c3"), self.patience, mark)
        b1.client.join(invite.room)
        self.silo_member(room, play.mimi("b1"), "join", told)

    def chats(self) -> None:
        """C4 begins a chat with A1 and ends it; A1 begins one with C5 and ends it: who stays is told."""
        play, silo = self.play, self.three.start()
        a1, room = play.person("a1"), Room()
        ghost, mark = self.three.ghost("a", "c4"), a1.mark()
        silo.do("user c4")
        room.ids["c"] = silo.do(f"direct {play.mimi('a1')}")["room"]
        invite = a1.wait_invite("an invite", lambda s: s.sender == ghost, self.patience, mark)
        if invite.content.get("is_direct") is not True:
            raise Wrong(f"the silo's chat is {invite.content}")
        a1.client.join(invite.room)
        room.ids["a"] = invite.room
        room.enter("a1")
        self.three.silo_says(room, "c4", "Just us two.")
        self.three.gateway_says(room, "a1", "Yes, just us.")
        mark = a1.mark()
        self.as_one_of_the_silo(room, "c4", "leave")
        self.says("a1", room.ids["a"], "left this chat", mark)
        self.member(room, "a1", ghost, "leave", mark)
        # The other way round.
        room, told = Room(), silo.mark()
        silo.do("user c5")
        ghost = self.three.ghost("a", "c5")
        room.ids["a"] = a1.client.create_direct(ghost)
        room.enter("a1")
        room.ids["c"] = self.three.invited("c5", told)
        self.member(room, "a1", ghost, "join")
        self.three.gateway_says(room, "a1", "And now we two.")
        self.three.silo_says(room, "c5", "Gladly.")
        told = silo.mark()
        a1.client.leave(room.ids["a"])
        silo.wait("that A1 is gone", lambda e: e["event"] == "notice" and e["room"] == room.ids["c"]
                  and "left this chat" in e["text"], self.patience, told)
        self.silo_member(room, play.mimi("a1"), "leave", told)

    def declines(self) -> None:
        """Nobody is told that C6 does not want to come."""
        play, silo = self.play, self.three.start()
        room = play.gather("Party", guests=1)
        self.three.enter(room, "c1", "a1")
        a1, ghost = play.person("a1"), self.three.ghost("a", "c6")
        told = silo.mark()
        silo.do("user c6")
        a1.client.invite(room.ids["a"], ghost)
        asked = silo.wait("an invitation", lambda e: e["event"] == "invited" and e["user"] == mimi("c6"), self.patience, told)
        marks = {name: play.person(name).mark() for name in ("a1", "b1")}
        silo.do(f"in {asked['room']}")
        silo.do("leave")
        self.three.silo_says(room, "c1", "C6 does not like parties.")
        # An answer of C7's goes the way on which one of C6's would have gone.
        self.three.enter(room, "c7", "a1")
        for name, mark in marks.items():
            other = self.three.ghost(name[0], "c6")
            told_of = [s.event for s in play.person(name).seen[mark:] if s.event.get("state_key") == other or "c6" in s.body]
            if told_of:
                raise Wrong(f"{name} was told that C6 declined: {told_of}")
        if a1.client.membership(room.ids["a"], ghost) != "invite":
            raise Wrong("C6 is not invited any more")

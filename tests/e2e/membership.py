"""The rows of docs/membership.md on two Synapses and the silo (`examples/silo.rs`), each begun on either side: what the people
of all of them see."""

import time
from collections.abc import Callable
from urllib.parse import quote

from silos import finding
from silos.matrix import Client, MatrixError
from silos.play import Play, Room, Wrong
from silos.stage import Silos

from .rows import Rows
from .three import Three, mimi


class Membership:
    """`cases` stand by themselves."""

    def __init__(self, silos: Silos, play: Play, three: Three, say: Callable[[str], None]):
        self.silos, self.play, self.three, self.say, self.patience = silos, play, three, say, play.patience
        self.cases = [
            ("membership: removed, banned, let in again, with reasons", self.reasons),
            ("membership: the silo hosts: removed, asked again, left with a reason", self.hosted_by_the_silo),
            ("membership: a provider on the server access list", self.access_list),
            ("membership: knocks, restricted rooms, guests", self.ways_in),
            ("membership: a public room", self.public_room),
            ("membership: a space and its room", self.spaces),
            ("membership: a room is upgraded", self.upgrade),
            ("membership: the second chat of the same two", self.second_chat),
            *Rows(self).cases,
        ]

    # ------------------------------------------------------------------------------------------------ helpers

    def hears(self, room: Room, name: str, text: str, sender: str, mark: int = 0):
        """Waits until `name` reads this from `sender`, as seen there."""
        return self.play.person(name).wait(f"{text!r}", lambda seen: seen.room == room.ids[name[0]] and text in seen.body
                                           and seen.sender == sender, self.patience, mark)

    def silo_hears(self, text: str, start: int = 0) -> dict:
        return self.three.start().wait(repr(text), lambda e: text in e.get("text", ""), self.patience, start)

    def silo_member(self, room: Room, user: str, now: str, start: int = 0) -> dict:
        return self.three.start().wait(f"{user} {now}", lambda e: e["event"] == "member" and e["room"] == room.ids["c"]
                                       and e["user"] == user and e["now"] == now, self.patience, start)

    def member(self, room: Room, reader: str, user: str, now: str, mark: int = 0, reason: str | None = None):
        seen = self.play.person(reader).wait_member(room.ids[reader[0]], user, now, self.patience, mark)
        if reason is not None and seen.content.get("reason", "") != reason:
            raise Wrong(f"{reader} sees {user} {now} for {seen.content.get('reason')!r} instead of {reason!r}")
        return seen

    def act(self, room_id: str, client: Client, what: str, user: str, reason: str) -> None:
        client.call("POST", f"/_matrix/client/v3/rooms/{quote(room_id)}/{what}", {"user_id": user, "reason": reason})

    def rule(self, room: Room, content: dict) -> None:
        self.play.person("a1").client.set_state(room.ids["a"], "m.room.join_rules", content)

    # -------------------------------------------------------------------------------------------------- cases

    def reasons(self) -> None:
        play, silo = self.play, self.three.start()
        room = play.gather("Reasons")
        self.three.enter(room, "c1", "a1")
        a1, b1, b2 = play.person("a1"), play.person("b1"), play.person("b2")
        ghost, by = play.as_seen_by("a1", "b2"), play.mimi("a1")
        # The host's admin removes a guest: everybody hears why, the guest before they are out.
        mark, told = b2.mark(), silo.mark()
        self.act(room.ids["a"], a1.client, "kick", ghost, "too loud")
        text = "I removed b2 (b.example) from this room: too loud"
        self.hears(room, "b2", text, play.as_seen_by("b2", "a1"), mark)
        self.member(room, "b2", b2.user, "leave", mark, f"removed from the MIMI room by {by}")
        self.silo_hears(text, told)
        self.silo_member(room, play.mimi("b2"), "leave", told)
        # Invited again, they come; banned, they are banned in their own Matrix room, too, where nobody invites them.
        mark = b2.mark()
        play.command(room.ids["a"], "a1", f"!mimi invite {play.mimi('b2')}")
        invite = b2.wait_invite("an invite", lambda seen: seen.sender == play.as_seen_by("b2", "a1"), self.patience, mark)
        seen = a1.mark()
        b2.client.join(invite.room)
        self.member(room, "a1", ghost, "join", seen)
        mark, told = b2.mark(), silo.mark()
        self.act(room.ids["a"], a1.client, "ban", ghost, "again")
        self.member(room, "b2", b2.user, "ban", mark, f"banned from the MIMI room by {by}")
        self.silo_hears("I banned b2 (b.example) from this room: again", told)
        try:
            b1.client.invite(room.ids["b"], b2.user)
            raise Wrong("B1 can invite B2, who is banned")
        except MatrixError as error:
            if error.status != 403:
                raise
        mark = b2.mark()
        a1.client.unban(room.ids["a"], ghost)
        self.member(room, "b2", b2.user, "leave", mark)
        seen = a1.mark()
        b1.client.invite(room.ids["b"], b2.user)
        b2.client.join(room.ids["b"])
        self.member(room, "a1", ghost, "join", seen)
        # A native provider's user is banned and let in again.
        told, c1 = silo.mark(), self.three.ghost("a", "c1")
        a1.client.ban(room.ids["a"], c1)
        self.silo_member(room, mimi("c1"), "ban", told)
        told = silo.mark()
        a1.client.unban(room.ids["a"], c1)
        self.three.enter(room, "c1", "a1")
        self.three.silo_says(room, "c1", "Free again.")
        # A moderator among the guests bans one of the host's people.
        levels = a1.client.state_content(room.ids["a"], "m.room.power_levels")
        levels["users"][play.as_seen_by("a1", "b1")] = 50
        a1.client.set_state(room.ids["a"], "m.room.power_levels", levels)
        b1.wait("B1 be a moderator", lambda s: s.room == room.ids["b"] and s.kind == "m.room.power_levels"
                and s.content.get("users", {}).get(b1.user) == 50, self.patience)
        a2 = play.person("a2")
        mark, seen = a2.mark(), a1.mark()
        self.act(room.ids["b"], b1.client, "ban", play.as_seen_by("b1", "a2"), "rude")
        self.hears(room, "a1", "I banned a2 (a.example) from this room: rude", play.as_seen_by("a1", "b1"), seen)
        self.member(room, "a2", a2.user, "ban", mark, f"banned from the MIMI room by {play.mimi('b1')}")
        # Somebody leaves, and says why; who never spoke gets no client for that.
        b2.client.send(room.ids["b"], "That is it.")
        a1.wait_text(room.ids["a"], "That is it.", self.patience)
        seen = a1.mark()
        b2.client.call("POST", f"/_matrix/client/v3/rooms/{quote(room.ids['b'])}/leave", {"reason": "holidays"})
        self.hears(room, "a1", "I leave this room: holidays", ghost, seen)
        self.member(room, "a1", ghost, "leave", seen)

    def hosted_by_the_silo(self) -> None:
        play, silo, room = self.play, self.three.start(), Room()
        a1 = play.person("a1")
        silo.do("user c3")
        room.ids["c"] = silo.do("room The silo's own")["room"]
        host = self.three.ghost("a", "c3")

        def invited(text: str) -> None:
            mark, told = a1.mark(), silo.mark()
            silo.do("user c3")
            silo.do(f"in {room.ids['c']}")
            silo.do(f"invite {play.mimi('a1')}")
            invite = a1.wait_invite("an invite", lambda seen: seen.sender == host, self.patience, mark)
            room.ids["a"] = invite.room
            a1.client.join(invite.room)
            self.silo_member(room, play.mimi("a1"), "join", told)
            told = silo.mark()
            a1.client.send(room.ids["a"], text)
            self.silo_hears(text, told)

        invited("Here I am.")
        mark = a1.mark()
        silo.do(f"remove {play.mimi('a1')}")
        self.member(room, "a1", a1.user, "leave", mark, f"removed from the MIMI room by {mimi('c3')}")
        invited("Thank you for asking again.")
        told = silo.mark()
        a1.client.call("POST", f"/_matrix/client/v3/rooms/{quote(room.ids['a'])}/leave", {"reason": "lunch"})
        self.silo_hears("I leave this room: lunch", told)
        self.silo_member(room, play.mimi("a1"), "leave", told)
        # Declining is told to nobody.
        a2 = play.person("a2")
        mark, told = a2.mark(), silo.mark()
        silo.do(f"invite {play.mimi('a2')}")
        invite = a2.wait_invite("an invite", lambda seen: seen.sender == host, self.patience, mark)
        a2.client.leave(invite.room)
        silo.do("say Nobody here but me.")
        self.silo_hears("Nobody here but me.", told)
        if any(e["event"] == "member" and e["user"] == play.mimi("a2") for e in silo.events[told:]):
            raise Wrong(f"declining was told: {silo.events[told:]}")

    def access_list(self) -> None:
        play, silo = self.play, self.three.start()
        room = play.gather("Access", guests=1)
        self.three.enter(room, "c1", "a1")
        a1, b1 = play.person("a1"), play.person("b1")
        marks, told = {"a1": a1.mark(), "b1": b1.mark()}, silo.mark()
        a1.client.set_state(room.ids["a"], "m.room.server_acl", {"allow": ["*"], "deny": ["b.example", "*.evil"],
                                                                 "allow_ip_literals": False})
        self.member(room, "b1", b1.user, "ban", marks["b1"])
        self.member(room, "a1", play.as_seen_by("a1", "b1"), "leave", marks["a1"])
        self.silo_member(room, play.mimi("b1"), "leave", told)
        room.present.remove("b1")
        self.three.silo_says(room, "c1", "Still allowed.")
        play.command(room.ids["a"], "a1", f"!mimi invite {play.mimi('b1')}", "keeps b.example out")
        a1.client.set_state(room.ids["a"], "m.room.server_acl", {"allow": ["*"], "deny": ["*.evil"]})
        mark = b1.mark()
        # The list is looked at behind its event: who is quicker is told once more what it said before.
        for _ in range(20):
            if "is asked to join" in play.command(room.ids["a"], "a1", f"!mimi invite {play.mimi('b1')}").body:
                break
        invite = b1.wait_invite("an invite", lambda seen: seen.sender == play.as_seen_by("b1", "a1"), self.patience, mark)
        b1.client.join(invite.room)
        self.member(room, "a1", play.as_seen_by("a1", "b1"), "join", marks["a1"])
        room.ids["b"] = invite.room
        room.present.append("b1")
        self.three.silo_says(room, "c1", "And B1 is back.")

    def ways_in(self) -> None:
        play = self.play
        a1, a3 = play.person("a1"), play.person("a3")
        room = play.gather("Ways in", guests=1)
        b1 = play.person("b1")

        def comes(name: str, user: str, client: Client, mark: int) -> None:
            ghost = self.silos.b.gateway.ghost("a.example", name)
            self.member(room, "b1", ghost, "join", mark)
            client.send(room.ids["a"], f"{name} came in.")
            seen = b1.wait_text(room.ids["b"], f"{name} came in.", self.patience)
            if seen.sender != ghost:
                raise Wrong(f"B1 sees {user} as {seen.sender}")
            mark = b1.mark()
            client.leave(room.ids["a"])
            self.member(room, "b1", ghost, "leave", mark)

        # A knock is answered in Matrix; the others hear of it when they come.
        self.rule(room, {"join_rule": "knock"})
        mark, seen = b1.mark(), a1.mark()
        a3.client.call("POST", f"/_matrix/client/v3/knock/{quote(room.ids['a'])}", {"reason": "may I?"})
        self.member(room, "a1", a3.user, "knock", seen)
        play.say(room, "a1", "Somebody knocks.")
        if any(s.kind == "m.room.member" and s.event.get("state_key", "").startswith("@_mimi_a.example=2fa3")
               for s in b1.seen[mark:]):
            raise Wrong("B1 sees a knock")
        a1.client.invite(room.ids["a"], a3.user)
        a3.client.join(room.ids["a"])
        comes("a3", a3.user, a3.client, mark)
        # Members of a space come in by themselves; ghosts are invited.
        space = a1.client.create_room(name="Space", preset="private_chat", creation_content={"type": "m.space"}, invite=[a3.user])
        a3.client.join(space)
        self.rule(room, {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": space}]})
        mark = b1.mark()
        a3.client.join(room.ids["a"])
        comes("a3", a3.user, a3.client, mark)
        b2, seen = play.person("b2"), a1.mark()
        b1.client.invite(room.ids["b"], b2.user)
        b2.client.join(room.ids["b"])
        self.member(room, "a1", play.as_seen_by("a1", "b2"), "join", seen)
        # A guest account of the homeserver is a participant like others.
        self.rule(room, {"join_rule": "public"})
        a1.client.set_state(room.ids["a"], "m.room.guest_access", {"guest_access": "can_join"})
        answer = Client(self.silos.a.synapse.url).call("POST", "/_matrix/client/v3/register", {}, {"kind": "guest"})
        guest = Client(self.silos.a.synapse.url, answer["user_id"], answer["access_token"])
        mark = b1.mark()
        guest.join(room.ids["a"])
        comes(guest.user[1:].split(":")[0], guest.user, guest, mark)

    def public_room(self) -> None:
        """B1 comes in by the room's address, B2 is banned from before; the join rule opens and closes the room."""
        play, bot, room = self.play, self.silos.a.gateway.bot, Room()
        a1, a2 = play.person("a1"), play.person("a2")
        here = room.ids["a"] = a1.client.create_room(
            name="Market", preset="public_chat", power_level_content_override={"users": {bot: 100}, "invite": 0},
            invite=[bot])
        banned = play.as_seen_by("a1", "b2")
        for user in (banned, a2.user):
            self.act(here, a1.client, "ban", user, "spam")
        a1.wait_member(here, bot, "join", self.patience)
        mirrored = play.command(here, "a1", "!mimi bridge", "This room is mirrored as ").body
        if "It is public" not in mirrored:
            raise Wrong(f"people are not told that anybody may come in: {mirrored}")
        uri = mirrored.removeprefix("This room is mirrored as ").split(". ")[0]
        room.enter("a1")
        desks = {name: finding.bot_chat(play, name) for name in ("b1", "b2")}

        def comes(name: str) -> None:
            mark = play.person(name).mark()
            play.command(desks[name], name, f"join {uri}", "invited" if "b" in room.ids else "asked")
            play.accept(room, name, None, mark=mark)
            play.sees_member(room, "a1", name)
            room.enter(name)

        def is_refused(name: str) -> None:
            words = "somebody in the room has to invite you" if "b" in room.ids else "does not let you in"
            play.command(desks[name], name, f"join {uri}", words)

        is_refused("b2")
        comes("b1")
        play.say(room, "b1", "What is for sale?")
        play.say(room, "a1", "Tea.")
        # Nobody elsewhere gets one of the host's people in who is banned there.
        play.command(room.ids["b"], "b1", f"!mimi invite {play.mimi('a2')}", "banned from this room")
        a1.client.unban(here, banned)
        seen = a1.mark()
        self.rule(room, {"join_rule": "invite"})
        a1.wait("to be told", lambda s: s.room == here and "have to be asked into this room again" in s.body, self.patience, seen)
        play.say(room, "a1", "Closed for today.")
        is_refused("b2")
        seen = a1.mark()
        self.rule(room, {"join_rule": "public"})
        a1.wait("to be told", lambda s: s.room == here and "It is public" in s.body, self.patience, seen)
        play.say(room, "a1", "Open again.")
        comes("b2")
        play.say(room, "b2", "At last.")

    def spaces(self) -> None:
        """A space and a room for its members, both mirrored: who comes has to be in the space, and who is out of it, is out of
        the room."""
        play, silo, bot = self.play, self.three.start(), self.silos.a.gateway.bot
        a1, a2, b1, b2 = (play.person(name) for name in ("a1", "a2", "b1", "b2"))
        space, room = Room(), Room()
        mine = {"preset": "private_chat", "power_level_content_override": {"users": {bot: 100}}, "invite": [bot, a2.user]}
        house = space.ids["a"] = a1.client.create_room(name="House", creation_content={"type": "m.space"}, **mine)
        rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": house}]}
        state = [{"type": "m.room.join_rules", "state_key": "", "content": rule}]
        kitchen = room.ids["a"] = a1.client.create_room(name="Kitchen", initial_state=state, **mine)
        a1.client.set_state(house, "m.space.child", {"via": [self.silos.a.server_name]}, kitchen)
        for one in (house, kitchen):
            a2.client.join(one)
            a1.wait_member(one, bot, "join", self.patience)
        mirrored = play.command(house, "a1", "!mimi bridge", "This room is mirrored as ").body
        parent = mirrored.removeprefix("This room is mirrored as ").split(". ")[0]
        play.command(kitchen, "a1", "!mimi bridge", f"This room belongs to {parent}")
        space.enter("a1", "a2")
        room.enter("a1", "a2")
        # First the space, then the room.
        invite = f"!mimi invite {play.mimi('b1')}"
        play.command(kitchen, "a1", invite, f"is not in {parent}, the space to which this room belongs")
        for one, title in ((space, "House"), (room, "Kitchen")):
            mark = b1.mark()
            play.command(one.ids["a"], "a1", invite)
            play.accept(one, "b1", "a1", mark=mark)
            play.sees_member(one, "a1", "b1")
            one.enter("b1")
            b1.wait(f"the name {title}", lambda seen, one=one, title=title: seen.room == one.ids["b"]
                    and seen.kind == "m.room.name" and seen.content.get("name") == title, self.patience)
        # B1's client shows the space as one, and the room in it.
        portal, inside, via = space.ids["b"], room.ids["b"], [self.silos.b.server_name]
        if b1.client.state_content(portal, "m.room.create").get("type") != "m.space":
            raise Wrong("B1's portal of the space is none")
        for one, kind, key in ((inside, "m.space.parent", portal), (portal, "m.space.child", inside)):
            b1.wait(kind, lambda seen, one=one, kind=kind: seen.room == one and seen.kind == kind
                    and seen.content.get("via") == via, self.patience)
            if not b1.client.state_content(one, kind, key):
                raise Wrong(f"{kind} names another room")
        for one in (space, room):
            mark, seen = b2.mark(), a1.mark()
            b1.client.invite(one.ids["b"], b2.user)
            b2.wait_invite("an invite", lambda s, one=one: s.room == one.ids["b"], self.patience, mark)
            b2.client.join(one.ids["b"])
            self.member(one, "a1", play.as_seen_by("a1", "b2"), "join", seen)
            self.three.enter(one, "c1", "a1")
        play.say(room, "b1", "Who cooks?")
        # Out of the space is out of its rooms: B2, who leaves it, and C1, who is banned there,
        mark, told = b2.mark(), silo.mark()
        b2.client.leave(space.ids["b"])
        gone = self.member(room, "b2", b2.user, "leave", mark)
        if f"who is here has to be in {parent}, too" not in gone.content.get("reason", ""):
            raise Wrong(f"B2 is put out for {gone.content}")
        self.silo_member(room, play.mimi("b2"), "leave", told)
        told = silo.mark()
        a1.client.ban(house, self.three.ghost("a", "c1"))
        self.silo_member(space, mimi("c1"), "ban", told)
        self.silo_member(room, mimi("c1"), "leave", told)
        # B1, whom A1 removes there, and A2, who leaves.
        mark, seen = b1.mark(), a1.mark()
        self.act(house, a1.client, "kick", play.as_seen_by("a1", "b1"), "moved out")
        self.member(space, "b1", b1.user, "leave", mark)
        why = f"removed from the MIMI room by {play.mimi('a1')}: who is here has to be in {parent}, too"
        self.member(room, "b1", b1.user, "leave", mark, why)
        self.member(room, "a1", play.as_seen_by("a1", "b1"), "leave", seen)
        room.present.remove("b1")
        seen = a1.mark()
        a2.client.leave(house)
        gone = self.member(room, "a1", a2.user, "leave", seen)
        if gone.sender != bot or "join the space first" not in gone.content.get("reason", ""):
            raise Wrong(f"A2 is put out by {gone.sender} for {gone.content.get('reason')!r}")
        # With another join rule the room stands by itself.
        seen = a1.mark()
        self.rule(room, {"join_rule": "invite"})
        a1.wait("to be told", lambda s: s.room == kitchen and "does not belong to its space any more" in s.body, self.patience, seen)
        mark = b1.mark()
        play.command(kitchen, "a1", invite)
        b1.wait_invite("an invite", lambda s: s.sender == play.as_seen_by("b1", "a1"), self.patience, mark)

    def upgrade(self) -> None:
        play, silo = self.play, self.three.start()
        room = play.gather("Upgraded", guests=1)
        self.three.enter(room, "c1", "a1")
        a1, a2, bot = play.person("a1"), play.person("a2"), self.silos.a.gateway.bot
        play.say(room, "b1", "Before.")
        old, uri = room.ids["a"], self.three.uri(room)
        mark, invited = a1.mark(), a2.mark()
        answer = a1.client.call("POST", f"/_matrix/client/v3/rooms/{quote(old)}/upgrade", {"new_version": "12"}, seconds=60)
        new = room.ids["a"] = answer["replacement_room"]
        a1.wait("to be told", lambda s: s.room == old and s.sender == bot and f"Invite {bot} there" in s.body, self.patience, mark)
        # The old room takes nothing from ghosts any more; what they say waits, and the gateway may be killed.
        play.person("b1").client.send(room.ids["b"], "In between.")
        self.silos.a.gateway.proc.kill()
        a1.client.send(new, "First words.")
        self.silos.a.gateway.proc.launch()
        self.silos.a.gateway.proc.wait_ready()
        a1.client.invite(new, bot)
        a1.wait("the bot in the new room", lambda s: s.room == new and s.sender == bot
                and f"This room goes on as {uri}" in s.body, self.patience, mark)
        play.wait_message(room, "a1", "b1", "In between.")
        play.wait_message(room, "b1", "a1", "First words.")
        a2.wait_invite("an invite into the new room", lambda s: s.room == new, self.patience, invited)
        a2.client.join(new)
        room.present = ["a1", "a2", "b1"]
        self.three.silo_says(room, "c1", "Nothing changed for me.")
        self.three.gateway_says(room, "a2", "Nor for me.")
        self.three.gateway_says(room, "b1", "Nor for me, B1.")
        bodies = [event["content"].get("body") for event in a1.client.messages(new) if event["type"] == "m.room.message"]
        wanted = ["First words.", "In between.", "Nothing changed for me.", "Nor for me.", "Nor for me, B1."]
        said = [body for body in bodies if body in wanted]
        if sorted(said) != sorted(wanted):
            raise Wrong(f"the new room has {bodies}")
        deadline = time.monotonic() + self.patience
        ours = {bot, play.as_seen_by("a1", "b1"), self.three.ghost("a", "c1")}
        while (left := {u for u, c in a1.client.members(old).items() if c["membership"] == "join"} & ours):
            if time.monotonic() > deadline:
                raise Wrong(f"still in the old room: {left}")
            time.sleep(0.2)
        self.three.same_state(room, uri, log=False)
        # Who is a guest in a portal has no power to replace it.
        try:
            play.person("b1").client.call("POST", f"/_matrix/client/v3/rooms/{quote(room.ids['b'])}/upgrade", {"new_version": "12"})
            raise Wrong("B1 replaces the portal")
        except MatrixError as error:
            if error.status != 403:
                raise

    def second_chat(self) -> None:
        play = self.play
        a1, b1 = play.person("a3"), play.person("b3")
        here, there = play.as_seen_by("a3", "b3"), play.as_seen_by("b3", "a3")
        mark, seen = b1.mark(), a1.mark()
        first = a1.client.create_direct(here)
        invite = b1.wait_invite("an invite", lambda s: s.sender == there, self.patience, mark)
        b1.client.join(invite.room)
        a1.wait_member(first, here, "join", self.patience, seen)
        for person, ghost, room in ((a1, here, first), (b1, there, invite.room)):
            second = person.client.create_direct(ghost)
            gone = person.wait_member(second, ghost, "leave", self.patience)
            if f"https://matrix.to/#/{room}" not in gone.content.get("reason", ""):
                raise Wrong(f"the second chat is declined without a way to the first: {gone.content}")
        uri = self.chat(a1.client, first)
        # It is over, and begins anew: the same MIMI room.
        mark = a1.mark()
        b1.client.leave(invite.room)
        a1.wait_member(first, here, "leave", self.patience, mark)
        mark, again = a1.mark(), b1.mark()
        third = a1.client.create_direct(here)
        invite = b1.wait_invite("another invite", lambda s: s.sender == there and s.room != invite.room, self.patience, again)
        b1.client.join(invite.room)
        a1.wait_member(third, here, "join", self.patience, mark)
        a1.client.send(third, "The same as before.")
        b1.wait_text(invite.room, "The same as before.", self.patience)
        b1.client.send(invite.room, "Indeed.")
        a1.wait_text(third, "Indeed.", self.patience)
        if self.chat(a1.client, third) != uri or self.chat(b1.client, invite.room) != uri:
            raise Wrong(f"the third chat is not {uri}")

    def chat(self, client: Client, room: str) -> str:
        """The MIMI room that a Matrix room is mirrored as."""
        found = [event["content"] for event in client.state(room) if event["type"] == "m.bridge"]
        return next((content["channel"]["id"] for content in found if content), "")

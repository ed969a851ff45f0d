"""Commit races on real processes: three committers, one at each provider, change a room at the same time. Whoever loses an epoch
makes the change anew, and every change lands: all three providers end with the same state and the same people."""

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from silos.play import Room, Wrong
from silos.stage import LETTERS, PEER, in_parallel

HOUSES = ("a", "b", "c")


@dataclass
class Wish:
    """What the committer of a house wants: somebody comes, goes, says their first words, or is removed."""

    house: str
    what: str
    whom: str
    text: str = ""


class Races:
    """The rooms of `three`: one that gateway A hosts, one that the silo hosts."""

    def __init__(self, three, say: Callable[[str], None]):
        self.three, self.play, self.say, self.patience = three, three.play, say, three.patience
        self.seed = int(os.environ.get("E2E_SEED", random.randrange(1 << 32)))
        self.count = int(os.environ.get("RACES_E2E", "6"))
        self.cases = [
            ("three providers: commit races, a gateway hosts", lambda: self.run("a", self.count - self.count // 2)),
            ("three providers: commit races, the silo hosts", lambda: self.run("c", self.count // 2)),
        ]

    # ------------------------------------------------------------------------------------------------ the room

    def mimi(self, name: str) -> str:
        return f"mimi://{PEER}/u/{name}" if name[0] == "c" else self.play.mimi(name)

    def id(self, letter: str, name: str) -> str:
        """The Matrix id of somebody, as homeserver `letter` has it."""
        if name[0] == "c":
            return self.three.ghost(letter, name)
        self.play.person(name)
        return self.play.as_seen_by(f"{letter}1", name)

    def gather(self, host: str) -> Room:
        """A room with the first of each house in it."""
        if host == "a":
            room = self.play.gather("Races", guests=1)
            self.play.person("a2").client.leave(room.ids["a"])
            room.present.remove("a2")
            self.play.person("b1").wait_member(room.ids["b"], self.id("b", "a2"), "leave", self.patience)
            self.three.enter(room, "c1", "a1")
            return room
        silo, room = self.three.start(), Room()
        silo.do("user c1")
        room.ids["c"] = silo.do("room Races of a silo")["room"]
        self.three.uri(room)
        for name in ("a1", "b1"):
            person = self.play.person(name)
            mark = person.mark()
            silo.do("user c1")
            silo.do(f"in {room.ids['c']}")
            silo.do(f"invite {self.play.mimi(name)}")
            invite = person.wait_invite("an invite", lambda seen, name=name: seen.sender == self.three.ghost(name[0], "c1"),
                                        self.patience, mark)
            person.client.join(invite.room)
            room.ids[name[0]] = invite.room
            silo.wait(f"{name} come", lambda e, name=name: e["event"] == "member" and e["room"] == room.ids["c"]
                      and e["user"] == self.play.mimi(name) and e["now"] == "join", self.patience)
            room.enter(name)
        return room

    # ------------------------------------------------------------------------------------------------ one race

    def wishes(self, rng: random.Random, host: str, inside: set[str], leaves: set[str], number: int) -> list[Wish]:
        wishes: list[Wish] = []
        for house in sorted(HOUSES, key=lambda house: house == host):  # the host's last: it may meddle
            name = f"{house}{rng.choice((2, 3))}"
            what = "come" if name not in inside else "say" if name not in leaves and rng.random() < 0.6 else "go"
            text = f"{name} is here, race {number}" if what == "say" else ""
            others = sorted(name for name in inside if name[0] != host)
            if house == host and others and rng.random() < 0.4:
                what, name, text = "remove", rng.choice(others), ""
            wishes.append(Wish(house, what, name, text))
        return wishes

    def prepare(self, room: Room, wish: Wish) -> Callable[[], object]:
        """Does what comes before, and answers the act itself. A house does one of them at a time."""
        here, first = room.ids[wish.house], f"{wish.house}1"
        if wish.house == "c":
            silo = self.three.start()
            if wish.what == "come":
                silo.do(f"user {wish.whom}")  # known from now on
                silo.do(f"user {first}")
                silo.do(f"in {here}")
                silo.do(f"invite {wish.whom}")
            silo.do(f"user {first if wish.what == 'remove' else wish.whom}")
            silo.do(f"in {here}")
            command = {"come": f"accept {here}", "go": "leave", "say": f"say {wish.text}",
                       "remove": f"remove {self.mimi(wish.whom)}"}[wish.what]
            return lambda: silo.do(command)
        client = self.play.person(first).client
        if wish.what == "remove":
            return lambda: client.kick(here, self.id(wish.house, wish.whom))
        person = self.play.person(wish.whom)
        if wish.what == "come":
            client.invite(here, person.user)
        return {"come": lambda: person.client.join(here), "go": lambda: person.client.leave(here),
                "say": lambda: person.client.send(here, wish.text)}[wish.what]

    def wait_member(self, room: Room, name: str, now: str, marks: dict) -> None:
        """Everybody sees it: the first of both gateways, and the silo."""
        for letter in LETTERS:
            self.play.person(f"{letter}1").wait_member(room.ids[letter], self.id(letter, name), now, self.patience, marks[letter])
        self.three.start().wait(f"{name}: {now}", lambda e: e["event"] == "member" and e["room"] == room.ids["c"]
                                and e["user"] == self.mimi(name) and e["now"] == now, self.patience, marks["c"])

    def race(self, room: Room, wishes: list[Wish], inside: set[str], leaves: set[str]) -> None:
        marks = {letter: self.play.person(f"{letter}1").mark() for letter in LETTERS} | {"c": self.three.start().mark()}
        acts = [self.prepare(room, wish) for wish in wishes]
        in_parallel(*acts)
        removed = {wish.whom for wish in wishes if wish.what == "remove"}
        for wish in wishes:
            if wish.what == "say" and wish.whom not in removed:
                for letter in LETTERS:
                    self.play.person(f"{letter}1").wait_text(room.ids[letter], wish.text, self.patience)
                self.three.start().wait(repr(wish.text), lambda e, wish=wish: e["event"] == "message" and e["text"] == wish.text,
                                        self.patience, marks["c"])
                leaves.add(wish.whom)
            elif wish.what == "come":
                self.wait_member(room, wish.whom, "join", marks)
                inside.add(wish.whom)
            elif wish.what in ("go", "remove"):
                self.wait_member(room, wish.whom, "leave", marks)
                inside.discard(wish.whom)
                leaves.discard(wish.whom)

    def people(self, room: Room, inside: set[str]) -> None:
        """All three show just those who have to be there."""
        names = {f"{house}1" for house in HOUSES} | inside
        self.three.start().do(f"in {room.ids['c']}")
        shown = {"c": set(self.three.start().do("members")["members"])}
        wanted = {"c": {self.mimi(name) for name in names}}
        for letter in LETTERS:
            members = self.play.person(f"{letter}1").client.members(room.ids[letter]).items()
            bot = self.play.silos.silos[letter].gateway.bot
            shown[letter] = {user for user, content in members if content["membership"] == "join" and user != bot}
            wanted[letter] = {self.id(letter, name) for name in names}
        if shown != wanted:
            raise Wrong(f"the members are {shown} instead of {wanted}")

    def run(self, host: str, count: int) -> None:
        rng, inside, leaves = random.Random(f"{self.seed} {host}"), set(), set()
        room = self.gather(host)
        uri = self.three.uri(room)
        before = self.three.same_state(room, uri, log=False)["epoch"]
        hub = self.play.silos.silos["a"].gateway
        lost = hub.log_text().count("is for another epoch than")
        began, epochs = time.monotonic(), before
        for number in range(count):
            wishes = self.wishes(rng, host, inside, leaves, number)
            try:
                self.race(room, wishes, inside, leaves)
                epochs = self.three.same_state(room, uri, log=False)["epoch"]
                self.people(room, inside)
            except Exception as error:
                raise Wrong(f"E2E_SEED={self.seed}, race {number}, {wishes}: {error}") from error
        lost = hub.log_text().count("is for another epoch than") - lost
        told = f", {lost} of the followers' updates lost their epoch" if host == "a" else ""
        self.say(f"E2E_SEED={self.seed} RACES_E2E={self.count}: {count} races, {epochs - before} epochs{told}, "
                 f"{time.monotonic() - began:.0f} s")

"""Three providers in one room: the two gateways with their Synapses, and `examples/silo.rs`, a native provider without Matrix.
The hub is of either kind. At the end all three have to have the same state, as they tell it themselves."""

import json
import os
import random
import time
from collections.abc import Callable

from silos.play import Play, Room, Wrong
from silos.stage import LETTERS, PEER, Silos

from .races import Races
from .spare import SparePeer


def mimi(name: str) -> str:
    return f"mimi://{PEER}/u/{name}"


class Three:
    """`cases` in order: each goes on where the one before ended."""

    def __init__(self, silos: Silos, play: Play, say: Callable[[str], None]):
        self.silos, self.play, self.say, self.patience = silos, play, say, play.patience
        self.silo: SparePeer | None = None
        self.room = Room()
        self.cases = [
            ("three providers: a gateway hosts", self.gateway_hosts),
            ("three providers: the silo is stopped and comes back", self.comes_back),
            ("three providers: one leaves, one is removed", self.leaves_and_removed),
            ("three providers: the silo hosts", self.silo_hosts),
            ("three providers: mixed operations", self.mixed),
            *Races(self, say).cases,
        ]

    def start(self) -> SparePeer:
        if self.silo is None:
            self.silo = SparePeer(self.silos, "silo", "--env", str(self.silos.env_file))
        return self.silo

    def close(self) -> None:
        if self.silo:
            self.silo.close()
            self.silo = None

    # ------------------------------------------------------------------------------------------------ helpers

    def ghost(self, letter: str, name: str) -> str:
        return self.silos.silos[letter].gateway.ghost(PEER, name)

    def invited(self, name: str, start: int) -> str:
        """Waits for an invitation of one of the silo's users, who accepts: the silo's room."""
        silo = self.start()
        told = silo.wait(f"an invitation of {name}", lambda e: e["event"] == "invited" and e["user"] == mimi(name),
                         self.patience, start)
        silo.do(f"user {name}")
        silo.do(f"accept {told['room']}")
        return told["room"]

    def enter(self, room: Room, name: str, by: str) -> None:
        """One of the gateways' users invites one of the silo's, who comes."""
        silo = self.start()
        mark = silo.mark()
        watchers = {letter: next(n for n in room.present if n[0] == letter) for letter in LETTERS if letter in room.ids}
        # Who was there before has joined before: only what comes from now on counts.
        marks = {letter: self.play.person(watcher).mark() for letter, watcher in watchers.items()}
        silo.do(f"user {name}")
        self.play.command(self.play.here(room, by), by, f"!mimi invite {mimi(name)}")
        room.ids["c"] = self.invited(name, mark)
        for letter, watcher in watchers.items():
            self.play.person(watcher).wait_member(room.ids[letter], self.ghost(letter, name), "join", self.patience,
                                                  marks[letter])

    def silo_says(self, room: Room, name: str, text: str) -> None:
        """A user of the silo writes; everybody at the gateways sees it from its ghost."""
        silo = self.start()
        silo.do(f"user {name}")
        silo.do(f"in {room.ids['c']}")
        silo.do(f"say {text}")
        for other in room.present:
            seen = self.play.person(other).wait_text(room.ids[other[0]], text, self.patience)
            if seen.sender != self.ghost(other[0], name):
                raise Wrong(f"{other} sees {text!r} from {seen.sender}")
        silo.wait(repr(text), lambda e: e["event"] == "message" and e["text"] == text, self.patience)

    def gateway_says(self, room: Room, name: str, text: str) -> None:
        """A Matrix user writes; everybody, at the silo too, sees it."""
        mark = self.start().mark()
        self.play.person(name).client.send(room.ids[name[0]], text)
        for other in room.present:
            if other != name:
                self.play.wait_message(room, other, name, text)
        told = self.start().wait(repr(text), lambda e: e["event"] == "message" and e["text"] == text, self.patience, mark)
        if told["from"] != self.play.mimi(name) or told["room"] != room.ids["c"]:
            raise Wrong(f"the silo shows {told}")

    def fingerprints(self, room: Room, uri: str) -> dict[str, dict]:
        """What each of the providers that are in the room says of it."""
        found = {}
        for letter in LETTERS:
            if letter in room.ids:
                done = self.silos.silos[letter].gateway.run("rooms", "--fingerprints")
                rows = [json.loads(line) for line in done.stdout.splitlines()]
                found[letter] = next((row for row in rows if row["mimi_room"] == uri), {})
        if "c" in room.ids:
            self.start().do(f"in {room.ids['c']}")
            found["c"] = self.start().do("fingerprint")
        return found

    def same_state(self, room: Room, uri: str, log: bool) -> dict:
        """Waits until all providers have the same epoch, authenticator and participants, and `log`: the same messages in the
        hub's order, which only those can have who were there from the first one on."""
        wanted = ["epoch", "epoch_authenticator", "participants_sha256"] + (["log_length", "log_sha256"] if log else [])
        deadline = time.monotonic() + self.patience
        while True:
            found = self.fingerprints(room, uri)
            states = {name: {key: row.get(key) for key in wanted} for name, row in found.items()}
            first = next(iter(states.values()))
            if all(first.values()) and all(state == first for state in states.values()):
                return first
            if time.monotonic() > deadline:
                raise Wrong(f"they do not agree: {states}")
            time.sleep(0.2)

    def same_title(self, room: Room, title: str) -> None:
        """Waits until the room is called that everywhere."""
        deadline = time.monotonic() + self.patience
        while True:
            titles = {letter: self.play.person(name).client.state_content(room.ids[letter], "m.room.name")["name"]
                      for letter, name in (("a", "a1"), ("b", "b1")) if letter in room.ids}
            self.start().do(f"in {room.ids['c']}")
            titles["c"] = self.start().do("title")["title"]
            if set(titles.values()) == {title}:
                return
            if time.monotonic() > deadline:
                raise Wrong(f"they call it {titles}")
            time.sleep(0.2)

    def uri(self, room: Room) -> str:
        silo = self.start()
        told = silo.wait("the room's address", lambda e: e["event"] == "mirrored" and e["room"] == room.ids["c"], self.patience)
        return told["mimi"]

    # -------------------------------------------------------------------------------------------------- cases

    def gateway_hosts(self) -> None:
        self.room = room = self.play.gather("Allotments", guests=1)
        self.enter(room, "c1", "a1")
        self.gateway_says(room, "a1", "Welcome, C1, from the hub.")
        self.silo_says(room, "c1", "Hello from a silo without Matrix.")
        self.gateway_says(room, "b1", "And from another guest.")
        members = set(self.start().do("members")["members"])
        expected = {self.play.mimi(name) for name in room.present} | {mimi("c1")}
        if members != expected:
            raise Wrong(f"the silo shows {members} instead of {expected}")
        self.same_state(room, self.uri(room), log=True)

    def comes_back(self) -> None:
        room, uri = self.room, self.uri(self.room)
        self.close()
        self.play.person("a1").client.send(room.ids["a"], "Is C1 still there?")
        self.start().wait("what was said meanwhile", lambda e: e.get("text") == "Is C1 still there?", self.patience)
        self.silo_says(room, "c1", "Just restarted.")
        self.same_state(room, uri, log=True)
        said = [line["text"] for line in self.start().do("log")["log"]]
        if said != ["Welcome, C1, from the hub.", "Hello from a silo without Matrix.", "And from another guest.",
                    "Is C1 still there?", "Just restarted."]:
            raise Wrong(f"the silo's log is {said}")

    def leaves_and_removed(self) -> None:
        room, silo, a1 = self.room, self.start(), self.play.person("a1")
        self.enter(room, "c2", "a1")
        mark = a1.mark()
        silo.do("user c1")
        silo.do("leave")
        for name in ("a1", "b1"):
            self.play.person(name).wait_member(room.ids[name[0]], self.ghost(name[0], "c1"), "leave", self.patience)
        self.silo_says(room, "c2", "C1 went home.")
        a1.client.kick(room.ids["a"], self.ghost("a", "c2"))
        told = silo.mark()
        self.play.person("b1").wait_member(room.ids["b"], self.ghost("b", "c2"), "leave", self.patience)
        a1.client.send(room.ids["a"], "Now it is us again.")
        self.play.wait_message(room, "b1", "a1", "Now it is us again.")
        # Back in: whatever came before would be here by then.
        self.enter(room, "c1", "a1")
        self.gateway_says(room, "a1", "Back again, C1?")
        heard = [event["text"] for event in silo.events[told:] if event["event"] == "message"]
        if heard != ["Back again, C1?"]:
            raise Wrong(f"without anybody in the room, the silo heard {heard} ({mark})")
        self.same_state(room, self.uri(room), log=False)

    def silo_hosts(self) -> None:
        silo, room = self.start(), Room()
        silo.do("user c3")
        room.ids["c"] = silo.do("room Hosted by a silo")["room"]
        uri = self.uri(room)
        for name in ("a1", "b1"):
            person = self.play.person(name)
            mark = person.mark()
            silo.do(f"invite {self.play.mimi(name)}")
            invite = person.wait_invite("an invite", lambda seen, name=name: seen.sender == self.ghost(name[0], "c3"),
                                        self.patience, mark)
            person.client.join(invite.room)
            room.ids[name[0]] = invite.room
            silo.wait(f"{name} come", lambda e, name=name: e["event"] == "member" and e["room"] == room.ids["c"]
                      and e["user"] == self.play.mimi(name) and e["now"] == "join", self.patience)
            room.enter(name)
        self.silo_says(room, "c3", "This is my room.")
        self.gateway_says(room, "a1", "Nice room, C3.")
        self.gateway_says(room, "b1", "I was here, too.")
        self.same_state(room, uri, log=True)

        self.play.person("b1").client.leave(room.ids["b"])
        silo.wait("B1 leave", lambda e: e["event"] == "member" and e["user"] == self.play.mimi("b1") and e["now"] == "leave"
                  and e["room"] == room.ids["c"], self.patience)
        self.play.person("a1").wait_member(room.ids["a"], self.play.as_seen_by("a1", "b1"), "leave", self.patience)
        room.present.remove("b1")
        del room.ids["b"]
        self.silo_says(room, "c3", "B1 is gone.")
        self.same_state(room, uri, log=True)
        silo.do(f"remove {self.play.mimi('a1')}")
        self.play.person("a1").wait_member(room.ids["a"], self.play.person("a1").user, "leave", self.patience)

    def mixed(self) -> None:
        """A seeded mixture of everything, on the room of A; then everybody has to have the same."""
        seed = int(os.environ.get("E2E_SEED", random.randrange(1 << 32)))
        count = int(os.environ.get("E2E_MIXED", "40"))
        self.say(f"E2E_SEED={seed} E2E_MIXED={count}")
        rng, silo = random.Random(seed), self.start()
        room = self.play.gather("Mixed", guests=1)
        self.enter(room, "c1", "a1")
        uri = self.uri(room)
        guests: set[str] = set()  # of c2, c3: in the room
        for number in range(count):
            what = rng.choice(["say", "say", "say", "silo", "silo", "in", "out", "kick", "rename"])
            if what == "say":
                name = rng.choice(room.present)
                self.play.person(name).client.send(room.ids[name[0]], f"{name} says number {number}")
            elif what == "silo":
                name = rng.choice(sorted({"c1"} | guests))
                silo.do(f"user {name}")
                silo.do(f"in {room.ids['c']}")
                silo.do(f"say {name} says number {number}")
            elif what == "rename":
                # A1's counts, and C1's is put back.
                if rng.random() < 0.7:
                    self.play.person("a1").client.set_state(room.ids["a"], "m.room.name", {"name": f"Mixed {number}"})
                else:
                    silo.do("user c1")
                    silo.do(f"in {room.ids['c']}")
                    silo.do(f"rename Mixed by C1 {number}")
            elif what == "in" and len(guests) < 2:
                name = rng.choice(sorted({"c2", "c3"} - guests))
                self.enter(room, name, rng.choice(["a1", "b1"]))
                guests.add(name)
            elif guests:
                name = rng.choice(sorted(guests))
                marks = {watcher: self.play.person(watcher).mark() for watcher in ("a1", "b1")}
                if what == "out":
                    silo.do(f"user {name}")
                    silo.do(f"in {room.ids['c']}")
                    silo.do("leave")
                elif what == "kick":
                    self.play.person("a1").client.kick(room.ids["a"], self.ghost("a", name))
                else:
                    continue
                # Whoever asks them in again has to have seen them go.
                for watcher, mark in marks.items():
                    letter = watcher[0]
                    self.play.person(watcher).wait_member(room.ids[letter], self.ghost(letter, name), "leave",
                                                          self.patience, mark)
                # Their own provider takes who is still on its list for one who need not be asked.
                self.same_state(room, uri, log=False)
                guests.remove(name)
        self.gateway_says(room, "a1", "That was all.")
        self.play.person("a1").client.set_state(room.ids["a"], "m.room.name", {"name": "All mixed"})
        self.same_title(room, "All mixed")
        self.same_state(room, uri, log=True)

"""Users of other Matrix homeservers in a mirrored room: a third provider, `c.example`, whose homeserver federates with one more.
Its gateway speaks for the users of both, and the others see no difference."""

import dataclasses
import re

from silos.gateway import Gateway, GatewayPlan
from silos.matrix import MatrixError, Seen, Watcher, register
from silos.play import Play, Wrong
from silos.stage import PASSWORD, PEER, Silos, start_all
from silos.synapse import Federation, Synapse


class Federated:
    """`cases` stand by themselves; the spare peer's port has to be free."""

    def __init__(self, silos: Silos, play: Play):
        self.silos, self.play, self.patience = silos, play, play.patience
        self.cases = [
            ("membership: members on another homeserver, hosted there", self.hosted_there),
            ("membership: members on another homeserver, hosted elsewhere", self.hosted_elsewhere),
        ]
        self.homeservers: list[Synapse] = []
        self.gateway: Gateway | None = None
        self.people: list[Watcher] = []

    def start(self) -> None:
        """Two homeservers that federate, the first with a gateway."""
        if self.gateway:
            return
        silos, ports = self.silos, self.silos.ports
        papers = silos.authority.issue("homeservers", ["homeservers.example"], loopback=True)
        first = Federation(ports.proxy(1), papers, silos.authority.files.cert, [f"127.0.0.1:{ports.proxy(3)}"])
        second = Federation(ports.proxy(3), papers, silos.authority.files.cert, [first.server_name])
        like = silos.b.gateway.plan
        gateway = Gateway(dataclasses.replace(
            like, folder=silos.folder / "gateway-c", server_name=first.server_name, homeserver_url=f"http://127.0.0.1:{ports.proxy(0)}",
            domain=PEER, appservice_port=ports.proxy(4), mimi_port=ports.peer, provisioning_port=None, certificate=silos.peer,
            peers={silo.domain: silo.gateway.plan.mimi_port for silo in silos.silos.values()}, admin_token="", admin_room="",
            probe=(silos.b.domain, like.certificate)))
        gateway.make_registration()
        self.homeservers = [
            Synapse(silos.folder / "synapse-c1", first.server_name, ports.proxy(0), gateway.registration_file, first),
            Synapse(silos.folder / "synapse-c2", second.server_name, ports.proxy(2), None, second)]
        start_all([homeserver.proc for homeserver in self.homeservers])
        start_all([gateway.proc])
        self.gateway = gateway
        for homeserver, name in zip(self.homeservers, ("carol", "fred"), strict=True):
            client = register(homeserver.url, homeserver.secret, name, PASSWORD)
            self.people.append(Watcher(client, name.title()))

    def close(self) -> None:
        for person in self.people:
            person.close()
        procs = ([self.gateway.proc] if self.gateway else []) + [homeserver.proc for homeserver in self.homeservers]
        for proc in procs:
            proc.stop(5)

    # ------------------------------------------------------------------------------------------------ helpers

    @property
    def mimi_of_fred(self) -> str:
        """The whole Matrix id, since the gateway's own homeserver is another."""
        return f"mimi://{PEER}/u/" + self.people[1].user[1:].replace(":", "%3A")

    def sees(self, who: Watcher, room: str, text: str, start: int = 0) -> Seen:
        return who.wait(repr(text), lambda seen: seen.room == room and seen.body == text, self.patience, start)

    def told(self, who: Watcher, room: str, part: str, start: int) -> Seen:
        return who.wait(repr(part), lambda seen: seen.room == room and part in seen.body and seen.sender == self.gateway.bot,
                        self.patience, start)

    def is_ghost_of_fred(self, seen: Seen) -> None:
        """B's ghosts are named after the address, in which `%3A` stands for a colon."""
        if not re.match(r"@_mimi_c\.example=2ffred=253=41127\.0\.0\.1=253=41[0-9]+:matrix\.b\.example$", seen.sender):
            raise Wrong(f"B1 sees {seen.sender} in place of Fred")

    # -------------------------------------------------------------------------------------------------- cases

    def hosted_there(self) -> None:
        """Carol mirrors a room in which Fred is, by federation; B1 is asked in, and talks with both."""
        self.start()
        carol, fred, b1 = *self.people, self.play.person("b1")
        room = carol.client.create_room(name="Federated", invite=[self.gateway.bot, fred.user], preset="private_chat",
                                        power_level_content_override={"users": {self.gateway.bot: 100}})
        fred.wait_invite("an invite", lambda seen: seen.room == room, self.patience)
        fred.client.join(room)
        carol.wait_member(room, fred.user, "join", self.patience)
        carol.wait_member(room, self.gateway.bot, "join", self.patience)
        mark = carol.mark()
        carol.client.send(room, "!mimi bridge")
        self.told(carol, room, "This room is mirrored as ", mark)
        mark = b1.mark()
        carol.client.send(room, f"!mimi invite {self.play.mimi('b1')}")
        there = b1.wait_invite("an invite", lambda seen: seen.sender == self.silos.b.gateway.ghost(PEER, "carol"), self.patience, mark).room
        b1.client.join(there)
        ghost = self.gateway.ghost("b.example", "b1")
        fred.wait_member(room, ghost, "join", self.patience)
        # Both ways, and to Carol, who sees it from its senders.
        fred.client.send(room, "Greetings from another homeserver.")
        said = self.sees(b1, there, "Greetings from another homeserver.")
        self.is_ghost_of_fred(said)
        b1.client.send(there, "Who is your host, Fred?")
        if self.sees(fred, room, "Who is your host, Fred?").sender != ghost:
            raise Wrong("Fred sees the words of another")
        # Removed by a moderator of the other side, he is out on both homeservers.
        levels = carol.client.state_content(room, "m.room.power_levels")
        levels["users"][ghost] = 50
        carol.client.set_state(room, "m.room.power_levels", levels)
        b1.wait("B1 be a moderator", lambda s: s.room == there and s.kind == "m.room.power_levels"
                and s.content.get("users", {}).get(b1.user) == 50, self.patience)
        mark = fred.mark()
        b1.client.kick(there, said.sender, "enough")
        put_out = fred.wait_member(room, fred.user, "leave", self.patience, mark)
        if put_out.sender != self.gateway.bot:
            raise Wrong(f"{put_out.sender} put Fred out")
        # And with Carol's invitation he comes back.
        mark, back = b1.mark(), fred.mark()
        carol.client.invite(room, fred.user)
        fred.wait_invite("an invite", lambda seen: seen.room == room, self.patience, back)
        fred.client.join(room)
        b1.wait_member(there, said.sender, "join", self.patience, mark)

    def hosted_elsewhere(self) -> None:
        """A room of B1's: nobody elsewhere can make this homeserver send invitations to others, and its portal stays on it."""
        self.start()
        carol, fred, b1 = *self.people, self.play.person("b1")
        bot = self.silos.b.gateway.bot
        room = b1.client.create_room(name="Asked from afar", invite=[bot], preset="private_chat",
                                     power_level_content_override={"users": {bot: 100}})
        b1.wait_member(room, bot, "join", self.patience)
        self.play.command(room, "b1", "!mimi bridge", "This room is mirrored as ")
        asked = fred.mark()
        self.play.command(room, "b1", f"!mimi invite {self.mimi_of_fred}", "is asked to join")
        mark, seen = carol.mark(), b1.mark()
        self.play.command(room, "b1", f"!mimi invite mimi://{PEER}/u/carol", "is asked to join")
        ghost = self.gateway.ghost("b.example", "b1")
        there = carol.wait_invite("an invite", lambda seen: seen.sender == ghost, self.patience, mark).room
        carol.client.join(there)
        b1.wait_member(room, self.silos.b.gateway.ghost(PEER, "carol"), "join", self.patience, seen)
        try:
            carol.client.invite(there, fred.user)
        except MatrixError as error:
            if error.status != 403 or "unfederatable" not in str(error):
                raise
        else:
            raise Wrong("Carol can invite users of other homeservers into what others host")
        b1.client.send(room, "Only you, Carol.")
        self.sees(carol, there, "Only you, Carol.")
        if any(seen.invite for seen in fred.seen[asked:]):
            raise Wrong("Fred was invited")

"""What bad input gets, from outside: requests of a provider `c.example` with its own certificate, with wrong ones, with a real
MLS client that breaks the rules, and of somebody who guesses the homeserver's token. Each is refused with the right status or
response code, nothing is stored, and exactly one line in the log says so."""

import http.client
import json
import re
import socket
import sqlite3
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, unquote

from silos.certs import Authority, Pair
from silos.play import Play, Room, Wrong
from silos.recorder import Recorded, Recorder
from silos.stage import PEER, Silo, Silos

from .rogue import Rogue

# draft-ietf-mimi-protocol-06 section 5: endpoint and what stands in its path.
ENDPOINTS = {
    "keyMaterial": "mimi://b.example/u/b1", "update": "mimi://b.example/r/none", "submitMessage": "mimi://b.example/r/none",
    "notify": f"mimi://{PEER}/r/none", "groupInfo": "mimi://b.example/r/none", "requestConsent": "b.example",
    "updateConsent": "b.example",
}
REQUEST, GRANT = 1, 2
# A line that tells an operator about a refusal.
TOLD = re.compile(r"(INFO|WARN|ERROR)\S* .*(refused|set aside|submits|is not given|may add nobody|consents to|an update of|"
                  r"a message of|consented to others|a room that cannot be|a grant for|is broken|broken room)")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# Seconds after which a second line, or a stored row, would have shown.
SETTLE = 0.12


def vector(data: bytes) -> bytes:
    """A variable-size vector of the TLS presentation language (RFC 9420 section 2.1.2)."""
    if len(data) < 64:
        return bytes([len(data)]) + data
    return (0x4000 | len(data)).to_bytes(2, "big") + data


def consent(operation: int, requester: str, target: str, key_packages: bytes = b"", room: str = "") -> bytes:
    """A ConsentEntry (section 5.7), without `room` for no particular one."""
    body = bytes([operation]) + vector(requester.encode()) + vector(target.encode())
    body += b"\1" + vector(room.encode()) if room else b"\0"
    if operation == GRANT:
        body += vector(key_packages)
    return body + vector(b"")


def application_message(group: str, epoch: int = 0) -> bytes:
    """An MLSMessage with a PrivateMessage that nobody can decrypt (RFC 9420 section 6)."""
    return (b"\0\1\0\2" + vector(group.encode()) + epoch.to_bytes(8, "big") + b"\1" + vector(b"") + vector(b"s" * 28)
            + vector(b"c" * 60))


def fanout(group: str) -> bytes:
    """A notify body (section 5.5) with such a message."""
    return int(time.time() * 1000).to_bytes(8, "big") + application_message(group) + b"\0"


def submission(group: str, sender: str) -> bytes:
    """A SubmitMessageRequest (section 5.4) with such a message."""
    return b"\1" + application_message(group) + vector(sender.encode())


def told(silo: Silo) -> list[str]:
    """The lines of a gateway's log about refusals."""
    return [line for line in COLOUR.sub("", silo.gateway.log_text()).splitlines() if TOLD.search(line)]


def stored(silo: Silo) -> set[bytes] | None:
    """The keys of everything in a gateway's store; `None` if the engine is another than SQLite."""
    plan = silo.gateway.plan
    if plan.engine != "sqlite":
        return None
    connection = sqlite3.connect(f"file:{plan.folder}/data/store.sqlite?mode=ro", uri=True, timeout=10)
    try:
        # How far a timeline was compared, and which event shows what, is noted whenever the gateway finds time for it.
        later = (b"\x02watermark", b"\x02event")
        keys = {key for (key,) in connection.execute("SELECT k FROM kv") if not key.startswith(later)}
        # So is what its clients were told that crosses.
        return {key for key in keys if not (key.startswith(b"\x02told") and b"features " in key)}
    finally:
        connection.close()


def quiet(silo: Silo) -> set[bytes] | None:
    """What is stored once nothing is being added or taken away any more."""
    before, deadline = stored(silo), time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(SETTLE)
        now = stored(silo)
        if now == before:
            return now
        before = now
    raise Wrong("the gateway's store does not come to rest")


@dataclass
class Answer:
    status: int | str | None  # None: the connection did not come about, or ended without an answer; str: a response code
    body: bytes = b""
    error: str = ""


class Attacker:
    """Makes requests to the provider port of silo B."""

    def __init__(self, silos: Silos):
        self.silos = silos
        self.port = silos.b.gateway.plan.mimi_port
        self.strangers = Authority(silos.folder / "tls-strangers", "stranger")
        self.foreign = self.strangers.issue("c-of-stranger", [PEER])
        issue = silos.authority.issue
        self.unknown = issue("d.example", ["d.example"])
        self.expired = issue("c-expired", [PEER], valid=(-20, -10))
        self.early = issue("c-not-yet", [PEER], valid=(5, 10))
        self.name_only = issue("c-common-name-only", [], common_name=PEER)

    def endless(self, path: str) -> Answer:
        """A body of chunks that never ends, until there is an answer."""
        context = ssl.create_default_context(cafile=str(self.silos.authority.files.cert))
        context.load_cert_chain(self.silos.peer.cert, self.silos.peer.key)
        with context.wrap_socket(socket.create_connection(("127.0.0.1", self.port), 10), server_hostname="b.example") as sock:
            sock.settimeout(0.02)
            head = f"POST {path} HTTP/1.1\r\nHost: b.example\r\nFrom: mimi@{PEER}\r\nTransfer-Encoding: chunked\r\n\r\n"
            chunk = b"4000\r\n" + b"\1" * 0x4000 + b"\r\n"
            pending, sent, got = head.encode(), 0, b""
            try:
                while sent < 64 << 20 and b"\r\n" not in got:
                    sock.settimeout(5)
                    sock.sendall(pending)
                    sent, pending = sent + len(pending), chunk
                    if sent > 200 << 10:
                        sock.settimeout(0.02)
                        try:
                            got += sock.recv(4096)
                        except TimeoutError:
                            pass
            except OSError as error:
                if not got:
                    return Answer(None, error=repr(error))
            return Answer(int(got.split()[1]) if got else None, got, f"{sent} bytes were taken")

    def request(self, path: str, body: bytes = b"", cert: Pair | None = None, froms: tuple[str, ...] = (f"mimi@{PEER}",),
                method: str = "POST", headers: dict[str, str] | None = None, claim: int | None = None,
                port: int | None = None, host: str = "b.example", server_name: str | None = None) -> Answer:
        """One request on an own connection. `claim` is a Content-Length that nothing follows."""
        port = port or self.port
        context = ssl.create_default_context(cafile=str(self.silos.authority.files.cert))
        if cert is not None:
            context.load_cert_chain(cert.cert, cert.key)
        connection = http.client.HTTPConnection(host, port, timeout=20)
        try:
            connection.sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10),
                                                  server_hostname=server_name or host)
            connection.sock.settimeout(20)
            connection.putrequest(method, path)
            for value in froms:
                connection.putheader("From", value)
            for name, value in {"Content-Type": "application/octet-stream", **(headers or {})}.items():
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body) if claim is None else claim))
            connection.endheaders()
            try:
                connection.send(body)
            except OSError:
                pass  # refused before the body was read: the answer is there already
            response = connection.getresponse()
            return Answer(response.status, response.read())
        except (OSError, http.client.HTTPException) as error:
            return Answer(None, error=repr(error))
        finally:
            connection.close()

    def post(self, endpoint: str, body: bytes, target: str | None = None, **how) -> Answer:
        how.setdefault("cert", self.silos.peer)
        return self.request(f"/v1/{endpoint}/{quote(target or ENDPOINTS[endpoint], safe='')}", body, **how)


class Attacks:
    """`cases`: name and function, each raising `Wrong`."""

    def __init__(self, silos: Silos, play: Play):
        self.silos, self.play = silos, play
        self.attacker = Attacker(silos)
        self.room: Room | None = None
        self.recorder: Recorder | None = None
        self.rogue_itself: Rogue | None = None  # the program
        self.rogue: Rogue | None = None  # once it is in the room
        self.rogue_count = 0
        self.den = ""  # the portal of the rogue's own room on B
        self._gathered = self._rogue_tried = False
        at, good = self.attacker, consent(REQUEST, "mimi://c.example/u/c1", "mimi://b.example/u/nobody-here")
        refused, case = (None,), self.case
        ask = lambda **how: at.post("requestConsent", good, **how)  # noqa: E731
        transaction = lambda act, statuses: case(act, statuses, "a", room=True)  # noqa: E731
        elsewhere = "mimi://b.example/r/there-is-no-such-room"
        froms = {
            "no From": (), "two From": (f"mimi@{PEER}", "mimi@a.example"), "display-name From": (f"C <mimi@{PEER}>",),
            "From with another local part": (f"admin@{PEER}",), "From with a trailing dot": (f"mimi@{PEER}.",),
            "From in capitals": ("mimi@C.EXAMPLE",), "From with a list": (f"mimi@{PEER}, mimi@a.example",),
        }
        self.cases: list[tuple[str, Callable[[], None]]] = [
            ("no certificate", case(lambda: ask(cert=None), refused)),
            ("certificate of a strange authority", case(lambda: ask(cert=at.foreign), refused)),
            ("expired certificate", case(lambda: ask(cert=at.expired), refused)),
            ("certificate of tomorrow", case(lambda: ask(cert=at.early), refused)),
            ("certificate with the name in the subject only", case(lambda: ask(cert=at.name_only), refused)),
            ("unknown peer", case(lambda: ask(cert=at.unknown, froms=("mimi@d.example",)), refused)),
            ("forged From", case(lambda: ask(froms=("mimi@a.example",)), (403,))),
            ("another peer's certificate", case(lambda: ask(cert=silos.a.gateway.plan.certificate), (403,))),
            ("look-alike From", case(lambda: ask(froms=("mimi@xn--cexample-1bf.example",)), (403,))),
            *((name, case(lambda values=values: ask(froms=values), (400,))) for name, values in froms.items()),
            *((f"asset {name}", case(lambda url=url: at.post("proxyDownload", b"", url, method="GET"), (status,)))
              for name, url, status in (
                  ("of a stranger", "https://evil.example/1", 403),
                  ("at an address", "https://169.254.169.254/latest/meta-data", 400),
                  ("without TLS", "http://a.example/1", 400),
                  ("at another port", "https://a.example:8008/_synapse/admin", 400),
                  ("that no peer has", f"https://a.example/assets/{'0' * 40}", 404))),
            ("sealed request without a key of ours",
             case(lambda: at.request("/v1/ohttpGateway", b"\0" * 100, cert=silos.peer,
                                     headers={"Content-Type": "message/ohttp-req"}), (400,))),
            *((f"malformed body to {name}", case(lambda name=name: at.post(name, b"\xff" * 48), (400,))) for name in ENDPOINTS),
            *((f"empty body to {name}", case(lambda name=name: at.post(name, b""), (400,))) for name in ENDPOINTS),
            ("trailing bytes", case(lambda: at.post("requestConsent", good + b"\0"), (400,))),
            ("bodies cut off anywhere", lambda: self.cut_off(good)),
            # Closing with unread bytes may cost the client the answer; with a claim alone it always comes.
            ("oversized body", case(lambda: at.post("notify", b"\0" * (17 << 20)), (413, None))),
            ("oversized body announced", case(lambda: at.post("notify", b"", claim=17 << 20), (413,))),
            ("lying Content-Length", case(lambda: at.post("notify", b"", claim=1 << 40), (413,))),
            ("endless chunks", case(lambda: at.endless("/v1/requestConsent/b.example"), (413, None))),
            ("compressed body", case(lambda: ask(headers={"Content-Encoding": "gzip"}), (415,))),
            ("JSON body", case(lambda: ask(headers={"Content-Type": "application/json"}), (415,))),
            ("no such endpoint", case(lambda: at.request("/v1/nonsense/x", b"", silos.peer), (404,))),
            ("wrong method", case(lambda: at.request("/v1/notify/x", b"", silos.peer, method="PUT"), (405,))),
            ("another provider's Host",
             case(lambda: at.request("/v1/requestConsent/b.example", good, silos.peer, host="a.example", server_name="b.example"),
                  (404,))),
            ("path that is no room", case(lambda: at.post("notify", b"", "mimi://b.example/u/b1"), (400,))),
            ("room hosted elsewhere", case(lambda: at.post("update", b"", "mimi://a.example/r/none"), (404,))),
            ("consent asked in another domain's name",
             case(lambda: at.post("requestConsent", consent(REQUEST, "mimi://a.example/u/a1", "mimi://b.example/u/b1")), (403,))),
            ("consent asked of a third domain",
             case(lambda: at.post("requestConsent", consent(REQUEST, "mimi://c.example/u/c1", "mimi://a.example/u/a1")), (403,))),
            ("domain in the path is not the one in the body", case(lambda: at.post("requestConsent", good, "a.example"), (404,))),
            ("consent granted in the name of our own user",
             case(lambda: at.post("updateConsent", consent(GRANT, "mimi://c.example/u/c1", "mimi://b.example/u/b1")), (403,))),
            ("consent granted for a room that is not here",
             case(lambda: at.post("updateConsent", consent(GRANT, "mimi://b.example/u/b1", "mimi://c.example/u/c1",
                                                           room=elsewhere)), (201,))),
            ("consent asked for a room of ours that does not exist",
             case(lambda: at.post("requestConsent", consent(REQUEST, "mimi://c.example/u/c1", "mimi://b.example/u/b1",
                                                            room=elsewhere)), (201,))),
            ("notify for a room that is not known here",
             case(lambda: at.post("notify", fanout("mimi://c.example/g/none/0"), "mimi://c.example/r/none"), (404,))),
            ("a room is mirrored", self.setting),
            ("notify by a peer that is not the room's hub", case(self.notify_by_another_peer, (403,), room=True)),
            ("notify for another room than it was made for", case(self.notify_into_another_room, (404,), room=True)),
            ("room in the path is not the room in the body", case(self.notify_of_another_group, (201,), stores=1, room=True)),
            ("message submitted to a room by a stranger",
             case(lambda: self.submit_to("mimi://c.example/u/c1"), ("notAllowed",), "a", room=True)),
            ("message submitted in the name of another provider's user",
             case(lambda: self.submit_to("mimi://b.example/u/b1"), (403,), "a", room=True)),
            ("a stranger asks people into the room at its hub", case(lambda: self.ask_into("a", "a2"), (201,), "a",
                                                                          stores=1, room=True)),
            ("a stranger asks people into the room at a follower", case(lambda: self.ask_into("b", "b2"), (201,), stores=1, room=True)),
            ("nobody was asked in by the stranger", self.nobody_asked),
            ("replayed notify is answered 201 and shows nothing twice", self.replayed_notify),
            ("transaction without token", transaction(lambda: self.transaction(None), (401,))),
            ("transaction with a wrong token", transaction(lambda: self.transaction("wrong"), (403,))),
            ("transaction with a wrong token in the query", transaction(lambda: self.transaction(None, query="wrong"), (403,))),
            ("transaction with the right token and a wrong one",
             transaction(lambda: self.transaction(self.hs_token(), query="wrong"), (403,))),
            ("transaction that is no JSON", transaction(lambda: self.transaction(self.hs_token(), raw=b"{]"), (400,))),
            ("forged events never show, a malformed one does not stop the stream", self.stream_goes_on),
            *((f"rogue member: {name}", act) for name, act in (
                ("says that one of its users does not want to come", self.rogue_declines),
                ("joins and is heard", self.rogue_joins),
                ("malformed CBOR in a message", self.rogue_act("garbage", "notAllowed")),
                ("content in another's name", self.rogue_act("claim mimi://a.example/u/a1 forged", "notAllowed")),
                ("message as another user of its provider", self.rogue_act("as mimi://c.example/u/c2 forged", "notAllowed")),
                ("message as another provider's user", self.rogue_act("as mimi://b.example/u/b1 forged", "403")),
                ("adds a forged client of a participant", self.rogue_act("add mimi://b.example/u/b1", "notAllowed")),
                ("adds a forged new participant", self.rogue_act("list mimi://b.example/u/b9", "notAllowed")),
                ("adds a forged client of the hub's", self.rogue_act("add mimi://a.example/u/a2", "notAllowed")),
                ("renames the room, which its role forbids", self.rogue_act("rename Rogue's own", "notAllowed")),
                ("makes itself an administrator", self.rogue_act("promote", "notAllowed")),
                ("nobody saw that", self.rogue_rules_nothing),
                ("a private part that would be an event of its own", self.rogue_private),
                ("HTML with scripts, links that lie, and mentions of who is not there", self.rogue_markup),
                ("the others talk on", lambda: self.rogue_talk("undisturbed")),
                ("is removed", self.rogue_removed),
                ("commit after its removal", self.rogue_act("late-commit", "wrongEpoch")),
                ("commit after its removal, epoch forged", self.rogue_act("forged-commit", "notAllowed")),
                ("message after its removal", self.rogue_act("late-say forged", "notAllowed")),
                ("nothing of it showed, and it reads no more", self.rogue_ends),
            )),
            *((f"rogue hub: {name}", act) for name, act in (
                ("is followed", self.rogue_hosts),
                ("malformed CBOR in a message", self.rogue_act("tell-garbage", "taken", "b", 1)),
                ("content in another's name", self.rogue_act("tell-claim mimi://a.example/u/a1 forged", "taken", "b", 1)),
                ("the stream goes on", lambda: self.rogue_tells("now a proper one")),
                ("a forged client of the follower's ends the room, visibly",
                 lambda: self.rogue_breaks(f"tell-forged {self.play.mimi('b2')}", ["hello from the hub", "now a proper one"])),
                ("is followed in another room", lambda: self.rogue_hosts("second")),
                ("a change that the room forbids ends it, visibly",
                 lambda: self.rogue_breaks("tell-unlisted", ["hello from the hub"], "rules forbid")),
            )),
            ("a flood of refused connections is counted, not written", self.flood),
        ]

    def case(self, act: Callable[[], Answer], outcomes: tuple[int | str | None, ...], side: str = "b", lines: int = 1,
             stores: int = 0, room: bool = False) -> Callable[[], None]:
        """A test: the outcome is one of these, that many log lines say so, that many rows are new, the gateway lives."""
        def run() -> None:
            silo = self.silos.silos[side]
            if room:
                self.setting()
            rows, before = quiet(silo), len(told(silo))
            answer = act()
            if answer.status not in outcomes:
                wanted = " or ".join("no connection" if status is None else str(status) for status in outcomes)
                raise Wrong(f"answered {answer.status} ({answer.error or answer.body[:200]!r}), wanted {wanted}")
            self.settled(lambda: len(told(silo)) >= before + lines)
            # What came from the homeserver waits in the store for its turn, too; on a slow disk for a while.
            new = set()

            def is_stored() -> bool:
                new.clear()
                new.update((quiet(silo) or set()) - (rows or set()))
                return rows is None or len(new) == stores

            self.settled(is_stored)
            fresh = told(silo)[before:]
            if len(fresh) != lines:
                raise Wrong(f"{len(fresh)} lines in the log instead of {lines}: {fresh}")
            if rows is not None and len(new) != stores:
                raise Wrong(f"{len(new)} new rows in the store instead of {stores}: {sorted(new)[:3]}")
            if not silo.gateway.proc.alive():
                raise Wrong("the gateway ended")
        return run

    def settled(self, look: Callable[[], bool]) -> bool:
        """Waits until something is so; whether it came to be."""
        deadline = time.monotonic() + self.play.patience
        while not (found := look()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return found

    def cut_off(self, good: bytes) -> None:
        for length in range(1, len(good), 4):
            answer = self.attacker.post("requestConsent", good[:length])
            if answer.status != 400:
                raise Wrong(f"cut off at {length} it is answered {answer.status}")

    def setting(self) -> Room:
        """A mirrored room. What its hub, gateway A, sends to B goes through the recorder."""
        if not self._gathered:
            self._gathered = True
            self.recorder = Recorder(self.silos.ports.proxy(0), self.silos.b.gateway.plan.mimi_port,
                                     self.silos.b.gateway.plan.certificate, self.silos.a.gateway.plan.certificate,
                                     self.silos.authority.files.cert, "b.example")
            self.route_through(self.silos.ports.proxy(0))
            self.room = self.play.gather("Bad weather", guests=1)
            self.play.say(self.room, "a1", "stormy today")
        if self.room is None:
            raise Wrong("not possible without a mirrored room")
        return self.room

    def route_through(self, port: int) -> None:
        gateway = self.silos.a.gateway
        gateway.plan.peers["b.example"] = port
        gateway.proc.stop()
        gateway.write_config()
        gateway.proc.start()

    def close(self) -> None:
        """Takes recorder and rogue out again."""
        if self.rogue_itself:
            self.rogue_itself.close()
        if self.recorder:
            self.route_through(self.silos.b.gateway.plan.mimi_port)
            self.recorder.close()

    def a_notify(self) -> Recorded:
        """What A last told B: an application message."""
        self.setting()
        notified = [request for request in self.recorder.of("notify") if request.status == 201] if self.recorder else []
        if not notified:
            raise Wrong("no notify was recorded")
        return notified[-1]

    def as_hub(self, path: str, body: bytes) -> Answer:
        return self.attacker.request(path, body, self.silos.a.gateway.plan.certificate, ("mimi@a.example",))

    def replayed_notify(self) -> None:
        room, notify = self.setting(), self.a_notify()
        rows = quiet(self.silos.b)
        for number in range(40):
            if number == 20:
                self.silos.b.gateway.proc.stop()
                self.silos.b.gateway.proc.start()
            answer = self.as_hub(notify.path, notify.body)
            if answer.status != 201:
                raise Wrong(f"answered {answer.status}, wanted 201")
        if not self.settled(lambda: (quiet(self.silos.b) or set()) <= (rows or set())):
            new = (quiet(self.silos.b) or set()) - (rows or set())
            raise Wrong(f"{len(new)} new rows in the store: {sorted(new)[:3]}")
        self.play.say(room, "a1", "after the replay")
        self.play.say(room, "b1", "and an answer")
        self.play.check(room)  # fails if anything shows twice

    def notify_into_another_room(self) -> Answer:
        notify = self.a_notify()
        return self.as_hub(f"/v1/notify/{quote('mimi://a.example/r/another', safe='')}", notify.body)

    def notify_of_another_group(self) -> Answer:
        """By the hub itself: taken, since what it says is in an MLS message, but nobody is shown anything."""
        notify = self.a_notify()
        return self.as_hub(notify.path, fanout("mimi://a.example/g/another/0"))

    def notify_by_another_peer(self) -> Answer:
        notify = self.a_notify()
        return self.attacker.request(notify.path, notify.body, self.silos.peer)

    def submit_to(self, sender: str, **how) -> Answer:
        """To the room hosted by A, as c.example, which has no part in it."""
        path = self.a_notify().path.replace("/v1/notify/", "/v1/submitMessage/")
        answer = self.attacker.request(path, submission("mimi://a.example/g/another/0", sender), self.silos.peer,
                                       port=self.silos.a.gateway.plan.mimi_port, host="a.example", **how)
        if answer.status == 200 and answer.body[1:] == b"\1":  # SubmitMessageResponse (section 5.4)
            answer.status = "notAllowed"
        return answer

    def ask_into(self, side: str, name: str) -> Answer:
        """As c.example, which has no part in the room: asks somebody into it. Answered as if the user did not exist; all that is
        stored is that c.example has one invitation less for the week."""
        room_uri = unquote(self.a_notify().path.removeprefix("/v1/notify/"))
        body = consent(REQUEST, "mimi://c.example/u/c1", self.play.mimi(name), room=room_uri)
        return self.attacker.post("requestConsent", body, f"{side}.example", host=f"{side}.example",
                                  port=self.silos.silos[side].gateway.plan.mimi_port)

    def nobody_asked(self) -> None:
        for name in ("a2", "b2"):
            person = self.play.person(name)
            ghost = self.play.silo(name).gateway.ghost(PEER, "c1")
            room = self.setting().ids[name[0]]
            if any(seen.invite and (seen.sender == ghost or seen.room == room and name == "b2") for seen in person.seen):
                raise Wrong(f"{name} was invited")

    def hs_token(self) -> str:
        return self.silos.a.gateway.registration["hs_token"]

    def transaction(self, token: str | None, events: list | None = None, query: str | None = None,
                    raw: bytes | None = None) -> Answer:
        gateway, room = self.silos.a.gateway, self.setting()
        if events is None:
            events = [{"type": "m.room.message", "room_id": room.ids["a"], "sender": self.play.person("a1").user,
                       "event_id": f"$forged-{token}", "origin_server_ts": int(time.time() * 1000),
                       "content": {"msgtype": "m.text", "body": "forged"}}]
        connection = http.client.HTTPConnection("127.0.0.1", gateway.plan.appservice_port, timeout=20)
        try:
            headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
            path = f"/_matrix/app/v1/transactions/attack-{time.monotonic_ns()}" + (f"?access_token={query}" if query else "")
            connection.request("PUT", path, raw or json.dumps({"events": events}), headers)
            response = connection.getresponse()
            return Answer(response.status, response.read())
        finally:
            connection.close()

    def stream_goes_on(self) -> None:
        room, silo = self.setting(), self.silos.a
        mine, a1 = room.ids["a"], self.play.person("a1")
        now = int(time.time() * 1000)
        known = [event["event_id"] for event in a1.client.messages(mine) if event["sender"] == a1.user][-1]
        forged = {"type": "m.room.message", "room_id": mine, "sender": a1.user, "origin_server_ts": now,
                  "content": {"msgtype": "m.text", "body": "forged"}}
        malformed = [{"type": 5}, "no object", forged | {"event_id": "$1", "content": []},
                     forged | {"event_id": "$2", "room_id": "nonsense", "origin_server_ts": -1},
                     forged | {"event_id": "$3", "sender": "nobody"}, forged]
        without_effect = [forged | {"event_id": known},
                          forged | {"event_id": "$4", "sender": silo.gateway.ghost("b.example", "b1")},
                          forged | {"event_id": "$5", "sender": silo.gateway.bot}]
        before = len(told(silo))
        answer = self.transaction(self.hs_token(), malformed + without_effect)
        if answer.status != 200:
            raise Wrong(f"a transaction with malformed events was answered {answer.status}")
        self.play.say(room, "a1", "still here")
        self.play.say(room, "b1", "so am I")
        self.play.check(room)  # fails if anything forged shows
        fresh = told(silo)[before:]
        if len(fresh) != len(malformed) or not all("set aside" in line and "total=" in line for line in fresh):
            raise Wrong(f"{len(malformed)} malformed events, but the log says {fresh}")

    def flood(self) -> None:
        before = len(told(self.silos.b))
        for _ in range(100):
            self.attacker.request("/", cert=None)
        self.settled(lambda: any("rest_only_counted" in line for line in told(self.silos.b)))
        lines = told(self.silos.b)[before:]
        if not 1 <= len(lines) <= 20 or not any("rest_only_counted" in line for line in lines + told(self.silos.b)):
            raise Wrong(f"{len(lines)} lines about 100 refused connections")
        if self.attacker.post("requestConsent", b"").status != 400:
            raise Wrong("a peer is not heard after a flood of others")

    # -------------------------------------------------------------------------------- a member who breaks the rules

    C1 = f"mimi://{PEER}/u/c1"

    def rogue_room(self) -> Rogue:
        if self.rogue is None or not self.room:
            raise Wrong("not possible without the rogue in the room")
        return self.rogue

    def rogue_sees(self, reader: str, body: str) -> None:
        """`reader` sees it from the rogue's ghost."""
        seen = self.play.person(reader).wait_text(self.play.here(self.setting(), reader), body, self.play.patience)
        ghost = self.play.silo(reader).gateway.ghost(PEER, "c1")
        if seen.sender != ghost:
            raise Wrong(f"{reader} sees {body!r} from {seen.sender} instead of {ghost}")

    def rogue_starts(self) -> Rogue:
        if self.rogue_itself is None:
            self.rogue_itself = Rogue(self.silos)
        return self.rogue_itself

    def rogue_declines(self) -> None:
        """A provider that says no, which the draft lets it do: A1 is told, and the ghost is not invited any more."""
        room, a1, ghost = self.setting(), self.play.person("a1"), self.silos.a.gateway.ghost(PEER, "c8")
        rogue, mark = self.rogue_starts(), a1.mark()
        a1.client.invite(room.ids["a"], ghost)
        rogue.do(f"decline mimi://{PEER}/u/c8")
        words = f"c8 ({PEER}) does not agree to be added to this room."
        a1.wait("to be told", lambda seen: seen.room == room.ids["a"] and seen.body == words, self.play.patience, mark)
        gone = a1.wait_member(room.ids["a"], ghost, "leave", self.play.patience, mark)
        if gone.content.get("reason") != words:
            raise Wrong(f"the ghost declines with {gone.content}")

    def rogue_rules_nothing(self) -> None:
        """The room's name and the rogue's level are what they were, at the hub and at the follower."""
        room = self.setting()
        self.rogue_talk("unruled")
        for name in ("a1", "b1"):
            client, here = self.play.person(name).client, self.play.here(room, name)
            title = client.state_content(here, "m.room.name")["name"]
            level = client.state_content(here, "m.room.power_levels")["users"].get(self.play.silo(name).gateway.ghost(PEER, "c1"), 0)
            changes = [event for event in client.messages(here) if event["type"] == "m.room.name" and "Rogue" in str(event)]
            if changes or "Rogue" in title or level != 0:
                raise Wrong(f"{name} sees the room {title!r}, and the rogue with level {level}: {changes}")

    def rogue_joins(self) -> None:
        room, rogue = self.setting(), self.rogue_starts()
        self.play.command(room.ids["a"], "a1", f"!mimi invite {self.C1}")
        members = rogue.do(f"join {self.C1}")["members"]
        if not {self.C1, self.play.mimi("a1"), self.play.mimi("b1")} <= set(members):
            raise Wrong(f"the rogue joined, but the members are {members}")
        self.rogue = rogue
        self.rogue_says("good day from c")

    def rogue_says(self, text: str) -> None:
        answer = self.rogue_room().do(f"say {text}")
        if answer["answer"] != "accepted":
            raise Wrong(f"a proper message was answered {answer}")
        for reader in ("a1", "b1"):
            self.rogue_sees(reader, text)

    def rogue_act(self, command: str, wanted: str, side: str = "a", stores: int = 0) -> Callable[[], None]:
        def act() -> Answer:
            answer = self.rogue_room().do(command)
            outcome = answer["answer"]
            return Answer(wanted if outcome == wanted or outcome.startswith(wanted + " ") else outcome, str(answer).encode())

        def run() -> None:
            self.rogue_room()
            self.case(act, (wanted,), side, stores=stores)()
        return run

    def rogue_beside(self, part: dict) -> list[dict]:
        """Says something in a form of the rogue's choice, and then a proper message: what A1 and B1 are shown between."""
        room = self.setting()
        marks = {name: self.play.person(name).mark() for name in ("a1", "b1")}
        answer = self.rogue_room().do(f"beside {json.dumps(part)}")
        if answer["answer"] != "accepted":
            raise Wrong(f"the message was answered {answer}")
        self.rogue_count += 1
        self.rogue_says(f"so much for that, {self.rogue_count}")
        shown = []
        for name, mark in marks.items():
            ghost = self.play.silo(name).gateway.ghost(PEER, "c1")
            found = [seen.event for seen in self.play.person(name).seen[mark:]
                     if seen.room == self.play.here(room, name) and seen.sender == ghost]
            if len(found) != 2:
                raise Wrong(f"{name} was shown {found}")
            shown.append(found[0])
        return shown

    def rogue_private(self) -> None:
        """c.example is no gateway by the settings of A and B: of what it says there is a text, and nothing else."""
        for kind, more in (("m.room.message", {"m.mentions": {"room": True}}), ("m.room.member", {"membership": "ban"}),
                           ("org.example.dice", {"sides": 6}), ("m.reaction", {"m.relates_to": {"rel_type": "m.annotation"}})):
            text = f"a forged {kind}"
            event = {"type": kind, "content": {"body": text} | more}
            part = {"type": "application/vnd.mimi-gateway.matrix-event+json", "content": json.dumps(event), "text": text}
            for shown in self.rogue_beside(part):
                content = {key: value for key, value in shown["content"].items() if key != "im.mimi-gateway.message"}
                if shown["type"] != "m.room.message" or content != {"msgtype": "m.text", "body": text, "m.mentions": {}}:
                    raise Wrong(f"a private part of a stranger made {shown}")

    def rogue_markup(self) -> None:
        """It is cleaned; the link says where it leads; who is in the room is rung, nobody else."""
        absent, present = self.play.mimi("b2"), self.play.mimi("b1")
        html = ('<p>free<script>alert(1)</script> <img src="https://evil.example/x" onerror="alert(1)">'
                '<a href="javascript:alert(1)">money</a> <a href="https://evil.example/">https://bank.example/</a> '
                f'<a href="{present}">b1</a> <a href="{absent}">b2</a> @room \u202eexe.txt</p>')
        for name, shown in zip(("a1", "b1"), self.rogue_beside({"type": "text/html", "content": html})):
            content = shown["content"]
            markup = content.get("formatted_body", "")
            for bad in ("<script", "<img", "onerror", "javascript:", "alert(1)</"):
                if bad in markup:
                    raise Wrong(f"{name} is shown {bad!r}: {markup}")
            if "evil.example" not in re.sub("<[^>]*>", "", markup):
                raise Wrong(f"the link's text lies, and nothing says so: {markup}")
            if content["m.mentions"] != {"user_ids": [self.play.as_seen_by(name, "b1")]}:
                raise Wrong(f"{name} sees mentions of {content['m.mentions']}")
            for text in (content["body"], markup):
                if text.count("\u202e") != text.count("\u202c"):
                    raise Wrong(f"what turns letters around is not ended: {text!r}")

    def rogue_hosts(self, name: str = "rogues") -> None:
        """B1 follows a room of the rogue's."""
        b1, ghost = self.play.person("b1"), self.silos.b.gateway.ghost(PEER, "c1")
        mark = b1.mark()
        self.rogue_room().do(f"ask {self.play.mimi('b1')} {name}")
        invite = b1.wait_invite("an invite of the rogue", lambda seen: seen.sender == ghost, self.play.patience, mark)
        b1.client.join(invite.room)
        # B1 consented to the rogue. Another provider that asks for the same room gets nothing of it.
        claim = consent(REQUEST, "mimi://a.example/u/a1", self.play.mimi("b1"), room=f"mimi://{PEER}/r/{name}")
        self.case(lambda: self.as_hub("/v1/requestConsent/b.example", claim), (201,), stores=1)()
        self.rogue_room().do("welcome")
        self.den = invite.room
        self.rogue_tells("hello from the hub")

    def rogue_tells(self, text: str) -> None:
        if not self.den:
            raise Wrong("not possible without a room of the rogue's")
        self.rogue_room().do(f"tell {text}")
        seen = self.play.person("b1").wait_text(self.den, text, self.play.patience)
        ghost = self.silos.b.gateway.ghost(PEER, "c1")
        if seen.sender != ghost:
            raise Wrong(f"b1 sees {text!r} from {seen.sender} instead of {ghost}")

    def rogue_breaks(self, command: str, heard: list[str], why: str = "") -> None:
        """A follower cannot refuse what its hub did: the room is over, which people and operator are told."""
        b1, bot = self.play.person("b1"), self.silos.b.gateway.bot
        mark, before = b1.mark(), len(told(self.silos.b))
        self.rogue_room().do(command)
        b1.wait("a notice that the room is over", lambda seen: seen.room == self.den and seen.sender == bot
                and "not connected any more" in seen.body and why in seen.body, self.play.patience, mark)
        self.rogue_room().do("tell after the forgery")
        self.settled(lambda: len(told(self.silos.b)) >= before + 2)
        quiet(self.silos.b)
        fresh = told(self.silos.b)[before:]
        if len(fresh) != 2 or "broken" not in fresh[0] or "broken room" not in fresh[1]:
            raise Wrong(f"the log says {fresh}")
        events = b1.client.messages(self.den)
        shown = [event["content"].get("body") for event in events
                 if event["type"] == "m.room.message" and event["sender"] != bot]
        if shown != heard:
            raise Wrong(f"b1 was shown {shown}")

    def rogue_talk(self, word: str) -> None:
        """Everybody still hears everybody."""
        room = self.setting()
        self.rogue_says(f"{word}, says c")
        for name in ("a1", "b1"):
            self.play.say(room, name, f"{word}, says {name}")
        self.rogue_hears(f"{word}, says b1")

    def rogue_hears(self, text: str) -> None:
        deadline = time.monotonic() + self.play.patience
        while True:
            heard = self.rogue_room().do("heard")
            if any(text in line["text"] for line in heard["heard"]):
                return
            if time.monotonic() > deadline:
                raise Wrong(f"the rogue did not hear {text!r}: {heard['trouble']}")
            time.sleep(0.05)

    def rogue_removed(self) -> None:
        rogue, room = self.rogue_room(), self.setting()
        self.play.person("a1").client.kick(room.ids["a"], self.silos.a.gateway.ghost(PEER, "c1"))
        rogue.do("removed")

    def rogue_ends(self) -> None:
        rogue, room = self.rogue_room(), self.setting()
        for name in ("a1", "b1"):
            self.play.say(room, name, f"among ourselves, says {name}")
        heard = rogue.do("heard")
        if any("among ourselves" in line["text"] for line in heard["heard"]) or heard["trouble"]:
            raise Wrong(f"the rogue still hears: {heard}")
        for name in ("a1", "b1"):
            ghost = self.play.silo(name).gateway.ghost(PEER, "c1")
            events = self.play.person(name).client.messages(self.play.here(room, name))
            shown = [event["content"].get("body") for event in events
                     if event["type"] == "m.room.message" and event["sender"] == ghost]
            if (shown[0], shown[-1]) != ("good day from c", "undisturbed, says c") or "forged" in shown:
                raise Wrong(f"{name} was shown {shown}")

"""What bad input gets, from outside: requests of a provider `c.example` with its own certificate, with wrong ones, and of
somebody who guesses the homeserver's token. Each is refused with the right status and leaves a line in the log."""

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from silos.certs import Authority, Pair
from silos.play import Play, Room, Wrong
from silos.recorder import Recorded, Recorder
from silos.stage import PEER, Silos

# draft-ietf-mimi-protocol-06 section 5: endpoint and what stands in its path.
ENDPOINTS = {
    "keyMaterial": "mimi://b.example/u/b1", "update": "mimi://b.example/r/none", "submitMessage": "mimi://b.example/r/none",
    "notify": "mimi://a.example/r/none", "groupInfo": "mimi://b.example/r/none", "requestConsent": "b.example",
    "updateConsent": "b.example",
}
REQUEST, GRANT = 1, 2


def vector(data: bytes) -> bytes:
    """A variable-size vector of the TLS presentation language (RFC 9420 section 2.1.2)."""
    if len(data) < 64:
        return bytes([len(data)]) + data
    return (0x4000 | len(data)).to_bytes(2, "big") + data


def consent(operation: int, requester: str, target: str, key_packages: bytes = b"") -> bytes:
    """A ConsentEntry (section 5.7) for no particular room."""
    body = bytes([operation]) + vector(requester.encode()) + vector(target.encode()) + b"\0"
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


@dataclass
class Answer:
    status: int | None  # None: the connection did not come about, or ended without an answer
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
        self.name_only = issue("c-common-name-only", [], common_name=PEER)

    def request(self, path: str, body: bytes = b"", cert: Pair | None = None, froms: tuple[str, ...] = (f"mimi@{PEER}",),
                method: str = "POST", headers: dict[str, str] | None = None, claim: int | None = None,
                port: int | None = None, host: str = "b.example") -> Answer:
        """One request on an own connection. `claim` is a Content-Length that nothing follows."""
        port = port or self.port
        context = ssl.create_default_context(cafile=str(self.silos.authority.files.cert))
        if cert is not None:
            context.load_cert_chain(cert.cert, cert.key)
        connection = http.client.HTTPConnection(host, port, timeout=20)
        try:
            connection.sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10), server_hostname=host)
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
        self._gathered = False
        at, good = self.attacker, consent(REQUEST, "mimi://c.example/u/c1", "mimi://b.example/u/nobody-here")
        refused = (None,)
        self.cases: list[tuple[str, Callable[[], None]]] = [
            ("no certificate", self.case(lambda: at.post("requestConsent", good, cert=None), refused)),
            ("certificate of a strange authority", self.case(lambda: at.post("requestConsent", good, cert=at.foreign), refused)),
            ("expired certificate", self.case(lambda: at.post("requestConsent", good, cert=at.expired), refused)),
            ("certificate with the name in the subject only",
             self.case(lambda: at.post("requestConsent", good, cert=at.name_only), (None, 403))),
            ("unknown peer", self.case(lambda: at.post("requestConsent", good, cert=at.unknown, froms=("mimi@d.example",)),
                                       (None, 403))),
            ("forged From", self.case(lambda: at.post("requestConsent", good, froms=("mimi@a.example",)), (403,))),
            ("no From", self.case(lambda: at.post("requestConsent", good, froms=()), (400,))),
            ("two From", self.case(lambda: at.post("requestConsent", good, froms=(f"mimi@{PEER}", "mimi@a.example")), (400,))),
            ("display-name From", self.case(lambda: at.post("requestConsent", good, froms=(f"C <mimi@{PEER}>",)), (400,))),
            *((f"malformed body to {name}", self.case(lambda name=name: at.post(name, b"\xff" * 48), (400,)))
              for name in ENDPOINTS),
            *((f"empty body to {name}", self.case(lambda name=name: at.post(name, b""), (400,))) for name in ENDPOINTS),
            ("trailing bytes", self.case(lambda: at.post("requestConsent", good + b"\0"), (400,))),
            ("truncated body", self.case(lambda: at.post("requestConsent", good[:-1]), (400,))),
            # Closing with unread bytes may cost the client the answer; with a claim alone it always comes.
            ("oversized body", self.case(lambda: at.post("notify", b"\0" * (17 << 20)), (413, None))),
            ("oversized body announced", self.case(lambda: at.post("notify", b"", claim=17 << 20), (413,))),
            ("lying Content-Length", self.case(lambda: at.post("notify", b"", claim=1 << 40), (413,))),
            ("compressed body", self.case(lambda: at.post("requestConsent", good, headers={"Content-Encoding": "gzip"}), (415,))),
            ("no such endpoint", self.case(lambda: at.request("/v1/nonsense/x", b"", self.silos.peer), (404,))),
            ("wrong method", self.case(lambda: at.request("/v1/notify/x", b"", self.silos.peer, method="PUT"), (405,))),
            ("path that is no room", self.case(lambda: at.post("notify", b"", "mimi://b.example/u/b1"), (400,))),
            ("consent asked in another domain's name",
             self.case(lambda: at.post("requestConsent", consent(REQUEST, "mimi://a.example/u/a1", "mimi://b.example/u/b1")), (403,))),
            ("consent asked of a third domain",
             self.case(lambda: at.post("requestConsent", consent(REQUEST, "mimi://c.example/u/c1", "mimi://a.example/u/a1")),
                       (400, 403, 404))),
            ("domain in the path is not the one in the body",
             self.case(lambda: at.post("requestConsent", good, "a.example"), (400, 403, 404))),
            ("consent granted in the name of our own user",
             self.case(lambda: at.post("updateConsent", consent(GRANT, "mimi://c.example/u/c1", "mimi://b.example/u/b1")), (403,))),
            ("notify for a room that is not known here",
             self.case(lambda: at.post("notify", fanout("mimi://c.example/g/none/0"), "mimi://c.example/r/none"), (403, 404))),
            ("notify by a peer that is not the room's hub", self.case(self.notify_by_another_peer, (403,))),
            ("room in the path is not the room in the body", self.case(self.notify_into_another_room, (400, 403, 404))),
            ("message submitted to a room by a stranger", self.case(lambda: self.submit_to("mimi://c.example/u/c1"), (403, 404), "a")),
            ("message submitted in the name of another provider's user",
             self.case(lambda: self.submit_to("mimi://b.example/u/b1"), (403, 404), "a")),
            ("replayed notify is answered 201 and shows nothing twice", self.replayed_notify),
            ("transaction without token", self.case(lambda: self.transaction(None), (401,), side="a")),
            ("transaction with a wrong token", self.case(lambda: self.transaction("wrong"), (403,), side="a")),
            ("forged events never show, a malformed one does not stop the stream", self.stream_goes_on),
        ]

    def case(self, act: Callable[[], Answer], statuses: tuple[int | None, ...], side: str = "b") -> Callable[[], None]:
        def run() -> None:
            gateway = self.silos.silos[side].gateway
            before = len(gateway.log_text().splitlines())
            answer = act()
            if answer.status not in statuses:
                wanted = " or ".join("no connection" if status is None else str(status) for status in statuses)
                raise Wrong(f"answered {answer.status} ({answer.error or answer.body[:200]!r}), wanted {wanted}")
            deadline = time.monotonic() + 3
            while len(gateway.log_text().splitlines()) <= before:
                if time.monotonic() > deadline:
                    raise Wrong("no line in the gateway's log")
                time.sleep(0.02)
            if not gateway.proc.alive():
                raise Wrong("the gateway ended")
        return run

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
        """Takes the recorder out again."""
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
        for _ in range(3):
            answer = self.as_hub(notify.path, notify.body)
            if answer.status != 201:
                raise Wrong(f"answered {answer.status}, wanted 201")
        self.play.say(room, "a1", "after the replay")
        self.play.say(room, "b1", "and an answer")
        self.play.check(room)  # fails if anything shows twice

    def notify_into_another_room(self) -> Answer:
        notify = self.a_notify()
        return self.as_hub(f"/v1/notify/{quote('mimi://a.example/r/another', safe='')}", notify.body)

    def notify_by_another_peer(self) -> Answer:
        notify = self.a_notify()
        return self.attacker.request(notify.path, notify.body, self.silos.peer)

    def submit_to(self, sender: str, **how) -> Answer:
        """To the room hosted by A, as c.example, which has no part in it."""
        path = self.a_notify().path.replace("/v1/notify/", "/v1/submitMessage/")
        answer = self.attacker.request(path, submission("mimi://a.example/g/another/0", sender), self.silos.peer,
                                       port=self.silos.a.gateway.plan.mimi_port, host="a.example", **how)
        if answer.status == 200:  # notAllowed(1) is as good as a status (section 5.4)
            answer.status = 403 if answer.body[1:2] == b"\1" else 200
        return answer

    def transaction(self, token: str | None, events: list | None = None) -> Answer:
        gateway, room = self.silos.a.gateway, self.setting()
        if events is None:
            events = [{"type": "m.room.message", "room_id": room.ids["a"], "sender": self.play.person("a1").user,
                       "event_id": f"$forged-{token}", "origin_server_ts": int(time.time() * 1000),
                       "content": {"msgtype": "m.text", "body": "forged"}}]
        connection = http.client.HTTPConnection("127.0.0.1", gateway.plan.appservice_port, timeout=20)
        try:
            headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
            path = f"/_matrix/app/v1/transactions/attack-{time.monotonic_ns()}"
            connection.request("PUT", path, json.dumps({"events": events}), headers)
            response = connection.getresponse()
            return Answer(response.status, response.read())
        finally:
            connection.close()

    def stream_goes_on(self) -> None:
        room = self.setting()
        odd = [{"type": 5}, "no object", {"type": "m.room.message", "room_id": room.ids["a"], "content": []},
               {"type": "m.room.message", "room_id": "nonsense", "event_id": "$x", "sender": "nobody", "origin_server_ts": -1,
                "content": {}}]
        answer = self.transaction(self.silos.a.gateway.registration["hs_token"], odd)
        if answer.status != 200:
            raise Wrong(f"a transaction with malformed events was answered {answer.status}")
        self.play.say(room, "a1", "still here")
        self.play.say(room, "b1", "so am I")
        self.play.check(room)  # fails if anything forged shows

"""A small Matrix client, standard library only: what a person's client does, and no more.

`Client` makes calls; `Watcher` is one user's open client: it long-polls `/sync` and remembers what was shown, and when.
"""

import hashlib
import hmac
import http.client
import itertools
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode, urlsplit


class MatrixError(Exception):
    """The homeserver said no."""

    def __init__(self, status: int, body: dict, what: str):
        self.status, self.errcode = status, body.get("errcode", "")
        super().__init__(f"{what}: {status} {self.errcode} {body.get('error', '')}")


class Unreachable(Exception):
    """No answer: the homeserver is down, or went down while we waited. The call may have had its effect."""


_NETWORK = (OSError, http.client.HTTPException)


class Connections:
    """One kept-alive connection per thread."""

    def __init__(self, url: str):
        parts = urlsplit(url)
        self.host, self.port = parts.hostname, parts.port
        self._local = threading.local()

    def request(self, method: str, path: str, body: bytes | None, headers: dict, seconds: float) -> tuple[int, bytes]:
        connection = getattr(self._local, "connection", None)
        fresh = connection is None
        if fresh:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=seconds)
            self._local.connection = connection
        try:
            if connection.sock is not None:
                connection.sock.settimeout(seconds)
            connection.timeout = seconds
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except _NETWORK as error:
            connection.close()
            self._local.connection = None
            if not fresh and isinstance(error, (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError)) \
                    and method in ("GET", "PUT"):  # an idle connection that the server closed; these two are safe to repeat
                return self.request(method, path, body, headers, seconds)
            raise Unreachable(f"{method} {path.split('?')[0]}: {error!r}") from error


class Client:
    """Calls as one user (or, with `masquerade`, as a user of an application service)."""

    def __init__(self, url: str, user: str = "", token: str = "", masquerade: str | None = None, device: str | None = None):
        self.url, self.user, self.token = url, user, token
        self._as = {"user_id": masquerade} if masquerade else {}
        if device and masquerade:
            self._as["device_id"] = device
        self._connections = Connections(url)
        self._txn = itertools.count(1)
        self._prefix = secrets.token_hex(4)

    # ------------------------------------------------------------------------------------------------- calls

    def call(self, method: str, path: str, body: dict | None = None, query: dict | None = None, seconds: float = 30.0) -> dict:
        query = {**(query or {}), **self._as}
        target = path + ("?" + urlencode(query) if query else "")
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = json.dumps(body).encode() if body is not None else (b"{}" if method != "GET" else None)
        status, raw = self._connections.request(method, target, data, headers, seconds)
        try:
            answer = json.loads(raw) if raw else {}
        except ValueError:
            answer = {"error": raw[:200].decode(errors="replace")}
        if status // 100 != 2:
            raise MatrixError(status, answer, f"{method} {path}")
        return answer

    def redact(self, room: str, event: str) -> None:
        self.call("PUT", f"/_matrix/client/v3/rooms/{quote(room)}/redact/{quote(event)}/{self.next_txn()}", {})

    def upload(self, data: bytes, kind: str, name: str = "") -> str:
        """A file of the client's; its `mxc:` URI."""
        target = "/_matrix/media/v3/upload" + ("?" + urlencode({"filename": name}) if name else "")
        headers = {"Content-Type": kind, "Authorization": f"Bearer {self.token}"}
        status, raw = self._connections.request("POST", target, data, headers, 120)
        if status != 200:
            raise MatrixError(status, json.loads(raw), "upload")
        return json.loads(raw)["content_uri"]

    def download(self, mxc: str) -> bytes:
        """A file that an event names."""
        target = f"/_matrix/client/v1/media/download/{mxc.removeprefix('mxc://')}"
        status, raw = self._connections.request("GET", target, None, {"Authorization": f"Bearer {self.token}"}, 120)
        if status != 200:
            raise MatrixError(status, json.loads(raw), f"download {mxc}")
        return raw

    def persist(self, call: Callable[[], dict], seconds: float) -> dict:
        """Repeats a call that is safe to repeat until the homeserver answers, as a client with a queue does."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return call()
            except Unreachable:
                if time.monotonic() > deadline:
                    raise
            except MatrixError as error:
                if error.status < 500 and error.status != 429 or time.monotonic() > deadline:
                    raise
            time.sleep(0.2)

    def next_txn(self) -> str:
        return f"{self._prefix}-{next(self._txn)}"

    # ------------------------------------------------------------------------------------------------- rooms

    def create_room(self, **options) -> str:
        return self.call("POST", "/_matrix/client/v3/createRoom", options, seconds=60)["room_id"]

    def create_direct(self, *users: str) -> str:
        return self.create_room(preset="trusted_private_chat", is_direct=True, invite=list(users))

    def invite(self, room: str, user: str) -> None:
        self.call("POST", f"/_matrix/client/v3/rooms/{quote(room)}/invite", {"user_id": user})

    def join(self, room: str) -> str:
        return self.call("POST", f"/_matrix/client/v3/join/{quote(room)}", {}, seconds=60)["room_id"]

    def leave(self, room: str) -> None:
        self.call("POST", f"/_matrix/client/v3/rooms/{quote(room)}/leave", {})

    def report(self, room: str, event: str, reason: str) -> None:
        """The client's own "report content"."""
        self.call("POST", f"/_matrix/client/v3/rooms/{quote(room)}/report/{quote(event)}", {"reason": reason})

    def find_third_party(self, **fields: str) -> list[dict]:
        """The client's look-up of users of other networks. Nobody: an empty list."""
        try:
            return self.call("GET", "/_matrix/client/v3/thirdparty/user/mimi", query=fields)
        except MatrixError as error:
            if error.status == 404:
                return []
            raise

    def kick(self, room: str, user: str, reason: str = "") -> None:
        self.call("POST", f"/_matrix/client/v3/rooms/{quote(room)}/kick", {"user_id": user, "reason": reason})

    def ban(self, room: str, user: str) -> None:
        self.call("POST", f"/_matrix/client/v3/rooms/{quote(room)}/ban", {"user_id": user})

    def unban(self, room: str, user: str) -> None:
        self.call("POST", f"/_matrix/client/v3/rooms/{quote(room)}/unban", {"user_id": user})

    def set_state(self, room: str, kind: str, content: dict, key: str = "") -> str:
        return self.call("PUT", f"/_matrix/client/v3/rooms/{quote(room)}/state/{kind}/{quote(key)}", content)["event_id"]

    def state(self, room: str) -> list[dict]:
        return self.call("GET", f"/_matrix/client/v3/rooms/{quote(room)}/state")

    def state_content(self, room: str, kind: str, key: str = "") -> dict | None:
        try:
            return self.call("GET", f"/_matrix/client/v3/rooms/{quote(room)}/state/{kind}/{quote(key)}")
        except MatrixError as error:
            if error.status == 404:
                return None
            raise

    def members(self, room: str) -> dict[str, dict]:
        """User id to `m.room.member` content."""
        chunk = self.call("GET", f"/_matrix/client/v3/rooms/{quote(room)}/members")["chunk"]
        return {event["state_key"]: event["content"] for event in chunk}

    def membership(self, room: str, user: str) -> str:
        return (self.members(room).get(user) or {}).get("membership", "")

    # ---------------------------------------------------------------------------------------------- messages

    def send(self, room: str, text: str, html: str | None = None, txn: str | None = None, seconds: float = 0.0,
             kind: str = "m.room.message", ts: int | None = None, more: dict | None = None) -> str:
        """Sends a text message, with `more` in its content. With `seconds`, goes on trying with the same transaction id for that
        long."""
        content = {"msgtype": "m.text", "body": text} | (more or {})
        if html is not None:
            content |= {"format": "org.matrix.custom.html", "formatted_body": html}
        path = f"/_matrix/client/v3/rooms/{quote(room)}/send/{kind}/{quote(txn or self.next_txn())}"
        query = {"ts": ts} if ts is not None else None
        return self.persist(lambda: self.call("PUT", path, content, query), seconds)["event_id"]

    def messages(self, room: str, page: int = 500, seconds: float = 30.0) -> list[dict]:
        """The whole timeline that this user may read, oldest first, by paging `/messages` backwards."""
        events: list[dict] = []
        start = None
        while True:
            query = {"dir": "b", "limit": page} | ({"from": start} if start else {})
            path = f"/_matrix/client/v3/rooms/{quote(room)}/messages"
            answer = self.persist(lambda: self.call("GET", path, query=query), seconds)
            events += answer["chunk"]
            start = answer.get("end")
            if not start:
                return events[::-1]

    def sync(self, since: str | None = None, wait_ms: int = 0) -> dict:
        limits = json.dumps({"room": {"timeline": {"limit": 1000}}, "presence": {"not_types": ["*"]}})
        query = {"timeout": wait_ms, "filter": limits, "set_presence": "offline"} | ({"since": since} if since else {})
        return self.call("GET", "/_matrix/client/v3/sync", query=query, seconds=wait_ms / 1000 + 30)


def register(url: str, secret: str, name: str, password: str, displayname: str | None = None, admin: bool = False) -> Client:
    """Registers with the server's shared secret and answers a logged-in client."""
    anonymous = Client(url)
    nonce = anonymous.call("GET", "/_synapse/admin/v1/register")["nonce"]
    mac = hmac.new(secret.encode(), "\0".join([nonce, name, password, "admin" if admin else "notadmin"]).encode(), hashlib.sha1)
    answer = anonymous.call("POST", "/_synapse/admin/v1/register", {
        "nonce": nonce, "username": name, "password": password, "admin": admin, "mac": mac.hexdigest()})
    client = Client(url, answer["user_id"], answer["access_token"])
    if displayname:
        client.call("PUT", f"/_matrix/client/v3/profile/{quote(client.user)}/displayname", {"displayname": displayname})
    return client


def register_open(url: str, name: str, password: str) -> Client:
    """Registers as a stranger's client would where registration is open."""
    answer = Client(url).call("POST", "/_matrix/client/v3/register", {
        "username": name, "password": password, "auth": {"type": "m.login.dummy"}})
    return Client(url, answer["user_id"], answer["access_token"])


def login(url: str, name: str, password: str) -> Client:
    answer = Client(url).call("POST", "/_matrix/client/v3/login", {
        "type": "m.login.password", "identifier": {"type": "m.id.user", "user": name}, "password": password})
    return Client(url, answer["user_id"], answer["access_token"])


# ------------------------------------------------------------------------------------------------------ watching


@dataclass
class Seen:
    """An event on a user's screen."""

    room: str
    event: dict
    at: float  # time.monotonic()
    invite: bool = False

    @property
    def sender(self) -> str:
        return self.event.get("sender", "")

    @property
    def kind(self) -> str:
        return self.event.get("type", "")

    @property
    def content(self) -> dict:
        return self.event.get("content", {})

    @property
    def body(self) -> str:
        return self.content.get("body", "") if self.kind == "m.room.message" else ""


class NotSeen(Exception):
    """What should have appeared on a user's screen did not, in time."""


@dataclass
class Watcher:
    """A user with an open client. Every event that `/sync` brings is kept with its arrival time."""

    client: Client
    name: str
    seen: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._since: str | None = None
        self._known: set[str] = set()
        self.resume()

    @property
    def user(self) -> str:
        return self.client.user

    def resume(self) -> None:
        """Opens the client (again); it goes on where it stopped."""
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=f"sync {self.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops watching, without waiting for the poll under way."""
        self._ended = True

    def stop(self) -> None:
        """Stops watching; no poll is under way afterwards."""
        self._ended = True
        self._thread.join()

    def _run(self) -> None:
        known = self._known
        while not self._ended:
            since = self._since
            try:
                answer = self.client.sync(since, 10_000 if since else 0)
            except (Unreachable, MatrixError):
                time.sleep(0.1)  # the homeserver is down: come back in a moment, as clients do
                continue
            self._since = answer["next_batch"]
            now = time.monotonic()
            fresh = []
            rooms = answer.get("rooms", {})
            for room, part in rooms.get("invite", {}).items():
                fresh += [Seen(room, event, now, True) for event in part.get("invite_state", {}).get("events", [])]
            for section in ("join", "leave"):
                for room, part in rooms.get(section, {}).items():
                    events = part.get("state", {}).get("events", []) + part.get("timeline", {}).get("events", [])
                    for event in events:
                        if event.get("event_id") not in known:
                            known.add(event.get("event_id"))
                            fresh.append(Seen(room, event, now))
            if fresh:
                with self._changed:
                    self.seen += fresh
                    self._changed.notify_all()

    def wait(self, what: str, wanted: Callable[[Seen], bool], seconds: float = 30.0, start: int = 0) -> Seen:
        """The first event, from number `start` on, that is wanted; waits for it."""
        deadline = time.monotonic() + seconds
        position = start
        with self._changed:
            while True:
                while position < len(self.seen):
                    if wanted(self.seen[position]):
                        return self.seen[position]
                    position += 1
                left = deadline - time.monotonic()
                if left <= 0:
                    raise NotSeen(f"{self.name} did not see {what} within {seconds:.0f} s")
                self._changed.wait(left)

    def mark(self) -> int:
        """A position to give to `wait` as `start`: only what comes later counts."""
        with self._changed:
            return len(self.seen)

    def wait_invite(self, what: str, wanted: Callable[[Seen], bool] = lambda _: True, seconds: float = 30.0, start: int = 0) -> Seen:
        """The member event of an invite for this user."""
        return self.wait(what, lambda seen: seen.invite and seen.kind == "m.room.member" and wanted(seen)
                         and seen.event.get("state_key") == self.user and seen.content.get("membership") == "invite",
                         seconds, start)

    def wait_text(self, room: str, body: str, seconds: float = 30.0, start: int = 0) -> Seen:
        return self.wait(f"the message {body!r}", lambda seen: seen.room == room and seen.body == body, seconds, start)

    def wait_member(self, room: str, user: str, membership: str, seconds: float = 30.0, start: int = 0) -> Seen:
        return self.wait(f"{user} with membership {membership!r}",
                         lambda seen: seen.room == room and not seen.invite and seen.kind == "m.room.member"
                         and seen.event.get("state_key") == user and seen.content.get("membership") == membership,
                         seconds, start)

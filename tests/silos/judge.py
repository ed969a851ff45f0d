"""Judges a conversation from what homeservers return from `/messages`: pure functions, no network."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from .gateway import ghost_localpart


@dataclass(frozen=True)
class Line:
    """One message as a homeserver tells it."""

    who: str  # MIMI URI of the sender
    body: str
    html: str
    ts: int  # origin_server_ts, milliseconds
    remote: bool  # sent by a ghost
    accepted: int = 0  # when the hub accepted it, as the gateway notes in the ghost's event; milliseconds


def mimi_uri(matrix_id: str, own_domain: str, domains: Iterable[str]) -> tuple[str, bool]:
    """The MIMI user behind a Matrix id of the silo `own_domain`, and whether it is a ghost."""
    localpart = matrix_id[1:].split(":", 1)[0]
    for domain in domains:
        prefix = ghost_localpart(domain, "")
        if localpart.startswith(prefix):
            return f"mimi://{domain}/u/{localpart[len(prefix):]}", True
    return f"mimi://{own_domain}/u/{localpart}", False


def lines(events: list[dict], own_domain: str, domains: Iterable[str], bot: str) -> list[Line]:
    """The messages of people in a timeline (oldest first); the bot's and those meant for it on this side are left out."""
    found = []
    for event in events:
        content = event.get("content", {})
        if event.get("type") != "m.room.message" or "body" not in content or event["sender"] == bot:
            continue
        who, remote = mimi_uri(event["sender"], own_domain, domains)
        if not remote and content["body"].startswith("!mimi"):
            continue
        origin = content.get("im.mimi-gateway.message", {})
        if remote and content.get("msgtype") == "m.notice" and "id" not in origin:
            continue  # the gateway's own words, where it has no other voice
        accepted = origin.get("accepted", 0)
        html = content.get("formatted_body", "")
        found.append(Line(who, content["body"], html, event["origin_server_ts"], remote, accepted))
    return found


def once(timeline: list[Line], expected: Iterable[tuple[str, str]], allowed: Iterable[tuple[str, str]] = ()) -> list[str]:
    """What is wrong if every expected (sender, body) must stand in the timeline exactly once, and nothing else that is not
    allowed (which may stand there once)."""
    expected, allowed = set(expected), set(allowed)
    count = Counter((line.who, line.body) for line in timeline)
    wrong = [f"lost: {who} {body!r}" for who, body in sorted(expected) if not count[who, body]]
    wrong += [f"{number} times: {who} {body!r}" for (who, body), number in sorted(count.items()) if number > 1]
    wrong += [f"from nowhere: {who} {body!r}" for who, body in sorted(count) if (who, body) not in expected | allowed]
    return wrong


def sender_order(timeline: list[Line], spoken: dict[str, list[str]]) -> list[str]:
    """What is wrong if each sender's messages must stand in the order in which they were sent."""
    place = {(who, body): number for who, bodies in spoken.items() for number, body in enumerate(bodies)}
    last: dict[str, tuple[int, str]] = defaultdict(lambda: (-1, ""))
    wrong = []
    for line in timeline:
        number = place.get((line.who, line.body))
        if number is None:
            continue
        if number < last[line.who][0]:
            wrong.append(f"order of {line.who}: {line.body!r} after {last[line.who][1]!r}")
        last[line.who] = (number, line.body)
    return wrong


def hub_order(timeline: list[Line]) -> list[str]:
    """What is wrong if all messages of remote users must stand in the hub's order. A ghost's event notes the hub's accepted
    timestamp, which the hub makes strictly increasing: so it must grow from one ghost's event to the next."""
    wrong, last = [], None
    for line in timeline:
        if not line.remote:
            continue
        if last is not None and line.accepted <= last.accepted:
            wrong.append(f"hub order: {line.who} {line.body!r} ({line.accepted}) after {last.who} {last.body!r} ({last.accepted})")
        last = line
    return wrong


def times(timeline: list[Line], origin: dict[tuple[str, str], int], within_ms: int = 1000) -> list[str]:
    """What is wrong if every message must carry the time of its original, give or take `within_ms`."""
    return [f"time of {line.who} {line.body!r} is {line.ts - origin[line.who, line.body]:+d} ms off"
            for line in timeline
            if (line.who, line.body) in origin and abs(line.ts - origin[line.who, line.body]) > within_ms]

"""A step of the play about the provisioning API: what the bot does, for a program that acts for people."""

import http.client
import json
from urllib.parse import quote

from .finding import bot_chat
from .play_parts import Wrong


def order(play, name: str, method: str, path: str, body: dict | None = None, key: str = "") -> tuple[int, dict]:
    """What A's gateway answers to a program that acts for somebody."""
    gateway, user = play.silo(name).gateway, play.person(name).user
    play.tell.act(name, f"has a program ask {method} {path} {json.dumps(body) if body else ''}".rstrip())
    headers = {"Authorization": f"Bearer {gateway.provisioning_secret}"} | ({"Idempotency-Key": key} if key else {})
    connection = http.client.HTTPConnection("127.0.0.1", gateway.plan.provisioning_port, timeout=play.patience)
    try:
        connection.request(method, f"/_mimi/provision/v1{path}?user_id={quote(user)}", json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def wanted(status: int, answer: tuple[int, dict]) -> dict:
    if answer[0] != status:
        raise Wrong(f"the provisioning API answers {answer}, not {status}")
    return answer[1]


def provisioning(play) -> None:
    """A1's program mirrors a room and asks B1 in; A9, whom the settings let do less, is refused in the words of the bot."""
    a1, bot = play.person("a1"), play.silo("a1").gateway.bot
    room = type(play.rooms["club"])()
    room_id = room.ids["a"] = a1.client.create_room(
        name="Ordered", preset="private_chat", power_level_content_override={"users": {bot: 100}}, invite=[bot])
    a1.wait_member(room_id, bot, "join", play.patience)
    chat, here = bot_chat(play, "a9"), quote(room_id, safe="")
    said = play.command(chat, "a9", f"bridge {room_id}").body
    refused = wanted(403, order(play, "a9", "POST", "/rooms", {"room": room_id}))
    if refused != {"errcode": "M_FORBIDDEN", "error": said} or not said.startswith("You are not permitted to mirror rooms"):
        raise Wrong(f"the bot says {said!r}, the provisioning API {refused}")

    uri = wanted(201, order(play, "a1", "POST", "/rooms", {"room": room_id}, "one"))["mimi_room"]
    if wanted(201, order(play, "a1", "POST", "/rooms", {"room": room_id}, "one"))["mimi_room"] != uri:
        raise Wrong("the same order made another room")
    room.enter("a1")
    mark = play.person("b1").mark()
    wanted(202, order(play, "a1", "POST", f"/rooms/{here}/invitations", {"user": play.mimi("b1")}))
    play.accept(room, "b1", "a1", mark=mark)
    room.enter("b1")
    play.sees_member(room, "a1", "b1")
    play.say(room, "a1", "A program asked you in.")
    play.say(room, "b1", "And I came.")
    play.check(room)
    stands = wanted(200, order(play, "a1", "GET", f"/rooms/{here}"))
    if (stands["mimi_room"], stands["role"], stands["state"], stands["participants"]) != (uri, "hub", "active", 2):
        raise Wrong(f"the room stands so: {stands}")
    wanted(404, order(play, "a9", "GET", f"/rooms/{here}"))
    wanted(202, order(play, "a1", "DELETE", f"/rooms/{here}"))
    play.sees_member(room, "a1", "b1", "leave")

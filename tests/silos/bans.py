"""Steps of the play about who cannot be invited."""

import time

from .matrix import MatrixError
from .play_parts import Wrong


def ban(play) -> None:
    """A1 bans B2, whom nobody gets in again before the ban is lifted."""
    room = play.gather("Garden")
    a1, b2, ghost = play.person("a1"), play.person("b2"), play.as_seen_by("a1", "b2")
    play.say(room, "b2", "Nobody stops me here.")
    began, mark = time.monotonic(), b2.mark()
    play.tell.act("a1", f"bans {ghost}")
    a1.client.ban(room.ids["a"], ghost)
    room.present.remove("b2")
    room.everyone.remove("b2")  # who is banned is shown nothing of the room
    seen = b2.wait_member(room.ids["b"], b2.user, "ban", play.patience, mark)
    play.tell.saw("b2", f"is banned: {seen.content.get('reason')}", (seen.at - began) * 1000)
    play.command(room.ids["a"], "a2", f"!mimi invite {play.mimi('b2')}", "is banned from this room")
    play.tell.act("b1", "invites B2 the Matrix way, and is refused")
    try:
        play.person("b1").client.invite(room.ids["b"], b2.user)
        raise Wrong("B1 invites B2, who is banned")
    except MatrixError as error:
        if error.status != 403:
            raise
    play.say(room, "a1", "B2 does not read this.")
    play.check(room)
    play.tell.act("a1", "lifts the ban")
    a1.client.unban(room.ids["a"], ghost)
    mark, seen_by_a1 = b2.mark(), a1.mark()
    play.command(room.ids["a"], "a1", f"!mimi invite {play.mimi('b2')}")
    sender = play.as_seen_by("b2", "a1")
    invite = b2.wait_invite(f"an invite from {sender}", lambda seen: seen.sender == sender, play.patience, mark)
    play.invited("b2", invite)
    play.tell.act("b2", "accepts")
    b2.client.join(invite.room)
    again = a1.wait_member(room.ids["a"], ghost, "join", play.patience, seen_by_a1)
    play.tell.seen("a1", f"sees {play.shown('a1', ghost)} in the room again", again)
    room.enter("b2")
    play.say(room, "b2", "I will be good.")
    play.check(room)


def declines(play) -> None:
    """Invitations into rooms that are not mirrored, which cannot be taken, are declined with a reason."""
    a1, bot, server = play.person("a1"), play.silo("a").gateway.bot, play.person("a1").user.partition(":")[2]
    room = a1.client.create_room(name="Three of us", preset="private_chat", invite=[play.person("a2").user])
    for target, why in ((play.as_seen_by("a1", "b1"), f"Invite the bot {bot}"),
                        (f"@_mimi_nonsense:{server}", "stands for no user of another provider"),
                        (f"@_mimi_{play.silo('a').domain}=2fa2:{server}", "stands for no user of another provider")):
        mark, began = a1.mark(), time.monotonic()
        play.tell.act("a1", f"invites {target}")
        a1.client.invite(room, target)
        seen = a1.wait_member(room, target, "leave", play.patience, mark)
        if why not in seen.content.get("reason", ""):
            raise Wrong(f"{target} left without saying {why!r}: {seen.content}")
        play.tell.saw("a1", f"sees it decline: {seen.content['reason']}", (seen.at - began) * 1000)
    if a1.client.membership(room, play.person("a2").user) != "invite":
        raise Wrong("A2 is not invited any more")

"""A step of the play about finding somebody by handle or name."""

from .play_parts import Wrong


def bot_chat(play, name: str) -> str:
    """A chat of somebody with the bot alone."""
    person, bot = play.person(name), play.silo(name).gateway.bot
    mark = person.mark()
    room = person.client.create_direct(bot)
    person.wait("the bot's greeting", lambda seen: seen.room == room and seen.sender == bot and bool(seen.body), play.patience, mark)
    return room


def ask(play, room: str, name: str, text: str, wanted: str) -> None:
    play.command(room, name, text, wanted)


def start_chat(play) -> None:
    a2, b2, handle = play.person("a2"), play.person("b2"), "b2@b.example"
    chat, other = bot_chat(play, "a2"), bot_chat(play, "b2")
    ask(play, chat, "a2", f"start-chat handle:{handle}", "Nobody at b.example matches, or nobody who wants to be found")
    if a2.client.find_third_party(handle=handle):
        raise Wrong("B2 is found without having said so")
    ask(play, other, "b2", "discoverable handle email", "find you by your whole handle")
    ask(play, chat, "a2", "start-chat email:b2@b.example", "Nobody at b.example matches")
    ask(play, chat, "a2", "start-chat name:b2@b.example", "wants to know it more exactly")
    found = a2.client.find_third_party(handle=handle)
    if [one["userid"] for one in found] != [play.as_seen_by("a2", "b2")]:
        raise Wrong(f"the look-up of A2's client finds {found}")
    play.tell.saw("a2", f"finds {found[0]['userid']} by handle in its client, too", 0)
    mark, mark_b = a2.mark(), b2.mark()
    ask(play, chat, "a2", f"start-chat handle:{handle}", "is asked. The room is ready")
    bot = play.silo("a").gateway.bot
    room = type(play.rooms["club"])()
    invite = a2.wait_invite("an invite of the bot", lambda seen: seen.sender == bot, play.patience, mark)
    play.invited("a2", invite)
    if invite.content.get("is_direct") is not True:
        raise Wrong(f"the invite is not one to a direct chat: {invite.content}")
    a2.client.join(invite.room)
    room.ids["a"] = invite.room
    room.enter("a2")
    sender = play.as_seen_by("b2", "a2")
    invite = b2.wait_invite(f"an invite from {sender}", lambda seen: seen.sender == sender, play.patience, mark_b)
    play.invited("b2", invite)
    play.tell.act("b2", "accepts")
    b2.client.join(invite.room)
    room.ids["b"] = invite.room
    room.enter("b2")
    play.sees_member(room, "a2", "b2")
    play.say(room, "a2", "Found you, B2.")
    play.say(room, "b2", "I wanted to be found.")
    play.check(room)
    ask(play, chat, "a2", f"start-chat {handle}", f"already: https://matrix.to/#/{room.ids['a']}")
    ask(play, other, "b2", "discoverable off", "do not find you")
    ask(play, chat, "a2", f"start-chat {handle}", "Nobody at b.example matches")

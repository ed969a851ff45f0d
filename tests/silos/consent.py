"""The step of the play about consent for every room, and blocking."""

from .play_parts import Wrong


def told(play, name: str, room_id: str, part: str, mark: int):
    """Waits until the bot says this to somebody alone."""
    person, bot = play.person(name), play.silo(name).gateway.bot
    seen = person.wait(f"the bot saying {part!r}", lambda seen: seen.room == room_id and seen.sender == bot
                       and part in (seen.body or ""), play.patience, mark)
    play.tell.seen(name, f"is told: {seen.body}", seen)
    return seen


def consent(play) -> None:
    """A2 asks B3 for consent for every room; B3 agrees, then blocks A2, and nobody can tell from outside."""
    a2, b3 = play.person("a2"), play.person("b3")
    bot_a, bot_b = play.silo("a").gateway.bot, play.silo("b").gateway.bot
    from_a2, from_a1 = play.mimi("a2"), play.mimi("a1")
    desks = {}
    for name in ("a1", "a2"):
        person, mark = play.person(name), play.person(name).mark()
        desks[name] = person.client.create_direct(bot_a)
        person.wait("the bot's greeting", lambda seen, room=desks[name]: seen.room == room and seen.sender == bot_a
                    and bool(seen.body), play.patience, mark)
    answered, asked = a2.mark(), b3.mark()
    play.command(desks["a2"], "a2", f"ask {play.mimi('b3')}")
    invite = b3.wait_invite("an invite of the bot", lambda seen: seen.sender == bot_b, play.patience, asked)
    b3.client.join(invite.room)
    desk = invite.room
    question = told(play, "b3", desk, "asks you to agree that they add you", asked)
    if from_a2 not in question.body or "Reply “yes” or “no”" not in question.body:
        raise Wrong(f"B3 cannot know whom to answer how: {question.body}")
    play.tell.act("b3", "answers “yes” as a reply")
    answered_by_b3 = b3.mark()
    b3.client.send(desk, "yes", more={"m.relates_to": {"m.in_reply_to": {"event_id": question.event["event_id"]}}})
    told(play, "b3", desk, "may add you to rooms from now on", answered_by_b3)
    told(play, "a2", desks["a2"], "agreed that you add them", answered)
    play.tell.act("b3", "has enough of it")
    answered, quiet = a2.mark(), b3.mark()
    play.command(desk, "b3", f"block {from_a2}", "is blocked")
    told(play, "a2", desks["a2"], "does not agree, or not any more", answered)
    # What A2 asks now looks to A2 as before. A1's question comes behind it, and is the only one that B3 sees.
    play.command(desks["a2"], "a2", f"ask {play.mimi('b3')}", "is asked to agree")
    play.command(desks["a1"], "a1", f"ask {play.mimi('b3')}")
    told(play, "b3", desk, f"({from_a1}) asks you", quiet)
    shown = [seen.body for seen in b3.seen[quiet:] if seen.room == desk and f"({from_a2}) asks" in (seen.body or "")]
    if shown:
        raise Wrong(f"B3 is shown what somebody asks whom it blocks: {shown}")
    play.command(desk, "b3", f"decline {from_a1}")
    quiet = b3.mark()
    play.command(desk, "b3", f"unblock {from_a2}")
    play.command(desks["a2"], "a2", f"ask {play.mimi('b3')}")
    told(play, "b3", desk, f"({from_a2}) asks you", quiet)
    play.command(desk, "b3", "no")

"""A step of the play about reports of abuse."""

from .play_parts import Wrong


def reports(play) -> None:
    """B1 reports two messages: with its client's own "report", and by command. A's administrator reads both, with the proof."""
    room = play.gather("Market", guests=1)
    admin, plan = play.silos.a.admin, play.silos.a.gateway.plan
    bot, b1 = play.silos.a.gateway.bot, play.person("b1")
    admin.wait_member(plan.admin_room, bot, "join", play.patience)
    words = {"client": "Cheap watches, write to me!", "command": "And cheap shoes, too!"}
    events = {}
    for how, text in words.items():
        events[how] = play.say(room, "a2", text)["b1"].event["event_id"]
    for how, act in (("client", "reports {!r} with its client, as any message"), ("command", "replies “!mimi report spam” to {!r}")):
        mark = admin.mark()
        play.tell.act("b1", act.format(words[how]))
        if how == "client":
            b1.client.report(room.ids["b"], events[how], "spam")
        else:
            b1.client.send(room.ids["b"], "!mimi report spam",
                           more={"m.relates_to": {"m.in_reply_to": {"event_id": events[how]}}})
        told = admin.wait("a report", lambda seen, how=how: seen.room == plan.admin_room and seen.sender == bot
                          and f"“{words[how]}”" in seen.body, play.patience, mark)
        play.tell.seen("A's administrator", f"reads: {told.body}", told)
        wanted = ("by somebody at b.example who gives no name", f"of {play.mimi('a2')}", "• PROVEN", f"“{words[how]}”", "note: spam")
        for part in wanted:
            if part not in told.body:
                raise Wrong(f"the report of the {how} does not say {part!r}: {told.body}")
    play.say(room, "b1", "No, thank you.")
    play.check(room)
    texts = [event["content"]["body"] for event in admin.client.messages(plan.admin_room)
             if event["type"] == "m.room.message" and event["sender"] == bot]
    for text in words.values():
        if sum(f"“{text}”" in told for told in texts) != 1:
            raise Wrong(f"{text!r} is not reported exactly once: {texts}")

"""Tests of the judge itself: one that lets everything pass would make all the others worthless."""

from silos import judge
from silos.judge import Line
from silos.play import Wrong

A, B = "mimi://a.example/u/a1", "mimi://b.example/u/b1"


def line(who: str, body: str, ts: int = 0, remote: bool = False) -> Line:
    return Line(who, body, "", ts, remote, accepted=ts)


def expect(found: list[str], beginnings: list[str]) -> None:
    if len(found) != len(beginnings) or not all(text.startswith(start) for text, start in zip(found, beginnings)):
        raise Wrong(f"found {found}, wanted {beginnings}")


def finds_loss_and_doubles() -> None:
    said = [(A, "1"), (A, "2"), (B, "1")]
    expect(judge.once([line(A, "1"), line(A, "2"), line(B, "1")], said), [])
    expect(judge.once([line(A, "1"), line(B, "1")], said), ["lost: " + A])
    expect(judge.once([line(A, "1"), line(A, "2"), line(B, "1"), line(A, "2")], said), ["2 times: " + A])
    expect(judge.once([line(B, "1"), line(A, "1"), line(B, "2")], [(A, "1"), (B, "1")]), ["from nowhere: " + B])
    expect(judge.once([line(B, "1"), line(A, "1")], [(A, "1")], [(B, "1")]), [])


def finds_wrong_order() -> None:
    spoken = {A: ["1", "2", "3"], B: ["1"]}
    expect(judge.sender_order([line(A, "1"), line(B, "1"), line(A, "2"), line(A, "3")], spoken), [])
    expect(judge.sender_order([line(A, "1"), line(A, "3"), line(B, "1"), line(A, "2")], spoken), ["order of " + A])
    expect(judge.hub_order([line(A, "1", 5, True), line(B, "1", 1), line(A, "2", 6, True)]), [])
    expect(judge.hub_order([line(A, "1", 5, True), line(A, "2", 4, True)]), ["hub order: " + A])


def finds_wrong_times() -> None:
    expect(judge.times([line(A, "1", 10_900)], {(A, "1"): 10_000}), [])
    expect(judge.times([line(A, "1", 11_100)], {(A, "1"): 10_000}), ["time of " + A])


def knows_ghosts() -> None:
    domains = ["a.example", "b.example"]
    for given, wanted in ((("@a1:matrix.a.example", "a.example"), (A, False)),
                          (("@_mimi_b.example=2fb1:matrix.a.example", "a.example"), (B, True))):
        found = judge.mimi_uri(given[0], given[1], domains)
        if found != wanted:
            raise Wrong(f"{given} is {found}, wanted {wanted}")


TESTS = [("judge: finds loss and doubles", finds_loss_and_doubles), ("judge: finds wrong order", finds_wrong_order),
         ("judge: finds wrong times", finds_wrong_times), ("judge: knows ghosts", knows_ghosts)]

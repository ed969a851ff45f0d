"""Everything that docs/features.md calls full, sent and looked at with matrix-js-sdk (the library of Element) on both sides.

What needs no other gateway of this kind is tried a second time between gateways that take each other for strangers (`peers.*.gateway`
off): each then has of the other what anybody has who knows the drafts alone.
"""

import json
import os
import re
import subprocess
import time
from pathlib import Path

from silos.node import modules, node
from silos.paths import ROOT
from silos.play import Wrong
from silos.stage import LETTERS

ROWS = ROOT / "tests/js/rows.mjs"
#: Rows that another test on the two Synapses shows: `flow: names`.
ELSEWHERE = {"names and pictures of people"}


def full_rows(both: bool) -> set[str]:
    """The rows of docs/features.md that are full in a direction: a row from Matrix to Matrix goes in both. `both`: those that are
    full in each of the two."""
    rows = set()
    enough = all if both else any
    for line in (ROOT / "docs/features.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)]
        if len(cells) > 6 and enough(cell == "full" for cell in cells[4:6]):
            rows.add(cells[1])
    if len(rows) < 10:
        raise Wrong(f"docs/features.md has only {len(rows)} full rows: {rows}")
    return rows


def sdk(play, tell) -> None:
    """One line of output for each row and direction."""
    room = play.gather("Workshop", guests=1)
    people = {}
    for name, other in (("a1", "b1"), ("b1", "a1")):
        client = play.person(name).client
        people[name] = {"url": client.url, "token": client.token, "user": client.user,
                        "device": client.call("GET", "/_matrix/client/v3/account/whoami")["device_id"],
                        "room": play.here(room, name), "sees": {other: play.as_seen_by(name, other)}}
    failed = _cross(play, tell, people, full_rows(both=False) - ELSEWHERE, "between gateways")
    plans = [play.silos.silos[letter].gateway.plan for letter in LETTERS]
    known = [plan.gateways for plan in plans]
    try:
        _trust(play, [frozenset() for _ in plans])
        failed += _cross(play, tell, people, full_rows(both=True), "between strangers", only=True)
    finally:
        _trust(play, known)
    if failed:
        raise Wrong("; ".join(failed))


def _trust(play, whom: list[frozenset[str]]) -> None:
    """Restarts both gateways, each with these peers as gateways."""
    for letter, gateways in zip(LETTERS, whom):
        gateway = play.silos.silos[letter].gateway
        gateway.plan.gateways = gateways
        gateway.proc.stop()
        gateway.write_config()
        gateway.proc.start()


def _cross(play, tell, people: dict, rows: set[str], what: str, only: bool = False) -> list[str]:
    """Plays the rows (`only` these), both ways; what went wrong."""
    folder = modules()
    script = Path(folder) / ROWS.name  # beside its modules: that is where Node looks for them
    script.write_bytes(ROWS.read_bytes())
    told = {"people": people, "seconds": play.patience} | ({"only": sorted(rows), "after": 1000} if only else {})
    began = time.monotonic()
    run = subprocess.run([str(node()), str(script)], input=json.dumps(told), text=True, capture_output=True, timeout=900,
                         check=False, env=dict(os.environ, NODE_NO_WARNINGS="1"))
    results = [json.loads(line) for line in run.stdout.splitlines() if line.startswith('{"row"')]
    failed = [f"{what}, {one['row']}, {one['from']} to {one['to']}: {one['error']}" for one in results if "error" in one]
    tell(f"{what}: {len(results) - len(failed)} of {len(results)} crossed in {time.monotonic() - began:.0f} s")
    if run.returncode != 0:
        failed.append(f"{what}, the script ended with {run.returncode}: {run.stderr[:600]}")
    tried = {(one["row"], one["from"]) for one in results}
    missing = sorted(f"{row} from {name}" for row in rows for name in people if (row, name) not in tried)
    return failed + [f"{what}, {row}: is called full, and not tried" for row in missing]

"""Everything that docs/features.md calls full, sent and looked at with matrix-js-sdk (the library of Element) on both sides."""

import json
import os
import re
import subprocess
from pathlib import Path

from silos.node import modules, node
from silos.paths import ROOT
from silos.play import Wrong

ROWS = ROOT / "tests/js/rows.mjs"


def full_rows() -> set[str]:
    """The rows of docs/features.md that are full in a direction: a row from Matrix to Matrix goes in both."""
    rows = set()
    for line in (ROOT / "docs/features.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)]
        if len(cells) > 6 and "full" in cells[4:6]:
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
    folder = modules()
    script = Path(folder) / ROWS.name  # beside its modules: that is where Node looks for them
    script.write_bytes(ROWS.read_bytes())
    run = subprocess.run([str(node()), str(script)], input=json.dumps({"people": people, "seconds": play.patience}), text=True,
                         capture_output=True, timeout=900, check=False, env=dict(os.environ, NODE_NO_WARNINGS="1"))
    results = [json.loads(line) for line in run.stdout.splitlines() if line.startswith('{"row"')]
    failed = [f"{one['row']}, {one['from']} to {one['to']}: {one['error']}" for one in results if "error" in one]
    tell(f"{len(results) - len(failed)} of {len(results)} crossed")
    if run.returncode != 0:
        failed.append(f"the script ended with {run.returncode}: {run.stderr[:600]}")
    failed += [f"{row}: is called full, and not tried" for row in sorted(full_rows() - {one["row"] for one in results})]
    if failed:
        raise Wrong("; ".join(failed))

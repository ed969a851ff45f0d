"""Both silos together: homeserver and gateway A, homeserver and gateway B, the test authority, and a spare peer's papers.

    with Silos.build("e2e") as silos:
        silos.start()
"""

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from . import gateway as gateways
from .certs import Authority, Pair
from .gateway import Gateway, GatewayPlan
from .matrix import Client, MatrixError, Watcher, register
from .paths import fresh_dir
from .ports import Ports, allocate
from .procs import Proc
from .synapse import Synapse

LETTERS = ("a", "b")
PEER = "c.example"
PASSWORD = "correct horse battery staple"


def domain(letter: str) -> str:
    return f"{letter}.example"


def server_name(letter: str) -> str:
    return f"matrix.{letter}.example"


class Silo:
    """One side: a homeserver, its gateway, and its people."""

    def __init__(self, letter: str, synapse: Synapse, gateway: Gateway):
        self.letter, self.synapse, self.gateway = letter, synapse, gateway
        self.domain, self.server_name = domain(letter), server_name(letter)
        self.people: dict[str, Watcher] = {}
        self.admin: Watcher | None = None

    def appoint(self) -> None:
        """Before the gateway starts: an administrator of the homeserver, whose token and room the gateway gets."""
        admin = register(self.synapse.url, self.synapse.secret, "admin", PASSWORD, admin=True)
        self.admin = Watcher(admin, f"{self.letter.upper()}'s admin")
        self.gateway.plan.admin_token = admin.token
        self.gateway.plan.admin_room = admin.create_room(name="Reports", preset="private_chat")
        self.gateway.write_config()

    def person(self, name: str, displayname: str | None = None) -> Watcher:
        """Registers a user who keeps a client open. Known already: the same watcher."""
        if name not in self.people:
            client = register(self.synapse.url, self.synapse.secret, name, PASSWORD, displayname)
            self.people[name] = Watcher(client, name.upper())
        return self.people[name]

    def mimi(self, name: str) -> str:
        return f"mimi://{self.domain}/u/{name}"

    def ghost(self, domain_of_user: str, name: str) -> Client:
        """Calls with the application service's token as a ghost, registered and with a device: what a gateway would send."""
        user, token = self.gateway.ghost(domain_of_user, name), self.gateway.registration["as_token"]
        try:
            Client(self.synapse.url, token=token).call("POST", "/_matrix/client/v3/register", {
                "type": "m.login.application_service", "username": user[1:].split(":")[0], "inhibit_login": True})
        except MatrixError as error:
            if error.errcode != "M_USER_IN_USE":
                raise
        # A device has to exist before calls may name it; naming one makes repeated sends safe across restarts.
        Client(self.synapse.url, user, token, masquerade=user).call("PUT", "/_matrix/client/v3/devices/HARNESS", {})
        return Client(self.synapse.url, user, token, masquerade=user, device="HARNESS")


class Silos:
    """The environment. `start` brings it up; leaving the `with` block ends every process that it started."""

    def __init__(self, folder: Path, lock, ports: Ports, with_gateways: bool, plan_hook: Callable[[GatewayPlan, int], None] | None):
        self.folder, self._lock, self.ports, self.with_gateways = folder, lock, ports, with_gateways
        self.authority = Authority(folder / "tls")
        self.peer: Pair = self.authority.issue(PEER, [PEER], loopback=True)
        self.env_file = folder / "env.json"
        self.silos: dict[str, Silo] = {}
        everyone = {domain(letter): ports.mimi(i) for i, letter in enumerate(LETTERS)} | {PEER: ports.peer}
        for i, letter in enumerate(LETTERS):
            name = domain(letter)
            plan = GatewayPlan(
                folder=folder / f"gateway-{letter}", server_name=server_name(letter),
                homeserver_url=f"http://127.0.0.1:{ports.homeserver(i)}", domain=name, appservice_port=ports.appservice(i),
                mimi_port=ports.mimi(i), provisioning_port=ports.provisioning(i), certificate=self.authority.issue(name, [name], loopback=True),
                ca=self.authority.files.cert, peers={d: p for d, p in everyone.items() if d != name},
                gateways=frozenset(map(domain, LETTERS)),
                engine=os.environ.get("SILOS_STORE", "sqlite"), probe=(PEER, self.peer))
            if plan_hook:
                plan_hook(plan, i)
            gateway = Gateway(plan)
            if with_gateways:
                gateway.make_registration()
            else:
                gateway.make_registration_by_hand()
            synapse = Synapse(folder / f"synapse-{letter}", server_name(letter), ports.homeserver(i), gateway.registration_file)
            self.silos[letter] = Silo(letter, synapse, gateway)

    @classmethod
    def build(cls, name: str, exact: bool = False, with_gateways: bool = True,
              plan_hook: Callable[[GatewayPlan, int], None] | None = None, ports: Ports | None = None) -> "Silos":
        """Writes everything below `target/NAME` (another directory if that one is in use and `exact` is not set). Without
        gateways, the registrations are made by hand and `start` starts the homeservers only. `plan_hook` may change what a
        gateway's configuration is made from."""
        folder, lock = fresh_dir(name, exact)
        return cls(folder, lock, ports or allocate(), with_gateways, plan_hook)

    @property
    def a(self) -> Silo:
        return self.silos["a"]

    @property
    def b(self) -> Silo:
        return self.silos["b"]

    def synapses(self) -> list[Proc]:
        return [silo.synapse.proc for silo in self.silos.values()]

    def gateway_procs(self) -> list[Proc]:
        return [silo.gateway.proc for silo in self.silos.values()]

    def start(self, say: Callable[[str], None] = lambda _: None) -> None:
        began = time.monotonic()
        start_all(self.synapses())
        say(f"two Synapses serve after {time.monotonic() - began:.1f} s")
        if self.with_gateways:
            for silo in self.silos.values():
                silo.appoint()
            began = time.monotonic()
            start_all(self.gateway_procs())
            for silo in self.silos.values():
                silo.admin.client.invite(silo.gateway.plan.admin_room, silo.gateway.bot)
            say(f"two gateways serve after {time.monotonic() - began:.1f} s")
        self.write_env()

    def __enter__(self) -> "Silos":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Ends our processes, gateways first. Without `env.json` nobody takes the environment for running."""
        self.env_file.unlink(missing_ok=True)
        for silo in self.silos.values():
            for person in [*silo.people.values(), *([silo.admin] if silo.admin else [])]:
                person.close()
        for proc in self.gateway_procs() + self.synapses():
            proc.stop(5)
        self._lock.release()
        if self.ports.lock:
            self.ports.lock.release()

    def write_env(self) -> None:
        """`env.json`: what any client or peer needs to take part. Paths are absolute."""
        silos = {
            letter: {
                "server_name": silo.server_name,
                "homeserver_url": silo.synapse.url,
                "registration_shared_secret": silo.synapse.secret,
                "domain": silo.domain,
                "mimi_url": silo.gateway.mimi_url,
                "ca": str(self.authority.files.cert),
                "config": str(silo.gateway.config),
            } for letter, silo in self.silos.items()}
        peer = {"domain": PEER, "cert": str(self.peer.cert), "key": str(self.peer.key), "port": self.ports.peer,
                "ca": str(self.authority.files.cert), "ca_key": str(self.authority.files.key)}
        self.env_file.write_text(json.dumps({"silos": silos, "peer": peer}, indent=2) + "\n")


def start_all(procs: list[Proc]) -> None:
    """Starts them side by side."""
    for proc in procs:
        proc.launch()
    for proc in procs:
        proc.wait_ready()


def in_parallel(*jobs: Callable[[], object]) -> None:
    """Runs jobs at the same time; raises the first error when all are done."""
    errors: list[BaseException] = []

    def guarded(job):
        try:
            job()
        except BaseException as error:  # raised again below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def build_gateway() -> None:
    gateways.build()

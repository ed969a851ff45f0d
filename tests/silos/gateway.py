"""One gateway: its configuration, its registration file and its process."""

import http.client
import json
import os
import secrets
import ssl
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from .certs import Pair
from .paths import ROOT, TARGET
from .procs import Proc, StartError


def binary() -> Path:
    """The gateway to run: GATEWAY_BINARY, or the build of CARGO_PROFILE (`release` unless told)."""
    told = os.environ.get("GATEWAY_BINARY")
    if told:
        return Path(told).absolute()
    return TARGET / {"dev": "debug"}.get(profile(), profile()) / "mimi-gateway"


def profile() -> str:
    return os.environ.get("GATEWAY_PROFILE", "release")


def build() -> None:
    """Builds the gateway if `GATEWAY_BINARY` names none; cargo prints its progress."""
    if not os.environ.get("GATEWAY_BINARY"):
        command = ["cargo", "build", "--locked", "--profile", profile(), "--bin", "mimi-gateway"]
        if subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode != 0:
            raise SystemExit("the gateway does not build")
    if not binary().exists():
        raise SystemExit(f"there is no gateway at {binary()}")


def _answers(connection: http.client.HTTPConnection, method: str, path: str, headers: dict[str, str]) -> bool:
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def ghost_localpart(domain: str, user: str) -> str:
    """The ghost of `mimi://DOMAIN/u/USER`, for names that need no escape."""
    return f"_mimi_{domain}=2f{user}"


@dataclass
class GatewayPlan:
    """What a gateway's configuration is made from."""

    folder: Path
    server_name: str
    homeserver_url: str
    domain: str
    appservice_port: int
    mimi_port: int
    certificate: Pair
    ca: Path
    peers: dict[str, int]  # domain to port on this machine
    gateways: frozenset[str]  # those of them that are gateways to Matrix
    # A bench puts proxies in front: where the homeserver shall send transactions instead of the appservice port.
    appservice_public_port: int | None = None
    engine: str = "sqlite"
    # An administrator's access token, and the room in which reports of abuse appear.
    admin_token: str = ""
    admin_room: str = ""
    # Where the provisioning API is served, if it is.
    provisioning_port: int | None = None
    # How rooms behave: a TOML section.
    rooms: dict = field(default_factory=lambda: {"read_receipts": "on"})
    # How often the homeserver's list of reports is looked at; a bench leaves it to the gateway.
    report_poll_seconds: int | None = 1
    # A peer's domain and papers, to see whether the gateway serves peers; without, only the homeserver's side is looked at.
    probe: tuple[str, Pair] | None = None


class Gateway:
    """A gateway; `proc` starts, kills and freezes it."""

    def __init__(self, plan: GatewayPlan):
        self.plan = plan
        self.domain = plan.domain
        plan.folder.mkdir(parents=True, exist_ok=True)
        self.config = plan.folder / "mimi-gateway.toml"
        self.registration_file = plan.folder / "registration.yaml"
        self.appservice_url = f"http://127.0.0.1:{plan.appservice_port}"
        self.mimi_url = f"https://127.0.0.1:{plan.mimi_port}"
        self.log = plan.folder.parent / f"{plan.folder.name}.log"
        self.master_key = plan.folder / "master.key"
        self.master_key.touch(mode=0o600)
        self.master_key.write_text(secrets.token_hex(32) + "\n")
        self.provisioning_secret = secrets.token_hex(32)
        self.write_config()
        self.proc = Proc(f"gateway {plan.domain}", [str(binary()), "--config", str(self.config), "run"], self.log,
                         self._serves, plan.folder)

    def write_config(self) -> None:
        """Writes the configuration from the plan; a running gateway reads it at its next start."""
        plan = self.plan
        public = plan.appservice_public_port or plan.appservice_port
        sections = {
            "homeserver": {"url": plan.homeserver_url, "server_name": plan.server_name},
            "appservice": {"listen": f"127.0.0.1:{plan.appservice_port}", "url": f"http://127.0.0.1:{public}",
                           "registration": str(self.registration_file)},
            "provider": {"domain": plan.domain, "listen": f"127.0.0.1:{plan.mimi_port}",
                         "public_url": f"https://{plan.domain}:{plan.mimi_port}",
                         "certificate": str(plan.certificate.cert), "private_key": str(plan.certificate.key)},
            "store": {"engine": plan.engine, "path": str(plan.folder / "data"), "master_key_file": str(self.master_key)},
            "assets": {"max_asset_bytes": 1_100_000_000, "transfer_timeout_seconds": 600},
            "rooms": plan.rooms,
            "log": {"filter": os.environ.get("SILOS_GATEWAY_LOG", "info")},
        }
        if plan.admin_token:
            sections["homeserver"]["admin_token"] = plan.admin_token
            if plan.report_poll_seconds:
                sections["homeserver"]["report_poll_interval_seconds"] = plan.report_poll_seconds
        if plan.admin_room:
            sections["permissions"] = {"admin_room": plan.admin_room}
        # Somebody who may do less than the others.
        sections["permissions.rules"] = {f'"@a9:{plan.server_name}"': ["chat"]}
        if plan.provisioning_port:
            sections["provisioning"] = {"listen": f"127.0.0.1:{plan.provisioning_port}", "shared_secret": self.provisioning_secret}
        for domain, port in plan.peers.items():
            sections[f'peers."{domain}"'] = {"ca": str(plan.ca), "address": f"127.0.0.1:{port}", "gateway": domain in plan.gateways}
        lines = []
        for name, keys in sections.items():  # JSON strings are valid TOML strings
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()), ""]
        self.config.write_text("\n".join(lines))

    def run(self, *arguments: str, seconds: float = 30.0) -> subprocess.CompletedProcess:
        """Runs one of the short commands: `registration`, `check`, `rooms`, ..."""
        return subprocess.run([str(binary()), "--config", str(self.config), *arguments], cwd=self.plan.folder, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)

    def make_registration(self) -> None:
        done = self.run("registration", "--out", str(self.registration_file))
        if done.returncode != 0 or not self.registration_file.exists():
            raise StartError(f"`mimi-gateway registration` ended with {done.returncode}:\n{done.stdout}{done.stderr}")

    def make_registration_by_hand(self) -> None:
        """The same without the binary: for work on these tools themselves."""
        server = self.plan.server_name.replace(".", "\\.")
        self.registration_file.write_text(json.dumps({
            "id": "mimi-gateway", "url": f"http://127.0.0.1:{self.plan.appservice_public_port or self.plan.appservice_port}",
            "as_token": secrets.token_hex(32), "hs_token": secrets.token_hex(32), "sender_localpart": "_mimi_bot",
            "rate_limited": False, "receive_ephemeral": True, "org.matrix.msc3202": True, "io.element.msc4190": True,
            "namespaces": {"users": [{"exclusive": True, "regex": f"^@_mimi_.*:{server}$"}],
                           "aliases": [{"exclusive": True, "regex": f"^#_mimi_.*:{server}$"}], "rooms": []}}))

    @property
    def registration(self) -> dict:
        return yaml.safe_load(self.registration_file.read_text())

    @property
    def bot(self) -> str:
        return f"@{self.registration['sender_localpart']}:{self.plan.server_name}"

    def ghost(self, domain: str, user: str) -> str:
        """The Matrix id, on this gateway's homeserver, of a MIMI user."""
        return f"@{ghost_localpart(domain, user)}:{self.plan.server_name}"

    def _serves(self) -> bool:
        """Whether both doors are open: asked as those would who may enter, so that the log has no refusals of ours."""
        token = {"Authorization": f"Bearer {self.registration['hs_token']}"}
        plan = self.plan
        homeserver = http.client.HTTPConnection("127.0.0.1", plan.appservice_port, timeout=5)
        if not _answers(homeserver, "POST", "/_matrix/app/v1/ping", token):
            return False
        if plan.probe is None:
            return True
        trust = ssl.create_default_context(cafile=str(plan.ca))
        trust.load_cert_chain(plan.probe[1].cert, plan.probe[1].key)
        # The certificate is for the domain, the probe goes to this machine.
        trust.check_hostname = False
        provider = http.client.HTTPSConnection("127.0.0.1", plan.mimi_port, timeout=5, context=trust)
        head = {"Host": plan.domain, "From": f"mimi@{plan.probe[0]}"}
        return _answers(provider, "GET", "/.well-known/mimi-protocol-directory", head)

    def log_text(self) -> str:
        try:
            return self.log.read_text(errors="replace")
        except OSError:
            return ""

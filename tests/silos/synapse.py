"""One real Synapse: its configuration (JSON is valid YAML) and its process. Federation is off unless told, every rate limit is
lifted."""

import base64
import http.client
import json
import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

from .certs import Pair
from .procs import Proc

_HUGE = {"per_second": 100_000, "burst_count": 100_000}


def _config(folder: Path, server_name: str, port: int, secret: str, registration: Path | None) -> dict:
    limits = {name: _HUGE for name in ("rc_message", "rc_registration", "rc_admin_redaction", "rc_3pid_validation",
                                       "rc_delayed_event_mgmt", "rc_media_create", "rc_room_creation", "rc_presence")}
    return {
        "server_name": server_name,
        "pid_file": str(folder / "homeserver.pid"),
        "public_baseurl": f"http://127.0.0.1:{port}/",
        "listeners": [{"port": port, "bind_addresses": ["127.0.0.1"], "type": "http", "tls": False, "x_forwarded": False,
                       "resources": [{"names": ["client"], "compress": False}]}],
        "database": {"name": "sqlite3", "args": {"database": str(folder / "homeserver.db")}},
        "log_config": str(folder / "log.yaml"),
        "media_store_path": str(folder / "media"),
        "signing_key_path": str(folder / "signing.key"),
        "trusted_key_servers": [],
        "suppress_key_server_warning": True,
        "federation_domain_whitelist": [],
        "report_stats": False,
        "registration_shared_secret": secret,
        "enable_registration": True,
        "enable_registration_without_verification": True,
        "allow_guest_access": True,
        "macaroon_secret_key": secrets.token_hex(16),
        "form_secret": secrets.token_hex(16),
        "bcrypt_rounds": 4,
        "max_upload_size": "1100M",
        "filter_timeline_limit": 5000,
        "presence": {"enabled": False},
        "user_directory": {"enabled": False},
        "app_service_config_files": [str(registration)] if registration else [],
        "experimental_features": {"msc2409_to_device_messages_enabled": True, "msc3202_transaction_extensions": True},
        **limits,
        "rc_login": {"address": _HUGE, "account": _HUGE, "failed_attempts": _HUGE},
        "rc_joins": {"local": _HUGE, "remote": _HUGE},
        "rc_joins_per_room": _HUGE,
        "rc_invites": {"per_room": _HUGE, "per_user": _HUGE, "per_issuer": _HUGE},
        "rc_third_party_invite": _HUGE,
    }


def _log_config(folder: Path) -> dict:
    return {
        "version": 1, "disable_existing_loggers": False,
        "formatters": {"precise": {"format": "%(asctime)s - %(name)s - %(lineno)d - %(levelname)s - %(request)s - %(message)s"}},
        "handlers": {"file": {"class": "logging.FileHandler", "filename": str(folder.parent / f"{folder.name}.log"),
                              "formatter": "precise"}},
        "root": {"level": os.environ.get("SILOS_SYNAPSE_LOG", "WARNING"), "handlers": ["file"]},
    }


@dataclass
class Federation:
    """A homeserver whose name is `127.0.0.1:PORT`, as which others of this machine reach it over TLS."""

    port: int
    certificate: Pair
    ca: Path
    others: list[str]  # server names

    @property
    def server_name(self) -> str:
        return f"127.0.0.1:{self.port}"

    def settings(self) -> dict:
        return {
            "federation_domain_whitelist": [self.server_name, *self.others],
            "federation_custom_ca_list": [str(self.ca)],
            "ip_range_blacklist": [],
            "tls_certificate_path": str(self.certificate.cert),
            "tls_private_key_path": str(self.certificate.key),
        }

    def listener(self) -> dict:
        return {"port": self.port, "bind_addresses": ["127.0.0.1"], "type": "http", "tls": True, "x_forwarded": False,
                "resources": [{"names": ["federation"], "compress": False}]}


class Synapse:
    """A homeserver at `url`; `proc` starts, kills and freezes it."""

    def __init__(self, folder: Path, server_name: str, port: int, registration: Path | None, federation: Federation | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        self.server_name, self.port, self.url = server_name, port, f"http://127.0.0.1:{port}"
        self.secret = secrets.token_urlsafe(24)
        seed = base64.b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        (folder / "signing.key").write_text(f"ed25519 a_test {seed}\n")
        (folder / "log.yaml").write_text(json.dumps(_log_config(folder)))
        config, settings = folder / "homeserver.yaml", _config(folder, server_name, port, self.secret, registration)
        if federation:
            settings["listeners"].append(federation.listener())
            settings |= federation.settings()
        config.write_text(json.dumps(settings, indent=1))
        self.proc = Proc(f"Synapse {server_name}", [sys.executable, "-m", "synapse.app.homeserver", "-c", str(config)],
                         folder.parent / f"{folder.name}.out", self._serves, folder,
                         env={"SYNAPSE_CACHE_FACTOR": "1.0", "PYTHONDONTWRITEBYTECODE": ""})

    def _serves(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/_matrix/client/versions")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

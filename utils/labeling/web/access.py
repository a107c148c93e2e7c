"""Who may open which page: invitations, the lead's password, the rules of an address that others can reach.

On this machine alone (a loopback address) there is no account. Anywhere else a labeler comes with a signed link that
ends, and the lead with a password, and both only over TLS, unless the operator says otherwise.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import ipaddress
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from itsdangerous import BadSignature, URLSafeSerializer

from utils.core.errors import UserError
from utils.labeling.store import Labeler, Store, get_setting, set_setting, signing_key

MIN_PASSWORD = 10  # characters
MAX_PASSWORD = 1000
DAY = 86_400
LEAD_HASH = "lead_password"  # the name of its hash among the settings of a store
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class Keys:
    """What signs links and sessions, and the argon2 hash of the lead's password ("": none was chosen)."""

    secret: str
    lead_hash: str = ""


def load_keys(store: Store) -> Keys:
    """The keys of a store; the signing key is made when it is first asked for."""
    return Keys(signing_key(store), get_setting(store, LEAD_HASH) or "")


def choose_password(store: Store, password: str) -> None:
    """Set the lead's password; sessions of the lead end. Raises UserError if it is too short or too long."""
    set_setting(store, LEAD_HASH, hashed_password(password))


def hashed_password(password: str) -> str:
    """The argon2id hash of a lead's password. Raises UserError if it is too short or too long."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise UserError(
            f"The lead's password has {len(password)} characters: choose {MIN_PASSWORD} to {MAX_PASSWORD}, such as four words."
        )
    return PasswordHasher().hash(password)


def password_fits(password: str, lead_hash: str) -> bool:
    """Whether this is the lead's password. False if none was chosen."""
    if not lead_hash or len(password) > MAX_PASSWORD:
        return False
    try:
        return PasswordHasher().verify(lead_hash, password)
    except (Argon2Error, InvalidHashError):
        return False


# --- invitations ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Invitation:
    """What a link says: whose it is, its version (`revoke_invitation` makes older ones invalid), and until when (seconds
    since 1970)."""

    labeler_id: int
    version: int
    until: float


def invite_token(keys: Keys, labeler: Labeler, days: float, now: float | None = None) -> str:
    """The signed token of a link that lets a labeler in for some days."""
    until = (time.time() if now is None else now) + days * DAY
    return _signer(keys).dumps([labeler.id, labeler.token_version, round(until)])


def read_invite(keys: Keys, token: str) -> Invitation | None:
    """The invitation in a token; None if nobody here signed it. Whether it has ended is for the caller to ask."""
    try:
        labeler_id, version, until = _signer(keys).loads(token)
        return Invitation(int(labeler_id), int(version), float(until))
    except (BadSignature, ValueError, TypeError):
        return None


def _signer(keys: Keys) -> URLSafeSerializer:
    return URLSafeSerializer(
        keys.secret, salt="labeling-invitation", signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"}
    )


# --- sessions ------------------------------------------------------------------------------------------------------


def new_csrf() -> str:
    """A random token that every form of a session carries."""
    return secrets.token_urlsafe(24)


def csrf_fits(session: dict[str, Any], given: str) -> bool:
    """Whether a form's token is the session's; compared in constant time."""
    own = str(session.get("csrf", ""))
    return bool(own) and hmac.compare_digest(own.encode(), given.encode(errors="replace"))


def lead_mark(keys: Keys) -> str:
    """What a lead's session carries; another password makes another mark, so that old sessions end."""
    return hashlib.sha256(f"lead:{keys.secret}:{keys.lead_hash}".encode()).hexdigest()[:32]


# --- the address ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Address:
    """Where the server listens and how others reach it.

    names: further host names under which it may be opened. certificate, key: files of TLS. tls_in_front: a reverse proxy
    on this machine does TLS. insecure: the operator accepts plain HTTP (a class room's network).
    """

    host: str = "127.0.0.1"
    port: int = 8000
    names: tuple[str, ...] = ()
    certificate: str = ""
    key: str = ""
    tls_in_front: bool = False
    insecure: bool = False

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it: then there is no account."""
        return is_loopback(self.host) and not self.tls_in_front

    @property
    def secure(self) -> bool:
        """Whether browsers reach it over TLS, so that cookies may be limited to TLS."""
        return bool(self.certificate) or self.tls_in_front

    @functools.cached_property
    def hosts(self) -> tuple[str, ...]:
        """Host names (lower case, without port) that a request may ask for. Empty: any, as the names are unknown."""
        own = () if self.host in ("0.0.0.0", "::") else (self.host,)
        named = tuple(name.lower() for name in (*own, *self.names))
        if self.local:
            return tuple(dict.fromkeys((*LOCAL_NAMES, *named)))
        return tuple(dict.fromkeys((*named, *LOCAL_NAMES))) if self.names else ()

    def url(self, path: str = "/") -> str:
        """An address to open in a browser."""
        name = self.names[0] if self.names else "localhost" if self.local or self.host in ("0.0.0.0", "::") else self.host
        scheme = "https" if self.secure else "http"
        port = "" if self.tls_in_front else f":{self.port}"
        return f"{scheme}://{name}{port}{path}"


def is_loopback(host: str) -> bool:
    """Whether a name or number of an address means this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_address(address: Address, keys: Keys) -> None:
    """Raises UserError if others could reach the server without TLS or without a lead's password."""
    if bool(address.certificate) != bool(address.key):
        raise UserError("--certificate and --key belong together: give both files, or neither.")
    for name in (address.certificate, address.key):
        if name and not Path(name).is_file():
            raise UserError(f"{name}: there is no such file, give the certificate and its key in PEM format.")
    if address.local:
        return
    if not address.secure and not address.insecure:
        raise UserError(
            f"{address.host} can be reached by others and there is no TLS, so answers and links could be read on the way: give "
            "--certificate and --key, or --tls-in-front behind a reverse proxy, or accept it with --insecure."
        )
    if not keys.lead_hash:
        raise UserError(
            "There is no lead's password, which an address that others can reach needs: "
            "choose one with scripts/label.py password."
        )


def host_allowed(address: Address, header: str) -> bool:
    """Whether the header Host names this server. Without this check a web page elsewhere could reach the server through
    a name of its own (DNS rebinding)."""
    name = header.lower().rsplit(":", 1)[0] if not header.endswith("]") else header.lower()
    return not address.hosts or name in address.hosts

"""Run the web application: one process of uvicorn, so that limits on requests hold and SQLite has one writer."""

from __future__ import annotations

import errno
import socket
import sys
import threading
import webbrowser

import uvicorn

from utils.core.errors import UserError
from utils.labeling.store import Project, Store
from utils.labeling.web.access import Address, check_address, load_keys
from utils.labeling.web.app import create_app

GRACE_SECONDS = 10  # for requests that are in work when the server is stopped


def serve(store: Store, project: Project, address: Address, *, open_browser: bool = False) -> None:
    """Serve one project until Ctrl-C or SIGTERM. Prints the address.

    Raises UserError if others could reach the server without TLS or password, or if the port is taken.
    """
    check_address(address, load_keys(store))
    listening = _listen(address)
    config = uvicorn.Config(
        create_app(store, project.id, address),
        ssl_certfile=address.certificate or None,
        ssl_keyfile=address.key or None,
        proxy_headers=address.tls_in_front,  # the real addresses of clients, only from a proxy on this machine
        forwarded_allow_ips="127.0.0.1",
        access_log=False,  # addresses of invitations are secrets
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    print(f"{project.name}: {address.url()}   (Ctrl-C stops)", flush=True)
    if not address.local and not address.secure:
        print("Without TLS: everybody in this network can read what is sent.", file=sys.stderr, flush=True)
    if open_browser:
        threading.Timer(1.0, webbrowser.open, [address.url()]).start()
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        listening.close()


def _listen(address: Address) -> socket.socket:
    """A socket at the address. Raises UserError if it cannot be had."""
    host = "127.0.0.1" if address.host == "localhost" else address.host.strip("[]")
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, address.port))
    except (OSError, OverflowError) as error:
        found.close()
        taken = getattr(error, "errno", None) == errno.EADDRINUSE
        reason = "is in use by another program" if taken else f"cannot be used ({error})"
        raise UserError(f"Port {address.port} of {address.host} {reason}: choose another with --port.") from None
    return found

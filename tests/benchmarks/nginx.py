"""nginx: the API's listings, and storage that is late and capped, plain, or TLS."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from .loopback import free_ports, running

# A named location serves the file after the sleep, so that ranges, validators, keep-alive and the
# cap are those of nginx's own static files.
_MAIN = """
load_module {modules}/ngx_http_echo_module.so;
worker_processes auto;
"""
_HTTP = """
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    default_type application/octet-stream;
    ssl_certificate {directory}/chain.pem;
    ssl_certificate_key {directory}/chain.pem;
    ssl_session_cache shared:sessions:10m;
    server {{
        listen {host}:{api}{secure};
        root {directory}/api;
        default_type application/json;
    }}
    server {{ listen {host}:{plain}; }}
    server {{
        listen {host}:{store};
        limit_rate 20m;
        location / {{ echo_sleep 0.03; echo_exec @files; }}
        location @files {{ }}
    }}
    server {{ listen {host}:{tls} ssl; }}
    server {{
        listen {host}:{far} ssl;
        limit_rate 50m;
        location / {{ echo_sleep 0.02; echo_exec @files; }}
        location @files {{ }}
    }}
"""
_KINDS = ("api", "plain", "store", "tls", "far")
_SECURE = ("tls", "far")
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Server:
    """A running nginx, which serves the files in `site` as storage and those in `api` as JSON."""

    directory: Path
    ports: dict[str, int]
    host: str = LOOPBACK

    @property
    def site(self) -> Path:
        """The folder of the files."""
        return self.directory / "site"

    @property
    def api(self) -> Path:
        """The folder of the listings."""
        return self.directory / "api"

    @property
    def authority(self) -> Path:
        """The certificate that signed those of the TLS storages."""
        return self.directory / "authority.pem"

    def secure(self, kind: str) -> bool:
        """Whether TLS is used, as it is for an API that is not on loopback."""
        return kind in _SECURE or (kind == "api" and self.host != LOOPBACK)

    def url(self, kind: str) -> str:
        """The address of "api", or of a storage.

        "plain" and "tls" answer at once; "store" is 30 ms late and capped at 20 MB/s a
        connection, "far" is over TLS, 20 ms late, and capped at 50 MB/s.
        """
        scheme = "https" if self.secure(kind) else "http"
        return f"{scheme}://{self.host}:{self.ports[kind]}"


@contextmanager
def serving(
    directory: Path, *, host: str = LOOPBACK, within: Sequence[str] = ()
) -> Iterator[Server]:
    """Run nginx with everything that it reads and writes below the directory.

    It listens at the address `host`, where the command `within` runs it. Raises `RuntimeError` if
    nginx or its echo module is missing, or if it does not start.
    """
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None:
        raise RuntimeError("nginx is not installed (Debian: nginx-light, libnginx-mod-http-echo)")
    server = Server(directory, dict(zip(_KINDS, free_ports(len(_KINDS)), strict=True)), host)
    server.site.mkdir()
    server.api.mkdir()
    _certify(server)
    main = _MAIN.format(modules=_modules(program))
    secure = " ssl" if server.secure("api") else ""
    http = _HTTP.format(directory=directory, host=host, secure=secure, **server.ports)
    with running(program, directory, http, main=main, within=within):
        yield server


def _modules(program: str) -> str:
    built = subprocess.run([program, "-V"], capture_output=True, text=True, check=True).stderr
    found = re.search(r"--modules-path=(\S+)", built)
    folder = found[1] if found else "/usr/lib/nginx/modules"
    if not Path(folder, "ngx_http_echo_module.so").exists():
        raise RuntimeError(f"no ngx_http_echo_module.so in {folder} (libnginx-mod-http-echo)")
    return folder


def _certify(server: Server) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(server.authority))
    certificate = authority.issue_cert(server.host)
    certificate.private_key_and_cert_chain_pem.write_to_path(str(server.directory / "chain.pem"))

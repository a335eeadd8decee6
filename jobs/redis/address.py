"""Parses the URL of a queue. Connects to nothing, and no error repeats a part of the URL: it may be a secret.

redis://user:password@host:6379/0   rediss://…   unix:///path/redis.sock?db=0
redis+sentinel://user:password@host:26379,host:26379/service/0     (rediss+sentinel:// for TLS)
redis+cluster://user:password@host:7000,host:7001                  (rediss+cluster:// for TLS)

Options after `?`, in every form: username, password, password_file, db (not for a Cluster), and with TLS
ssl_ca_certs, ssl_certfile, ssl_keyfile, ssl_cert_reqs, ssl_check_hostname. Sentinels get the same user and
password, or those of sentinel_username and sentinel_password (or sentinel_password_file).
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import SplitResult, parse_qsl, unquote, unquote_to_bytes, urlsplit

Kind = Literal["single", "sentinel", "cluster"]

_SCHEMES = (
    "redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster",
)  # fmt: skip
_KINDS: dict[str, Kind] = {"": "single", "sentinel": "sentinel", "cluster": "cluster"}
_DEFAULT_PORT: dict[Kind, int] = {"single": 6379, "sentinel": 26379, "cluster": 6379}
_DATABASE = re.compile(r"[0-9]{1,6}")
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_CHOICES: dict[str, dict[str, Any]] = {
    "ssl_cert_reqs": {"required": "required", "none": "none"},
    "ssl_check_hostname": {"true": True, "false": False},
}
_TLS = (*_FILES, *_CHOICES)
_SENTINEL = ("sentinel_username", "sentinel_password")
_FROM_FILE = "_file"
"""Ending of an option that names a file with the value of another option: password_file."""
_ESCAPES = "If the user or the password has one of / ? # [ ] @, write it as %2F %3F %23 %5B %5D %40"


@dataclass(frozen=True)
class Address:
    """A parsed URL.

    `options` and `sentinel_options` are redis-py's arguments for connections to the servers of the data, and
    to the Sentinels.
    """

    kind: Kind
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""
    options: tuple[tuple[str, Any], ...] = ()
    sentinel_options: tuple[tuple[str, Any], ...] = ()

    @property
    def checks_certificates(self) -> bool:
        """Whether TLS, if it is used, proves that the server is the right one."""
        options = dict(self.options)
        return options.get("ssl_cert_reqs") != "none" and options.get("ssl_check_hostname", True)


def parse_url(url: str) -> Address:
    """Parse a URL. Raises ValueError for all forms and options but those at the head of this file."""
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        got = "another scheme" if separator else "a value that is no URL"
        raise ValueError(
            f"must begin with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://; got {got}"
        )
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(f"is not a valid URL. {_ESCAPES}") from None
    kind = _KINDS[scheme.partition("+")[2]]
    given, hosts = _credentials(parts, scheme)
    options = _query(parts.query, kind, has_tls=scheme.startswith("rediss"))
    for name in given.keys() & options.keys():
        raise ValueError(f"has the {name} twice: before the host, and as an option")
    options |= given
    if scheme == "unix":
        # As bytes, because the name of a folder need not be UTF-8.
        path = os.fsdecode(unquote_to_bytes(parts.path))
        return Address(
            "single", options=_items(options | {"unix_socket_path": path} | _database("", options, kind))
        )
    service, _, database = parts.path.strip("/").partition("/") if kind == "sentinel" else ("", "", "")
    if kind != "sentinel":
        database = parts.path.strip("/")
    elif not service:
        raise ValueError("a Sentinel URL needs the service: redis+sentinel://host:26379/service/0")
    options |= _database(database, options, kind)
    if scheme.startswith("rediss"):
        options["ssl"] = True
    places = [_host_and_port(host, _DEFAULT_PORT[kind], kind) for host in hosts.split(",")]
    if kind == "single":
        if len(places) > 1:
            raise ValueError("names several hosts; use redis+sentinel:// or redis+cluster:// for them")
        options |= {"host": places[0][0], "port": places[0][1]}
    own = {name.removeprefix("sentinel_"): options.pop(name) for name in _SENTINEL if name in options}
    return Address(
        kind, tuple(places), unquote(service), _items(options), _items(_sentinel_options(options, own))
    )


def check_url(url: str) -> str:
    """Return the URL itself. Raises ValueError where it cannot be one of a queue; nothing is connected."""
    parse_url(url)
    return url


def without_credentials(url: str) -> str:
    """Return the URL as it may be logged: no user, no password, no options."""
    scheme, _, _ = url.partition("://")
    try:
        parse_url(url)
    except ValueError:
        return f"{scheme}://…" if scheme in _SCHEMES else "a wrong URL"
    parts = urlsplit(url)
    return f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _credentials(parts: SplitResult, scheme: str) -> tuple[dict[str, Any], str]:
    """Return user and password, and the list of hosts."""
    credentials, _, hosts = parts.netloc.rpartition("@")
    if scheme == "unix":
        if hosts or not parts.path or parts.fragment:
            raise ValueError(f"needs three slashes and a path: unix:///path/redis.sock. {_ESCAPES}")
    elif "@" in parts.path or parts.fragment:
        raise ValueError(f"has a user or a password that ends too early. {_ESCAPES}")
    username, _, password = credentials.partition(":")
    given = {"username": unquote(username), "password": unquote(password)}
    return {name: value for name, value in given.items() if value}, hosts


def _query(query: str, kind: Kind, *, has_tls: bool) -> dict[str, Any]:
    known = ("username", "password", "password_file", *(() if kind == "cluster" else ("db",)))
    known = (*known, *(_TLS if has_tls else ()))
    if kind == "sentinel":
        known = (*known, *_SENTINEL, "sentinel_password_file")
    options: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in _TLS and not has_tls:
            raise ValueError(f"has the option {name}, which needs TLS: begin with rediss")
        if name not in known:
            raise ValueError(
                f"has an unknown option after the question mark; known are {', '.join(known)}. {_ESCAPES}"
            )
        option = name.removesuffix(_FROM_FILE)
        if option in options:
            raise ValueError(f"has the option {option} twice")
        options[option] = _value(name, value)
    if options.get("ssl_cert_reqs") == "none":
        options.setdefault("ssl_check_hostname", False)  # the ssl module requires it
    return options


def _value(name: str, value: str) -> Any:
    if name in _CHOICES:
        if value.lower() not in _CHOICES[name]:
            raise ValueError(f"{name} must be {' or '.join(_CHOICES[name])}")
        return _CHOICES[name][value.lower()]
    if name in _FILES and not Path(value).is_file():
        raise ValueError(f"{name} names a file that does not exist")
    return _read_secret(name, Path(value)) if name.endswith(_FROM_FILE) else value


def _read_secret(name: str, path: Path) -> str:
    """Return the text of a file without line ends at its end."""
    try:
        secret = path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"{name} names a file that cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ValueError(f"{name} names a file that is not text in UTF-8") from error
    if not secret:
        raise ValueError(f"{name} names an empty file")
    return secret


def _database(text: str, options: dict[str, Any], kind: Kind) -> dict[str, int]:
    if kind == "cluster":
        if text not in ("", "0"):
            raise ValueError("a Cluster has no databases: end the URL after the hosts")
        return {}
    if text and "db" in options:
        raise ValueError("names the database twice: in the path, and as the option db")
    number = str(options.get("db", text)) or "0"
    if not _DATABASE.fullmatch(number):
        raise ValueError(f"has a database that is not a number. {_ESCAPES}")
    return {"db": int(number)}


def _sentinel_options(options: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return the TLS settings and the credentials for Sentinels. `own`: those of their own options."""
    tls = {name: value for name, value in options.items() if name == "ssl" or name in _TLS}
    shared = {name: options[name] for name in ("username", "password") if name in options}
    return tls | {name: value for name, value in (own or shared).items() if value}


def _host_and_port(text: str, default_port: int, kind: Kind) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if ":" in text.rpartition("]")[2] else (text, "", "")
    if port and not (_DATABASE.fullmatch(port) and 0 < int(port) < 65_536):
        raise ValueError(f"has a port that is not a number from 1 to 65535. {_ESCAPES}")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"has a host with a colon; write an IPv6 address in brackets. {_ESCAPES}")
    if not host and kind != "single":
        raise ValueError("names no host")
    return unquote(host.strip("[]")) or "localhost", int(port or default_port)


def _items(options: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(options.items()))

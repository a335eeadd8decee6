"""Redis users with the rights that docs/security.md lists, or fewer."""

import re
from pathlib import Path

from tests.support.redis_servers import RedisServer

PASSWORD = "geheim"
_SECURITY = Path(__file__).resolve().parents[2] / "docs" / "security.md"


def documented_rights() -> list[str]:
    """The words of the ACL rule in docs/security.md."""
    text = _SECURITY.read_text(encoding="utf-8")
    (rule,) = re.findall(r"```\nACL SETUSER rudolph on >PASSWORD (.*?)\n```", text, flags=re.DOTALL)
    return rule.split()


def documented_commands() -> list[str]:
    return [word.removeprefix("+") for word in documented_rights() if word.startswith("+")]


def make_user(server: RedisServer, name: str, queue: str = "rudolph", without: str = "") -> str:
    """Make or change a user with the documented rights, less one command. Returns the URL."""
    rights = [word.replace("rudolph", queue) for word in documented_rights() if word != f"+{without}"]
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", name, "reset", "on", f">{PASSWORD}", *rights)
    return url_of(server, name)


def url_of(server: RedisServer, name: str, password: str = PASSWORD) -> str:
    return f"redis://{name}:{password}@127.0.0.1:{server.port}/0"

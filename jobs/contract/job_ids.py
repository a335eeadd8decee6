"""Ids of jobs. An id holds the time at which it was made, as a UUID of version 7 does (RFC 9562, 5.7).

So an unknown job that may be on its way differs from one that is gone.
"""

import re
import secrets
import time
import uuid
from typing import Final

_ID: Final = re.compile(r"job_([0-9a-f]{12})7[0-9a-f]{19}")


def new_job_id() -> str:
    """Return `job_` and the 32 hexadecimal digits of a UUID of version 7."""
    time_ms = time.time_ns() // 1_000_000
    bits = time_ms << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)
    return f"job_{uuid.UUID(int=bits).hex}"


def is_younger(job_id: str, than_s: float) -> bool:
    """Return whether the id was made within `than_s` seconds of now.

    An id of the near future counts too, because the clocks of hosts differ. One without a time does not.
    """
    made = _ID.fullmatch(job_id)
    return made is not None and abs(time.time() - int(made[1], 16) / 1000) < than_s

"""Health command of the images: exits 0 if the URL answers 2xx within two seconds. Needs no curl."""

import sys
import urllib.error
import urllib.request


def main(url: str) -> int:
    if not url.startswith("http://"):
        sys.exit(f"not an http URL: {url}")
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:  # noqa: S310
            return 0 if reply.status < 300 else 1
    except (urllib.error.URLError, OSError) as error:
        sys.stderr.write(f"{url}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

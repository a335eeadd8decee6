"""`python -m scripts.pictures`: write the images and the example replies of the documents.

They come from a server with the demo checkpoint.
"""

import argparse
import tempfile
from pathlib import Path

from scripts.pages.tasks import write_pages
from scripts.pictures.demo import READMES, draw_sheet, replaced
from scripts.pictures.failures import write_failures
from scripts.pictures.playground import take_screenshots
from scripts.pictures.replies import write_replies
from scripts.pictures.server import serving
from scripts.pictures.tutorial import draw_owl


def main() -> None:
    argparse.ArgumentParser(prog="python -m scripts.pictures", description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as url:
        draw_sheet(url)
        draw_owl(url)
        write_failures(url)
        for language, readme in READMES.items():
            readme.write_text(replaced(readme.read_text(encoding="utf-8"), language), encoding="utf-8")
        take_screenshots(url)
        write_replies(url)
        write_pages(url, Path(folder))


if __name__ == "__main__":
    main()

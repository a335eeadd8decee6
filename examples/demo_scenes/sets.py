"""Drawings of the things: sets of emoji from packages of the npm registry, as cut-outs.

`npm pack` downloads the packages. Versions and SHA-256 are fixed, so every run has the same images.
"""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image
from torch import Tensor

from examples.demo_scenes.things import STYLES, Thing
from training.state import load_state, replace_file, save_state

SPRITE_SIDE = 128
"""Pixels; twice the side of the demo's images."""
SPRITE_CONTENT = 96
"""Longer side of the drawing in a sprite, in pixels. The ring around it shows the background."""
RENDER_SIDE = 256
VARIATION = "-fe0f"


@dataclass(frozen=True)
class Package:
    """A package of the npm registry with a set of emoji."""

    name: str
    version: str
    sha256: str
    licence: str
    author: str

    @property
    def file_name(self) -> str:
        """Return the name that `npm pack` gives the file."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


PACKAGES = {
    "noto": Package(
        "@iconify-json/noto",
        "1.2.9",
        "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
        "Apache-2.0",
        "Noto Emoji, Google and contributors",
    ),
    "fluent-flat": Package(
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
        "MIT",
        "Fluent Emoji, Microsoft Corporation",
    ),
    "fluent-3d": Package(
        "@lobehub/fluent-emoji-3d",
        "1.1.0",
        "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
        "MIT",
        "Fluent Emoji, Microsoft Corporation; packaged by LobeHub",
    ),
    "twemoji": Package(
        "@iconify-json/twemoji",
        "1.2.5",
        "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
        "CC-BY-4.0",
        "Twemoji, Twitter, Inc and other contributors",
    ),
    "fluent-contour": Package(
        "@iconify-json/fluent-emoji-high-contrast",
        "1.2.6",
        "0b92d48c90d2200bd499e3cdd09a127ca6a8c8ddefd34c35eb5a1e4994012ae0",
        "MIT",
        "Fluent Emoji, Microsoft Corporation",
    ),
}


class PackageError(OSError):
    """A package that cannot be had, or is not the expected one."""


def load_sprites(things: Sequence[Thing], folder: Path, report: Callable[[str], None] = print) -> Tensor:
    """Return the cut-outs, uint8, shape = (things, styles, 4, SPRITE_SIDE, SPRITE_SIDE).

    RGB is multiplied by alpha. The packages are downloaded to `folder` if it does not have them. Raises
    PackageError.
    """
    path = folder / "sprites.pt"
    saved = load_state(path)
    characters = [thing.character for thing in things]
    if saved is not None and saved["characters"] == characters:
        return saved["sprites"]
    styles: list[Tensor] = []
    for style in STYLES:
        with tarfile.open(fetch(PACKAGES[style.key], folder, report)) as archive:
            images = _images(archive, characters)
        styles.append(torch.stack([_sprite(image) for image in images]))
    sprites = torch.stack(styles, dim=1)
    save_state(path, {"characters": characters, "sprites": sprites})
    return sprites


def fetch(package: Package, folder: Path, report: Callable[[str], None] = print) -> Path:
    """Return the file of a package; download it if `folder` does not have it. Raises PackageError."""
    path = folder / package.file_name
    if not path.is_file():
        if shutil.which("npm") is None:
            raise PackageError(
                f"npm is missing. Install it (Debian and Ubuntu: apt-get install npm), or put "
                f"{package.file_name} of the npm registry into {folder}."
            )
        report(f"downloading {package.name} {package.version} ({package.licence})")
        with tempfile.TemporaryDirectory() as temporary:
            command = ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
            done = subprocess.run(command, cwd=temporary, capture_output=True, text=True, check=False)
            packed = Path(temporary) / package.file_name
            if done.returncode or not packed.is_file():
                raise PackageError(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")
            with replace_file(path) as partial:
                shutil.copyfile(packed, partial)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != package.sha256:
        raise PackageError(f"{path} has SHA-256 {found} instead of {package.sha256}. Delete the file.")
    return path


def code_point(character: str) -> str:
    """Return the name of an emoji in the packages."""
    return f"{ord(character[0]):x}"


def _images(archive: tarfile.TarFile, characters: Sequence[str]) -> list[Image.Image]:
    names = set(archive.getnames())
    if "package/icons.json" not in names:
        return [_webp(archive, names, character) for character in characters]
    icons, points = _json(archive, "icons.json"), _json(archive, "chars.json")
    return [_vector(icons, points, character) for character in characters]


def _json(archive: tarfile.TarFile, name: str) -> dict[str, Any]:
    return json.loads(_read(archive, f"package/{name}"))


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise PackageError(f"{name} is not a file of its package.")
    return file.read()


def _webp(archive: tarfile.TarFile, names: set[str], character: str) -> Image.Image:
    for suffix in ("", VARIATION):
        name = f"package/assets/{code_point(character)}{suffix}.webp"
        if name in names:
            return Image.open(io.BytesIO(_read(archive, name))).convert("RGBA")
    raise PackageError(f"{archive.name!r} has no drawing of {character}.")


def _vector(icons: dict[str, Any], points: dict[str, str], character: str) -> Image.Image:
    import resvg_py

    point = code_point(character)
    name = points.get(point) or points.get(point + VARIATION)
    name = icons.get("aliases", {}).get(name, {}).get("parent", name)
    icon = icons["icons"].get(name)
    if icon is None:
        raise PackageError(f"{icons['prefix']} has no drawing of {character}.")
    width, height = icon.get("width", icons["width"]), icon.get("height", icons["height"])
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width} {height}" color="black">{icon["body"]}</svg>'
    )
    png = resvg_py.svg_to_bytes(svg_string=svg, width=RENDER_SIDE, height=RENDER_SIDE)
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


def _sprite(image: Image.Image) -> Tensor:
    """Fit a drawing into the middle of a sprite, shape = (4, SPRITE_SIDE, SPRITE_SIDE)."""
    cut = image.crop(image.getchannel("A").getbbox())
    factor = SPRITE_CONTENT / max(cut.size)
    size = (max(1, round(cut.width * factor)), max(1, round(cut.height * factor)))
    # "RGBa" is premultiplied by alpha, so that resizing makes no dark edges.
    cut = cut.convert("RGBa").resize(size, Image.Resampling.LANCZOS)
    sprite = Image.new("RGBa", (SPRITE_SIDE, SPRITE_SIDE), (0, 0, 0, 0))
    sprite.paste(cut, ((SPRITE_SIDE - size[0]) // 2, (SPRITE_SIDE - size[1]) // 2))
    return torch.from_numpy(numpy.asarray(sprite).copy()).permute(2, 0, 1)

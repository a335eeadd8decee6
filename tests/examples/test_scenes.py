"""The data of the larger demo checkpoint: phrases, drawings, compositions, and what is held out."""

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch

from examples.demo_scenes import sets
from examples.demo_scenes.batches import SceneBatches
from examples.demo_scenes.drawing import Cast, SceneCodes, recolour
from examples.demo_scenes.generation import FLAT, ORANGE
from examples.demo_scenes.metrics import Recogniser
from examples.demo_scenes.phrases import PromptShares, all_texts, caption, prompt, style_prompt
from examples.demo_scenes.rows import SceneMixture, SceneRows
from examples.demo_scenes.scenes import (
    CELLS,
    LAYOUTS,
    Level,
    Scene,
    SceneSampler,
    SceneShares,
    all_drawings,
    held_out,
)
from examples.demo_scenes.sets import SPRITE_SIDE, PackageError, load_sprites
from examples.demo_scenes.things import COLOURS, STYLES, TABLE, load_things
from model.config import ModelConfig
from training.sequences import RowBuilder
from training.state import step_generator

THINGS = load_things()
CONFIG = ModelConfig(2, 32, 2, 40, CELLS, 40, 3, 3, 256, 64, text_special_tokens=8)


def _index(name: str) -> int:
    return [thing.name for thing in THINGS].index(name)


@pytest.fixture(scope="module")
def cast() -> Cast:
    """Return six things, each a bright bar of another height in each style."""
    things = load_things(6)
    sprites = torch.zeros(len(things), len(STYLES), 4, SPRITE_SIDE, SPRITE_SIDE, dtype=torch.uint8)
    for thing in range(len(things)):
        for style in range(len(STYLES)):
            top, left = 16 + 16 * thing, 16 + 12 * style
            sprites[thing, style, :, top : top + 16, left : left + 36] = torch.tensor(
                [[[90]], [[60]], [[30]], [[255]]]
            )
    return Cast(things, sprites)


@pytest.mark.parametrize(
    ("scene", "text"),
    [
        (Scene((_index("кот"),), 0, colour=ORANGE), "оранжевый кот"),
        (Scene((_index("звезда"),), 0, "two", ground=6), "две звезды на синем фоне"),
        (Scene((_index("яблоко"),), 0, "two"), "два яблока"),
        (Scene((_index("солнце"),), 0, "small"), "маленькое солнце"),
        (Scene((_index("ножницы"),), 0, colour=6), "синие ножницы"),
        (Scene((_index("кот"), _index("яблоко")), 0, "pair"), "кот и яблоко"),
        (Scene((_index("сова"),), 0, "left"), "сова слева"),
    ],
)
def test_phrases_agree_in_gender_and_number(scene: Scene, text: str) -> None:
    assert caption(scene, THINGS) == text


def test_a_style_is_an_adjective_that_agrees() -> None:
    assert style_prompt(Scene((_index("сова"),), FLAT, styled=True), THINGS) == "плоская сова"
    assert style_prompt(Scene((_index("кот"),), FLAT, styled=True), THINGS) == "плоский кот"


def test_adjectives_agree_with_synonyms_too() -> None:
    cat = THINGS[_index("кот")]
    genders = {name: cat.gender_of(name) for name in ("кот", "кошка", "котёнок")}
    assert genders == {"кот": "m", "кошка": "f", "котёнок": "m"}
    bear, horse = THINGS[_index("медведь")], THINGS[_index("лошадь")]
    assert (bear.gender_of("мишка"), horse.gender_of("конь")) == ("m", "m")


def test_prompts_have_synonyms_and_unknown_words_but_the_same_scene() -> None:
    random = step_generator(0, 0, "prompts")
    scene = Scene((_index("машина"),), 0, colour=ORANGE)
    texts = {prompt(scene, THINGS, PromptShares(unknown_added=0, unknown_thing=0), random) for _ in range(80)}
    assert {"рыжая машина", "оранжевая машина", "рыжий автомобиль"} <= texts
    added = prompt(scene, THINGS, PromptShares(synonym=0, unknown_added=1.0, unknown_thing=0), random)
    assert len(added.split()) == 3
    assert "машина" in added
    unknown = prompt(scene, THINGS, PromptShares(unknown_added=0, unknown_thing=1.0), random)
    assert unknown.split()[0] in {"рыжая", "оранжевая", "рыжий", "оранжевый", "рыжее", "оранжевое"}
    assert "машина" not in unknown
    assert all(set(text) <= set("абвгдеёжзийклмнопрстуфхцчшщъыьэюя- ") for text in all_texts(THINGS))


def test_what_is_held_out_never_changes_and_is_an_eighth_at_each_level() -> None:
    sampler = SceneSampler(THINGS)
    counts: dict[Level, list[bool]] = {}
    for step in range(1500):
        random = step_generator(1, step, "scenes")
        scene = sampler.propose(replace(SceneShares(), pair=0.4, on_ground=0.0), random)
        level: Level | None = "pair" if scene.layout == "pair" else "colour" if scene.colour else None
        if level:
            counts.setdefault(level, []).append(level in held_out(scene, THINGS))
    for level, found in counts.items():
        assert 0.08 < sum(found) / len(found) < 0.18, level
    pair = Scene((_index("кот"), _index("яблоко")), 0, "pair")
    assert held_out(pair, THINGS) == held_out(replace(pair, things=pair.things[::-1]), THINGS)
    names = [thing.name for thing in THINGS]
    digest = hashlib.sha256(f"{min('кот', 'яблоко')}|{max('кот', 'яблоко')}".encode()).digest()
    assert ("pair" in held_out(pair, THINGS)) == (digest[0] % 8 == 0)
    assert len(set(names)) == len(names) >= 200


def _codes(cast: Cast) -> SceneCodes:
    """Return codes that identify their drawing, and empty cells outside its block."""
    drawings = all_drawings(len(cast.things))
    inner = torch.ones(CELLS, CELLS, dtype=torch.bool)
    inner[2:6, 2:6] = False
    codes = torch.arange(len(drawings))[:, None, None].expand(-1, CELLS, CELLS)
    grounds = -1 - torch.arange(1 + len(COLOURS))[:, None, None].expand(-1, CELLS, CELLS)
    index = {drawing: place for place, drawing in enumerate(drawings)}
    return SceneCodes(index, codes, inner.expand(len(drawings), -1, -1), grounds)


def test_composed_codes_move_a_drawing_by_cells(cast: Cast) -> None:
    codes = _codes(cast)
    scene = Scene((1, 4), 0, "pair", ground=3)
    (first, _), (second, _) = scene.items()
    grid = codes.composed([scene])[0].view(CELLS, CELLS)
    assert set(grid[2:6, :4].flatten().tolist()) == {codes.drawings[first]}
    assert set(grid[2:6, 4:].flatten().tolist()) == {codes.drawings[second]}
    assert set(grid[:2].flatten().tolist()) == {-4}


def test_a_composed_image_is_the_drawn_scene(cast: Cast) -> None:
    shares = SceneShares(pair=0.5, number=0.3, placed=0.1, coloured=0.05, styled=0.0, small=0.0)
    batches = SceneBatches(cast, side=64, moved=1, hardly_moved=1, composed=6, seed=0, shares=shares)
    batch, again = batches(3, "train"), batches(3, "train")
    assert torch.equal(batch.pixels, again.pixels)
    # Cells of 8 pixels as vectors stand for the features of a cell.
    cells = torch.nn.functional.pixel_unshuffle(batch.pixels, 8)
    taken, drawn = batch.arranged(cells)
    expected = torch.nn.functional.pixel_unshuffle(drawn, 8)
    same = (taken - expected).abs().amax(1) < 1e-4
    # Cells at the edge of a thing differ: their code is from white.
    assert float(same.float().mean()) > 0.8
    assert torch.equal(taken[:2], expected[:2])


def test_no_row_shows_what_is_held_out(cast: Cast) -> None:
    codes, shown = _codes(cast), list[Scene]()
    plain = codes.composed

    def composed(scenes: Sequence[Scene]) -> torch.Tensor:
        shown.extend(scenes)
        return plain(scenes)

    def encode(scenes: Sequence[Scene], _random: torch.Generator) -> torch.Tensor:
        return composed(scenes)

    class Letters:
        def encode(self, text: str) -> list[int]:
            return [10 + (ord(letter) % 200) for letter in text][:36]

    noting, sampler, mixture = copy(codes), SceneSampler(cast.things), SceneMixture()
    object.__setattr__(noting, "composed", composed)
    builder = RowBuilder(CONFIG, Letters())  # type: ignore[arg-type]
    rows = SceneRows(sampler, noting, encode, builder, mixture, seed=2)
    for step in range(3):
        assert all(torch.equal(a.left, b.left) for a, b in zip(rows(step), rows(step), strict=True))
    drawn = mixture.drawn_rows + mixture.moved_rows + mixture.named_rows + mixture.named_composed_rows
    assert len(shown) == 6 * (drawn + mixture.unprompted_rows)
    assert not any(held_out(scene, cast.things) for scene in shown)


def test_recolouring_changes_the_colour_and_keeps_light_and_dark() -> None:
    sprite = torch.tensor([[0.1, 0.9], [0.4, 0.6]]).expand(1, 3, 2, 2)
    sprites = torch.cat([sprite, torch.ones(1, 1, 2, 2)], dim=1)
    red = recolour(sprites, torch.tensor([[1.0, 0.0, 0.0]]))[0]
    assert bool((red[0] > red[1]).all())
    assert float(red[0, 0, 0]) < float(red[0, 1, 1])
    assert float(red[1, 0, 1]) > float(red[1, 0, 0])
    assert bool((red[3] == 1).all())


def test_the_recogniser_reads_scenes_also_with_noise(cast: Cast) -> None:
    recogniser = Recogniser(cast, 64)
    scenes = [
        Scene((2,), 1),
        Scene((3,), 1, colour=ORANGE),
        Scene((1, 4), 0, "pair", ground=6),
        *(Scene((5,), 1, layout) for layout in LAYOUTS if layout != "pair"),
        Scene((0,), FLAT, styled=True),
    ]
    images = cast.draw(scenes, 64)
    noise = 0.05 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    images = (images + noise).clamp(0, 1)
    assert all(recogniser.shows(image, scene) for image, scene in zip(images, scenes, strict=True))
    others = [*scenes[1:], scenes[0]]
    assert not any(recogniser.shows(image, scene) for image, scene in zip(images, others, strict=True))
    assert not recogniser.shows(images[0], replace(scenes[0], ground=2))
    assert not recogniser.shows(images[-1], replace(scenes[-1], style=0))


def _package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write packages with a drawing of a cat, and make their hashes the expected ones."""
    icons = {
        "prefix": "test",
        "width": 32,
        "height": 32,
        "icons": {"cat": {"body": '<rect x="8" width="8" height="16"/>'}},
    }
    image = io.BytesIO()
    sets.Image.fromarray(numpy.full((8, 16, 4), 255, numpy.uint8)).save(image, "WEBP", lossless=True)
    files = {
        "package/icons.json": json.dumps(icons).encode(),
        "package/chars.json": json.dumps({"1f408": "cat"}).encode(),
        "package/assets/1f408.webp": image.getvalue(),
    }
    for key, package in sets.PACKAGES.items():
        path = folder / package.file_name
        with tarfile.open(path, "w:gz") as archive:
            for name, data in files.items():
                if name.endswith("webp") == (key == "fluent-3d"):
                    entry = tarfile.TarInfo(name)
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        monkeypatch.setitem(sets.PACKAGES, key, replace(package, sha256=digest))


def test_sprites_are_read_from_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _package(tmp_path, monkeypatch)
    cat = [THINGS[_index("кот")]]
    sprites = load_sprites(cat, tmp_path)
    assert sprites.shape == (1, len(STYLES), 4, SPRITE_SIDE, SPRITE_SIDE)
    # The vector is 8 × 16 and black, the image 16 × 8 and white; both fill three quarters of the sprite.
    vector, image = sprites[0, 0], sprites[0, 1]
    assert vector[:, 64, 64].tolist() == [0, 0, 0, 255]
    assert image[:, 64, 64].tolist() == [255, 255, 255, 255]
    assert (vector[3, 64] > 0).sum() == (image[3, :, 64] > 0).sum() == 48
    assert (vector[3, :, 64] > 0).sum() == (image[3, 64] > 0).sum() == 96
    with pytest.raises(PackageError, match="no drawing of 🐕"):
        load_sprites([THINGS[_index("собака")]], tmp_path)


def test_a_package_with_other_bytes_is_refused(tmp_path: Path) -> None:
    package = sets.PACKAGES["noto"]
    (tmp_path / package.file_name).write_bytes(b"other")
    with pytest.raises(PackageError, match=r"noto-1\.2\.9\.tgz has SHA-256"):
        load_sprites(THINGS[:1], tmp_path)


def test_without_npm_the_message_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackageError, match=r"npm is missing.*iconify-json-noto-1\.2\.9\.tgz"):
        load_sprites(THINGS[:1], tmp_path)


def test_a_broken_line_of_the_table_is_named(tmp_path: Path) -> None:
    table = tmp_path / "things.tsv"
    table.write_text(TABLE.read_text(encoding="utf-8").splitlines()[0] + "\n🐕\tсобака\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"things\.tsv:2 has 2 fields instead of 5"):
        load_things(path=table)
    with pytest.raises(ValueError, match="--things is 1000"):
        load_things(1000)

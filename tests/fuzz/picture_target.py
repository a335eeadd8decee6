"""The program that Atheris runs: `python -m tests.fuzz.picture_target [libFuzzer options] SEEDS`.

Only Python code is instrumented (ours and Pillow's format plugins); the C decoders run as they are.
"""

import sys
import warnings

import atheris

with atheris.instrument_imports(
    include=[
        "app.uploads",
        "images.decoding",
        "images.exif",
        "images.structure",
        "model.images",
        "PIL.ImageFile",
        "PIL.PngImagePlugin",
        "PIL.JpegImagePlugin",
        "PIL.MpoImagePlugin",
        "PIL.WebPImagePlugin",
    ],
    enable_loader_override=False,
):
    from app.errors import ApiError
    from app.uploads import decode_fully
    from model.images import ImageError, open_image, to_square_pixels


def check(data: bytes) -> None:
    """Raises for anything but a clear refusal or a whole picture."""
    accepted = _accepted(data)
    try:
        picture = open_image(data)
    except ImageError as error:
        if accepted:
            raise AssertionError("the API takes what the worker refuses") from error
        return
    if picture.mode != "RGB" or to_square_pixels(picture, 32).shape != (3, 32, 32):
        raise AssertionError(picture)


def _accepted(data: bytes) -> bool:
    try:
        decode_fully(data, "image")
    except ApiError:
        return False
    return True


def main() -> None:
    warnings.simplefilter("ignore")
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

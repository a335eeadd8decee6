"""Bounds of image files, the same for the API, the worker and the command line."""

MAX_IMAGE_BYTES = 10_000_000
MIN_SIDE = 16
MAX_SIDE = 8192
"""Sides in pixels."""
MAX_PIXELS = 25_000_000
MAX_ASPECT = 16
"""Long side divided by short side."""

MAX_CHUNKS = 10_000
"""Of a PNG or a WebP. A PNG of 10 MB in the usual chunks of 8 KiB has 1,250. Python code reads each chunk."""
MAX_JPEG_SEGMENTS = 1000
"""A JPEG of 10 MB has 160 full segments. Bytes between segments count like segments: decoders skip them one
by one.
"""
MAX_JPEG_SCANS = 100
MAX_SCANNED_PIXELS = 500_000_000
"""A progressive JPEG has about ten scans, each of which passes over the whole image. A hundred of them over
25 megapixels are 15 s of decoding for 150 kB.
"""
MAX_EXIF_BYTES = 64 * 1024
"""Bytes that are read of an EXIF block. A segment of a JPEG cannot hold more."""

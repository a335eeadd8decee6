"""The image tokenizer (VQGAN): pixels to codes and back.

Knows the network and the official tensor names. Does not know files or image formats.
"""

from model.image_tokenizer.tokenizer import ImageTokenizer

__all__ = ["ImageTokenizer"]

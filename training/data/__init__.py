"""Data sets of images with texts, or of questions with answers, in the formats that people have."""

from training.data.examples import DataError, Example, load_pixels
from training.data.reader import read_data, read_examples
from training.data.reading import Columns, Fault, Needs

__all__ = ["Columns", "DataError", "Example", "Fault", "Needs", "load_pixels", "read_data", "read_examples"]

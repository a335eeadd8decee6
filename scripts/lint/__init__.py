"""Checks of `make lint` that no library has: words, sentence length, paths in documents, circles of files."""

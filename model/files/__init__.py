"""Checkpoint folders on disk: formats, field names, checksums and downloads."""

"""Image files that clients send: bounds, structure, orientation, and decoding by Pillow.

Knows no HTTP, no queue and no torch, so that the API and the worker apply the same checks.
"""

"""The README's images, their captions and their alternative texts, made by the demo checkpoint.

`make readme-pictures` writes them; `tests/e2e/test_readme_pictures.py` checks that they are current.
"""

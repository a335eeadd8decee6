"""Code blocks of the documents: their commands, run against a server, and the outputs that a page shows.

`make readme-pictures` writes the outputs and images of docs/tasks. `make lint` fails for a command that no
test runs and that has no mark.
"""

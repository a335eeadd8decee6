"""References that are generated from the code: docs/configuration.md, docs/cli.md, tables of docs/tasks.

`make reference` writes them. `make lint` fails while one of them is stale, or while a setting or field has no
description.
"""

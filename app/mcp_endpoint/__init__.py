"""The Model Context Protocol at `/mcp`: the tasks as tools for assistants. Needs the extra `mcp`."""

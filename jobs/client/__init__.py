"""The queue's asyncio client, used by the API and the command line."""

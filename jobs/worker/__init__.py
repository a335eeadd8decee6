"""The queue's blocking client, used by workers."""

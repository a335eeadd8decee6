"""The data that both sides of the queue agree on, and its encoding."""

"""The OpenAI-compatible routes: bodies, their native tasks, replies, streams and the retries of the SDK."""

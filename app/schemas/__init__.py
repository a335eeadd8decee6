"""What crosses the HTTP edge: request bodies, replies, and how a fault in one is told."""

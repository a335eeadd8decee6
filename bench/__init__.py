"""Speed of model, engine and server, each beside its peer in the same run."""

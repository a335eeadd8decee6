"""The recipe of the checkpoint in `checkpoints/demo`, from nothing, and the measurement of its quality."""

"""The recipe of the demo checkpoint: several drawings of each thing, colours, pairs, numbers, places."""

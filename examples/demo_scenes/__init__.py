"""The recipe of a larger demo checkpoint: several drawings of each thing, colours, pairs, numbers, places."""

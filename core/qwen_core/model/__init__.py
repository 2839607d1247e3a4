"""The mathematics: weights, layers, state, logits."""

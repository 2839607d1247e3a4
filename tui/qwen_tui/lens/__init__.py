"""The lens: how sure the model was of each token of an answer, what else it might have said, and how the time went."""

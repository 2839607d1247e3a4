"""How the bundled demo model was made: its corpus, the training twin in torch, and its publication. Not installed."""

"""What the demo model is taught, and the phrasings that are kept out of its training."""

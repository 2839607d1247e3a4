"""The chat screen, its transcript and its meters."""

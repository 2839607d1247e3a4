"""The state of the open conversation, and its way to disk."""

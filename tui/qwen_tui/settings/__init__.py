"""F5, keys, themes."""

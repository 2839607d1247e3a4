"""F5, config.toml, keys, themes."""

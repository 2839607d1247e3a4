"""F3: the kept conversations."""

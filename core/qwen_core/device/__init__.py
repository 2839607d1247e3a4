"""MLX or the line that says what to install; chip, memory, peak bandwidth."""

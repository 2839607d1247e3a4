"""`QwenApp`, and what a person can do in it."""

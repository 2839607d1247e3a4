"""The engine's settings, the ranges of numbers that shape an answer, and where the program's files lie."""

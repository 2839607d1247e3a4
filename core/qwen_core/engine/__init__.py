"""The engine process: `Engine` outside, the worker inside."""

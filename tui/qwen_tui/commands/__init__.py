"""One file a command. What the commands share is in options.py (their words) and run_request.py (what they read)."""

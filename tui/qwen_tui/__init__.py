"""qwen_tui: the terminal app and the command line over qwen_core. Never imports mlx."""

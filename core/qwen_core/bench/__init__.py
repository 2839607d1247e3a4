"""Measuring: workloads, synthetic models, against mlx-lm."""

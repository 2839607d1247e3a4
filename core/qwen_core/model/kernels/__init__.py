"""Kernels of our own for Metal, one file each: what several small operations of a decoded token do, in one launch."""

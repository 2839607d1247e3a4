"""One conversation: load, sample, prefill, decode, a turn, snapshots."""

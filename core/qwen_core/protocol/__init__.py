"""What app and engine say to each other, as plain values."""

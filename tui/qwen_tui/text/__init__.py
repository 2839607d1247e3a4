"""Pure text: made safe, figures, markdown."""

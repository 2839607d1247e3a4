"""A model directory from its headers alone: config, tensors, formats, layout, variant."""

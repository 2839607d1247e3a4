"""F2: the layer map, its table and the values of a tensor."""

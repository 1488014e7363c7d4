"""From pictures to canvases: scaled, cut, in tiles, in random parts."""

"""`air serve`: a page, and the JSON interface under it, that read, edit and draw scenes."""

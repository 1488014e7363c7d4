"""A look at a sample of pictures, and what it says of their objects."""

"""What is behind the objects of a data set, and how it is taken away."""

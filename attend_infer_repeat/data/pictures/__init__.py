"""The user's own pictures: files, frames, labels, and a look at them."""

"""Pictures as they are in files: one, stacks, videos, arrays, larger than memory."""

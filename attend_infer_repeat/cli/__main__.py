"""The command ``air``, also as ``python -m attend_infer_repeat.cli``."""

import sys

from .main import main

if __name__ == "__main__":
    sys.argv[0] = "air"  # what a run's config.json names
    sys.exit(main())

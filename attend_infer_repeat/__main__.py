"""The command ``air``, also as ``python -m attend_infer_repeat``."""

import sys


def run() -> int:
    """Run the command line."""
    try:
        from .cli.main import main
    except KeyboardInterrupt:  # Ctrl-C, before the command line could take it
        print("air: interrupted", file=sys.stderr)
        return 130
    return main()


if __name__ == "__main__":
    sys.argv[0] = "air"  # what a run's config.json names
    sys.exit(run())

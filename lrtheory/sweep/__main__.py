"""``python -m lrtheory.sweep``."""

if __name__ == "__main__":
    import sys

    from lrtheory.sweep.cli import main

    sys.exit(main())

"""``python -m lrtheory.falsify``."""

if __name__ == "__main__":
    import sys

    from lrtheory.falsify.cli import main

    sys.exit(main())

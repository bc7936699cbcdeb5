"""`python -m pisam`, the same as `pisam`."""

from pisam.cli import entry

if __name__ == "__main__":
    entry()

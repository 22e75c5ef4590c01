"""`python -m dualrt`: the same as the `dualrt` command."""

from dualrt.cli import main

if __name__ == "__main__":
    main()

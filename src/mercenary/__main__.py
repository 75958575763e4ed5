"""`python -m mercenary` is `mercenary`, for where the script isn't on the path."""

from mercenary.cli import main

if __name__ == "__main__":
    main()

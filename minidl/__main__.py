"""`python -m minidl`: the same as the `minidl` command."""
from .cli import main

if __name__ == "__main__":
    main()

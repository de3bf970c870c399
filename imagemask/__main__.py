"""``python -m imagemask`` is ``imagemask``."""

from imagemask.cli import main

if __name__ == "__main__":
    main()

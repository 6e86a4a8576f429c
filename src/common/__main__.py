"""python -m common train | sample | sweep; see `common.runs.command`."""

import sys

from .runs.command import main

if __name__ == "__main__":
    sys.exit(main())

"""python -m common train | sample | predict | sweep | data, or wavenet-book; see `common.runs.command`."""

import sys


def main() -> int:
    """Run one command; returns the exit status. One line says so where the extra `runs` is not installed."""
    try:
        from .runs import command
    except ModuleNotFoundError as error:
        print(f"error: {error}; pip install 'wavenet-book[runs]' brings what is missing", file=sys.stderr)
        return 2
    return command.main()


if __name__ == "__main__":
    sys.exit(main())

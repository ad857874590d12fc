"""The `gvstudy` command, also as `python -m gvstudy` where no script is on the path."""

import signal
import sys


def main(prog_name: str | None = None) -> None:
    """Run the command. Ctrl-C ends in one line even while the libraries are loading.

    SIGTERM ends it in the same order: helpers, kernels and temporary files are cleared away.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as shells report it
    try:
        from gvstudy.cli import main as command
    except KeyboardInterrupt:
        sys.exit("Aborted!")  # as click says it later
    command(prog_name=prog_name)


if __name__ == "__main__":
    main(prog_name="python -m gvstudy")

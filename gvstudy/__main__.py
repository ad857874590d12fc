"""`python -m gvstudy`: the gvstudy command where no script is on the path, as on Windows."""

from gvstudy.cli import main

if __name__ == "__main__":
    main(prog_name="python -m gvstudy")

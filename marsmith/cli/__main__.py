"""`python -m marsmith.cli`: the `marsmith` command."""

from marsmith.cli.commands import main

if __name__ == "__main__":
    main()

"""`python -m openqwen` is `openqwen`."""

from openqwen.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())

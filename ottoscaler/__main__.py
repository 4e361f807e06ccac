"""`python -m ottoscaler` is the `ottoscaler` command."""

from ottoscaler.cli.main import main

main()

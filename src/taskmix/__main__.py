"""`python -m taskmix`: the same as the console command."""

from taskmix.cli import main

main()

"""The command line: `taskmix`. Turns errors of ours into one paragraph and an exit code; says nothing else itself.

Commands import what they need when they are called, so that `taskmix --help` answers at once.
"""

from __future__ import annotations

import sys

from taskmix.errors import RunFailed, TaskmixError


def main() -> None:
    """Run the command in `sys.argv`, then end the process.

    Exit codes: 0 done, 1 a step of a run failed, 2 the command, the configuration or the surroundings are at fault,
    130 interrupted by the keyboard. Any other exception is a bug of ours and keeps its traceback.
    """
    from taskmix.cli.app import make_app

    try:
        make_app()(prog_name="taskmix")
    except TaskmixError as error:
        print(f"taskmix: {error}", file=sys.stderr)
        sys.exit(1 if isinstance(error, RunFailed) else 2)

"""What a worker process does: batches in over standard input, results out over standard output, until the input ends."""

from __future__ import annotations

import os
import sys

from fitlab.fit.workers import receive, run_batch, send


def main() -> None:
    """Serve until the other side closes the pipe."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not end up among the results
    while True:
        try:
            batch = receive(sys.stdin.buffer)
        except EOFError:
            return
        send(out, run_batch(batch))


if __name__ == "__main__":
    main()

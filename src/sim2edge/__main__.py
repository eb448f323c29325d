"""Run the `sim2edge` command as `python -m sim2edge`."""

import os
import sys

from sim2edge.cli import main

code = main()
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)  # after torch or JAX, a normal exit takes a second or two

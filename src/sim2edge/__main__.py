"""`python -m sim2edge`: the same as the `sim2edge` command."""

import os
import sys

from sim2edge.cli import main

code = main()
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)  # after torch or JAX, the interpreter takes a second or two to clear away what ends with the process

#!/usr/bin/env python3
"""Runs a command and writes the most memory that it held, in KiB, to a file: peak.py FILE COMMAND…; exits as it does."""
import resource
import subprocess
import sys

# Started from a small process: a child begins with the peak of what started it.
code = subprocess.call(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=file)
sys.exit(code if code >= 0 else 128 - code)

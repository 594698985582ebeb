"""python -m vigil.serving.transformer: the transformer as a process; --help lists its flags."""

import sys

from vigil.serving.main import TRANSFORMER, main

if __name__ == "__main__":
    sys.exit(main(TRANSFORMER, sys.argv[1:]))

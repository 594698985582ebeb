"""python -m vigil.serving.predictor: the predictor as a process; --help lists its flags."""

import sys

from vigil.serving.main import PREDICTOR, main

if __name__ == "__main__":
    sys.exit(main(PREDICTOR, sys.argv[1:]))

"""python -m vigil.serving.sites: the predictor of site models as a process; --help lists its flags."""

import sys

from vigil.serving.main import SITES, main

if __name__ == "__main__":
    sys.exit(main(SITES, sys.argv[1:]))

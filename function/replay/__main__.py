"""python -m function.replay: see function.replay.job."""

import sys

from function.replay.job import main

if __name__ == "__main__":
    sys.exit(main())

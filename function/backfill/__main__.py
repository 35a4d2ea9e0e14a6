"""python -m function.backfill: see function.backfill.job."""

import sys

from function.backfill.job import main

if __name__ == "__main__":
    sys.exit(main())

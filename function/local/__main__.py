"""`python -m function.local PATH ...`: see function.local.run.command."""

import sys

from function.local.run.command import main

if __name__ == "__main__":
    sys.exit(main())

"""``python -m equireann_pyg``: the command line."""

import sys

from equireann_pyg.cli.program import main

sys.exit(main())

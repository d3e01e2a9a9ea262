"""``python -m equireann_pyg``: the command line."""

import sys

from equireann_pyg.cli.entry import main

sys.exit(main())

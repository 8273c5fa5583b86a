# PYTHON_ARGCOMPLETE_OK
"""`python -m hq_sam_hf.cli`, for `accelerate launch -m`."""

import sys

from .main import main

sys.exit(main())

"""python -m stereotalker_core COMMAND ..."""

import gc

gc.disable()  # what imports make stays: to search it for rubbish again and again is a tenth of the start

from .cli import main  # noqa: E402

gc.freeze()
gc.enable()
raise SystemExit(main())

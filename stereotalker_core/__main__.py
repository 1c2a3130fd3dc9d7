"""python -m stereotalker_core COMMAND ..."""

from .cli import main

raise SystemExit(main())

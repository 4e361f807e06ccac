"""`make bench`: the figures of the contract, in one run. `tests.bench.firebase` and `tests.bench.sources` have
their own commands."""

from tests.bench.serving import main

raise SystemExit(main())

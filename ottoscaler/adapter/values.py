"""Where configuration values used to be: they serve both processes now, see `ottoscaler/runtime/values.py`."""

from ottoscaler.runtime.values import (
    DURATION_PATTERN as DURATION_PATTERN,
)
from ottoscaler.runtime.values import (
    Duration as Duration,
)
from ottoscaler.runtime.values import (
    decode_value as decode_value,
)
from ottoscaler.runtime.values import (
    format_duration as format_duration,
)

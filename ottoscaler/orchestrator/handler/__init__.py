"""The handler: where logs and status changes are sent (`OTTO_HANDLER_HOST`, `OttoHandlerLogService`).

A handler that is slow, down or absent costs bounded memory and nothing else.
"""

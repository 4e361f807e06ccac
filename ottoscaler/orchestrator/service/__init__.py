"""The gRPC services that clients call: orders, status, pipelines, logs that workers push."""

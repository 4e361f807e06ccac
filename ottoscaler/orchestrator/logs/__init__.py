"""The logs of workers, read from the kubelet without losing or repeating a line."""

"""The HorizontalPodAutoscaler's side: the objects that make Kubernetes follow a queue.

Nothing here decides a replica count; Kubernetes does. This package writes down what it should decide by.
"""

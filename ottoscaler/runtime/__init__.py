"""What both processes need and nothing more: time, logging, supervised tasks, files, the Kubernetes client.

Every other package may import this one; it imports none of ours.
"""

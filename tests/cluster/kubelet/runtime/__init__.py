"""The container runtime of the process kubelet: what containerd is to a real one.

It is a process of its own so that containers and their logs outlive the kubelet. The kubelet may be
killed and started again at any moment: it asks for the inventory and goes on where it was
(docs/decisions/0015). Requests and notices pass over one abstract Unix socket of the cluster's
network namespace, a JSON line each.
"""

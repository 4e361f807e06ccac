"""The fixed addresses and places of a test cluster.

Each cluster has namespaces of its own, so two of them side by side may use the same ones.
"""

NODE = "node-1"
NODE_IP = "172.30.0.1"
GATEWAY = "10.244.0.1"
POD_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE_IP = "10.96.0.1"
API_PORT = 6443
API_SERVER = f"https://{NODE_IP}:{API_PORT}"
NODE_DISK = "/var/local"
"""A `hostPath` below it lasts as long as the cluster, and no other cluster sees it."""

"""A kubelet for tests: it runs each container's command as a sandboxed local process.

The API server, the controllers and the scheduler of the test cluster are Kubernetes' own; this
package stands in for the one part that needs virtual machines or containers. Pods come in by a watch
of the API server, their processes are started by the container runtime next door (`runtime`), and
what becomes of them goes back as pod statuses, events and logs. What it leaves out is listed in
docs/test-cluster.md.
"""

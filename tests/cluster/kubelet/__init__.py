"""A kubelet for tests: it runs each container's command as a sandboxed local process.

The API server, the controllers and the scheduler of the test cluster are Kubernetes' own; this
package stands in for the one part that needs virtual machines or containers. Pods come in by a watch
of the API server, their processes are started by the container runtime next door (`runtime`), and
what becomes of them goes back as pod statuses, events and logs.

Left out: exec, attach, port-forward and copy; images (names stand for directories of this machine);
limits of processor, memory and storage, and with them eviction and OOM kills; persistent and CSI
volumes; restartable init containers (sidecars); host ports; `dnsConfig`; NetworkPolicy. Done sooner
than by a real one, because tests wait for it: back-off starts at 1 s instead of 10 s, a container is
probed more often until it first answers, and a changed ConfigMap or Secret is in its volumes at once.
"""

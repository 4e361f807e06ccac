"""The kubelet's HTTPS API: what the API server asks it for when somebody runs `kubectl logs`."""

import ssl

from aiohttp import web

from tests.cluster.kubelet.containers import Container
from tests.cluster.kubelet.context import NodeContext
from tests.cluster.kubelet.inotify import DirectoryWatcher
from tests.cluster.kubelet.logs import BadLogOptions, LogOptions, read_log
from tests.cluster.kubelet.node import KUBELET_PORT
from tests.cluster.kubelet.pods import Pod
from tests.cluster.kubelet.podset import PodSet


class KubeletServer:
    """Serves until closed. Clients need a certificate of the cluster's CA."""

    def __init__(self, pods: PodSet, context: NodeContext, watcher: DirectoryWatcher) -> None:
        self._pods = pods
        self._context = context
        self._watcher = watcher
        app = web.Application()
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        app.router.add_get("/healthz", self._health)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)

    async def start(self) -> None:
        settings = self._context.settings
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(settings.pki / "ca.crt"))
        tls.verify_mode = ssl.CERT_REQUIRED
        tls.load_cert_chain(settings.pki / "kubelet-server.crt", settings.pki / "kubelet-server.key")
        await self._runner.setup()
        await web.TCPSite(self._runner, settings.node_ip, KUBELET_PORT, ssl_context=tls, backlog=1024).start()

    async def close(self) -> None:
        await self._runner.cleanup()

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        await self._pods.known.wait()
        names = request.match_info
        pod = self._pods.find(names["namespace"], names["pod"])
        if pod is None:
            return web.Response(status=404, text=f'pod "{names["pod"]}" not found\n')
        container = pod.container(names["container"])
        if container is None:
            return _refusal(f'container "{names["container"]}" is not valid for pod "{names["pod"]}"')
        try:
            options = LogOptions.parse(request.query)
        except BadLogOptions as error:
            return _refusal(f"invalid log options: {error}")
        run = container.previous_run() if options.previous else container.shown_run()
        if run is None:
            return _refusal(_no_log(container, pod, previous=options.previous))
        return await self._stream(request, container, run, options)

    async def _stream(
        self, request: web.Request, container: Container, run: int, options: LogOptions
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        ended = container.exit_of(run)
        async for piece in read_log(container.log_file(run), options, watcher=self._watcher, ended=ended):
            if piece:
                await response.write(piece)
        await response.write_eof()
        return response


def _no_log(container: Container, pod: Pod, *, previous: bool) -> str:
    where = f'container "{container.name}" in pod "{pod.object.name}"'
    if previous:
        return f"previous terminated {where} not found"
    waiting = container.state.to_json().get("waiting", {})
    return f"{where} is waiting to start: {waiting.get('reason', 'no log yet')}"


def _refusal(message: str) -> web.Response:
    return web.Response(status=400, text=f"{message}\n")

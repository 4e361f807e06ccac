"""Path × verb × identity × Accept → status × content type × reason: the contract's table of answers.

Contract: external-metrics-api.md, "Who calls, and how", "Answers", "Who may ask". Each row is a request on
a TLS connection of its own to a server with delegated authentication.
"""

from typing import NamedTuple

import msgspec
import pytest
import yaml

from tests.component.apiservice.serving import GROUP_VERSION, serving

_PATHS = {
    "ROOT": "/",
    "APIS": "/apis",
    "GROUP": "/apis/external.metrics.k8s.io",
    "GV": GROUP_VERSION,
    "DEMAND": f"{GROUP_VERSION}/namespaces/default/queue_demand",
    "WAITING": f"{GROUP_VERSION}/namespaces/default/queue_waiting",
    "BROKEN": f"{GROUP_VERSION}/namespaces/default/queue_broken",
    "OTHER": f"{GROUP_VERSION}/namespaces/other/queue_demand",
    "NOPE": f"{GROUP_VERSION}/namespaces/default/nope",
    "V3": "/openapi/v3",
}
_ACCEPTS = {
    "-": None,
    "json": "application/json",
    "kubectl": "application/json, */*",
    "any": "*/*",
    "hpa": "application/vnd.kubernetes.protobuf, */*",
    "protobuf": "application/vnd.kubernetes.protobuf",
    "yaml": "application/yaml",
    "html": "text/html",
    "html-or-any": "text/html, */*;q=0.1",
    "no-json": "application/json;q=0, application/yaml;q=0.5",
    "table": "application/json;as=Table;v=v1;g=meta.k8s.io",
    "table-or-json": "application/json;as=Table;v=v1;g=meta.k8s.io, application/json",
    "v2": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    "v2beta1": "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    "aggregator": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    "v3": "application/json;g=apidiscovery.k8s.io;v=v3;as=APIGroupDiscoveryList",
    "v2-protobuf": "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    "openapi-protobuf": "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
}
_TYPES = {
    "json": "application/json",
    "yaml": "application/yaml",
    "protobuf": "application/vnd.kubernetes.protobuf",
    "text": "text/plain; charset=utf-8",
    "v2": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    "v2beta1": "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    "v2-protobuf": "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
}

_TABLE = """
# method path                identity        accept         status type       kind or reason

# The aggregator's probe: every second, by itself, without Accept
GET     GV                   aggregator      -              200    json       APIResourceList
GET     GV                   aggregator      any            200    json       APIResourceList
GET     GV/                  aggregator      -              200    json       APIResourceList
GET     GV                   hpa             -              200    json       APIResourceList
GET     GV                   jane            kubectl        200    json       APIResourceList
GET     GV                   token           kubectl        200    json       APIResourceList
GET     GV                   mallory         -              200    json       APIResourceList
GET     GV                   aggregator      protobuf       200    protobuf   APIResourceList
GET     GV                   aggregator      yaml           200    yaml       APIResourceList
GET     GV                   aggregator      html           406    json       NotAcceptable
GET     GV                   aggregator      html-or-any    200    json       APIResourceList
GET     GV?timeout=32s       aggregator      -              200    json       APIResourceList
GET     GV?x=%zz             aggregator      -              400    json       BadRequest
GET     GV                   nobody          -              401    json       Unauthorized
GET     GV                   forged          -              401    json       Unauthorized
GET     GV                   forged-by-name  -              401    json       Unauthorized
GET     GV                   bad-token       -              401    json       Unauthorized
GET     GV                   forged-by-user  -              200    json       APIResourceList
POST    GV                   aggregator      -              405    json       MethodNotAllowed
PUT     GV                   aggregator      -              405    json       MethodNotAllowed
DELETE  GV                   aggregator      -              405    json       MethodNotAllowed
HEAD    GV                   aggregator      -              405    json       -
OPTIONS GV                   aggregator      -              405    json       MethodNotAllowed
POST    GV                   mallory         -              403    json       Forbidden
POST    GV                   nobody          -              401    json       Unauthorized

# The aggregator's discovery, in both versions, and legacy clients'
GET     APIS                 aggregator      v2             200    v2         APIGroupDiscoveryList
GET     APIS                 aggregator      v2beta1        200    v2beta1    APIGroupDiscoveryList
GET     APIS                 aggregator      aggregator     200    v2         APIGroupDiscoveryList
GET     APIS                 aggregator      v2-protobuf    200    v2-protobuf APIGroupDiscoveryList
GET     APIS                 aggregator      v3             406    json       NotAcceptable
GET     APIS                 aggregator      -              200    json       APIGroupList
GET     APIS/                aggregator      -              200    json       APIGroupList
GET     APIS                 aggregator      kubectl        200    json       APIGroupList
GET     APIS                 aggregator      protobuf       200    protobuf   APIGroupList
GET     APIS                 aggregator      yaml           200    yaml       APIGroupList
GET     APIS                 aggregator      html           406    json       NotAcceptable
GET     APIS                 aggregator      table          406    json       NotAcceptable
GET     APIS                 hpa             v2             200    v2         APIGroupDiscoveryList
GET     APIS                 nobody          v2             401    json       Unauthorized
GET     APIS                 forged          v2             401    json       Unauthorized
POST    APIS                 aggregator      v2             405    json       MethodNotAllowed
HEAD    APIS                 aggregator      v2             405    json       -
GET     GROUP                aggregator      -              200    json       APIGroup
GET     GROUP/               aggregator      -              200    json       APIGroup
GET     GROUP                aggregator      protobuf       200    protobuf   APIGroup
GET     GROUP                jane            yaml           200    yaml       APIGroup
GET     GROUP                nobody          -              401    json       Unauthorized
PATCH   GROUP                aggregator      -              405    json       MethodNotAllowed

# The HPA controller, and people
GET     DEMAND               hpa             hpa            200    protobuf   ExternalMetricValueList
GET     DEMAND               hpa             -              200    json       ExternalMetricValueList
GET     DEMAND               hpa             any            200    json       ExternalMetricValueList
GET     DEMAND               hpa             json           200    json       ExternalMetricValueList
GET     DEMAND               hpa             kubectl        200    json       ExternalMetricValueList
GET     DEMAND               hpa             protobuf       200    protobuf   ExternalMetricValueList
GET     DEMAND               hpa             yaml           200    yaml       ExternalMetricValueList
GET     DEMAND               hpa             no-json        200    yaml       ExternalMetricValueList
GET     DEMAND               hpa             html-or-any    200    json       ExternalMetricValueList
GET     DEMAND               hpa             table-or-json  200    json       ExternalMetricValueList
GET     DEMAND               hpa             html           406    json       NotAcceptable
GET     DEMAND               hpa             table          406    json       NotAcceptable
GET     DEMAND               hpa             v2             406    json       NotAcceptable
GET     DEMAND/              hpa             -              200    json       ExternalMetricValueList
GET     DEMAND               aggregator      -              200    json       ExternalMetricValueList
GET     DEMAND               jane            kubectl        200    json       ExternalMetricValueList
GET     DEMAND               token           kubectl        200    json       ExternalMetricValueList
GET     DEMAND               mallory         kubectl        403    json       Forbidden
GET     DEMAND               mallory         protobuf       403    protobuf   Forbidden
GET     DEMAND               mallory         yaml           403    yaml       Forbidden
GET     DEMAND               mallory         html           403    json       Forbidden
GET     DEMAND               nobody          -              401    json       Unauthorized
GET     DEMAND               nobody          protobuf       401    protobuf   Unauthorized
GET     DEMAND               nobody          html           401    json       Unauthorized
GET     DEMAND               bad-token       hpa            401    protobuf   Unauthorized
GET     DEMAND               forged          hpa            401    protobuf   Unauthorized
GET     DEMAND               forged-by-user  -              403    json       Forbidden
GET     DEMAND               forged-by-name  -              401    json       Unauthorized

# Selectors
GET     DEMAND?labelSelector=queue%3Da               hpa  hpa   200 protobuf ExternalMetricValueList
GET     DEMAND?labelSelector=queue=a                 hpa  json  200 json     ExternalMetricValueList
GET     DEMAND?labelSelector=queue%3D%3Da            hpa  json  200 json     ExternalMetricValueList
GET     DEMAND?labelSelector=queue%20in%20(a,b)      hpa  json  200 json     ExternalMetricValueList
GET     DEMAND?labelSelector=queue+notin+(b)         hpa  json  200 json     ExternalMetricValueList
GET     DEMAND?labelSelector=kind!%3Dredis-list      hpa  json  200 json     ExternalMetricValueList
GET     DEMAND?labelSelector=queue                   hpa  json  200 json     ExternalMetricValueList
GET     DEMAND?labelSelector=!absent                 hpa  json  200 json     ExternalMetricValueList
GET     DEMAND?labelSelector=                        hpa  json  200 json     ExternalMetricValueList
GET     DEMAND?labelSelector                         hpa  json  200 json     ExternalMetricValueList
GET     DEMAND?limit=500&resourceVersion=0           hpa  json  200 json     ExternalMetricValueList
GET     DEMAND?unknown=1&fieldSelector=metadata.name%3Dx  hpa json 200 json  ExternalMetricValueList
GET     DEMAND?labelSelector=queue%3Dc               hpa  json  404 json     NotFound
GET     DEMAND?labelSelector=!queue                  hpa  json  404 json     NotFound
GET     DEMAND?labelSelector=%3D                     hpa  json  400 json     BadRequest
GET     DEMAND?labelSelector=a+in+(                  hpa  json  400 json     BadRequest
GET     DEMAND?labelSelector=a+in+(                  hpa  hpa   400 protobuf BadRequest
GET     DEMAND?labelSelector=-a                      hpa  json  400 json     BadRequest
GET     DEMAND?labelSelector=a%00                    hpa  json  400 json     BadRequest
GET     DEMAND?labelSelector=%zz                     hpa  json  400 json     BadRequest
GET     DEMAND?labelSelector=%                       hpa  json  400 json     BadRequest
GET     DEMAND?labelSelector=%ff                     hpa  json  400 json     BadRequest
GET     DEMAND?labelSelector=a;b                     hpa  json  400 json     BadRequest
GET     DEMAND?labelSelector=a&labelSelector=b       hpa  json  400 json     BadRequest
GET     DEMAND?labelSelector=%zz                     mallory  json  403 json Forbidden
GET     DEMAND?labelSelector=%3D                     nobody   json  401 json Unauthorized

# Values that are not to be had
GET     WAITING              hpa             hpa            503    protobuf   ServiceUnavailable
GET     WAITING              hpa             json           503    json       ServiceUnavailable
GET     WAITING              hpa             yaml           503    yaml       ServiceUnavailable
GET     WAITING              hpa             html           406    json       NotAcceptable
GET     WAITING              mallory         json           403    json       Forbidden
GET     BROKEN               hpa             json           500    json       InternalError
GET     BROKEN               hpa             hpa            500    protobuf   InternalError
GET     OTHER                hpa             hpa            404    protobuf   NotFound
GET     OTHER                hpa             json           404    json       NotFound
GET     NOPE                 hpa             json           404    json       NotFound
GET     NOPE                 mallory         json           403    json       Forbidden
GET     NOPE                 nobody          json           401    json       Unauthorized

# Verbs
POST    DEMAND               aggregator      json           405    json       MethodNotAllowed
PUT     DEMAND               aggregator      json           405    json       MethodNotAllowed
PATCH   DEMAND               aggregator      json           405    json       MethodNotAllowed
DELETE  DEMAND               aggregator      json           405    json       MethodNotAllowed
OPTIONS DEMAND               aggregator      json           405    json       MethodNotAllowed
TRACE   DEMAND               aggregator      json           405    json       MethodNotAllowed
HEAD    DEMAND               aggregator      json           405    json       -
POST    DEMAND               aggregator      protobuf       405    protobuf   MethodNotAllowed
POST    DEMAND               hpa             json           403    json       Forbidden
DELETE  DEMAND               hpa             json           403    json       Forbidden
HEAD    DEMAND               hpa             json           405    json       -
HEAD    DEMAND               nobody          json           401    json       -
GET     DEMAND?watch=true    aggregator      json           405    json       MethodNotAllowed
GET     DEMAND?watch=1       aggregator      hpa            405    protobuf   MethodNotAllowed
GET     DEMAND?watch=false   aggregator      json           200    json       ExternalMetricValueList
GET     DEMAND?watch=0       hpa             json           200    json       ExternalMetricValueList
GET     DEMAND?watch=true    hpa             json           403    json       Forbidden
GET     DEMAND?watch=true    nobody          json           401    json       Unauthorized

# Paths that are not ours
GET     /nope                aggregator      -              404    json       NotFound
GET     /nope                hpa             -              404    json       NotFound
GET     /nope                nobody          -              401    json       Unauthorized
GET     /private             hpa             -              403    json       Forbidden
GET     /private             jane            protobuf       403    protobuf   Forbidden
POST    /nope                aggregator      -              404    json       NotFound
HEAD    /nope                aggregator      -              404    json       -
GET     /api                 aggregator      -              404    json       NotFound
GET     /api/v1/pods         aggregator      -              404    json       NotFound
GET     /api/v1/pods         hpa             -              404    json       NotFound
GET     /apis/other/v1       aggregator      -              404    json       NotFound
GET     /apis/other/v1/namespaces/default/queue_demand      aggregator json 404 json NotFound
GET     GROUP/v1             aggregator      -              404    json       NotFound
GET     GROUP/v1/namespaces/default/queue_demand            aggregator json 404 json NotFound
GET     GV/namespaces        aggregator      -              404    json       NotFound
GET     GV/namespaces/default aggregator     -              404    json       NotFound
GET     GV/namespaces/default/ aggregator    -              404    json       NotFound
GET     GV/queue_demand      aggregator      -              404    json       NotFound
GET     GV//namespaces/default/queue_demand  aggregator -   404    json       NotFound
GET     GV/namespaces//queue_demand          aggregator -   404    json       NotFound
GET     GV/namespaces/default/queue%5Fdemand aggregator -   200    json       ExternalMetricValueList
GET     DEMAND/x             aggregator      -              404    json       NotFound
GET     DEMAND/x/y           aggregator      protobuf       404    protobuf   NotFound
GET     DEMAND/x             hpa             -              404    json       NotFound
GET     DEMAND//             aggregator      -              404    json       NotFound
GET     /%zz                 aggregator      -              400    json       BadRequest
GET     /%zz                 nobody          -              400    json       BadRequest
GET     /%ff                 aggregator      -              400    json       BadRequest
GET     GV/watch             aggregator      -              400    json       BadRequest
GET     GV/watch/namespaces/default/queue_demand  aggregator -  404 json      NotFound
GET     http://elsewhere/apis aggregator     -              400    json       BadRequest
GET     APIS#fragment        aggregator      -              200    json       APIGroupList

# OpenAPI
GET     /openapi/v2          aggregator      json           200    json       -
GET     /openapi/v2          aggregator      -              200    json       -
GET     /openapi/v2          aggregator      openapi-protobuf 406  json       NotAcceptable
GET     /openapi/v2          nobody          json           401    json       Unauthorized
POST    /openapi/v2          aggregator      json           405    json       MethodNotAllowed
GET     V3                   aggregator      -              200    json       -
GET     V3/                  aggregator      -              200    json       -
GET     V3GV                 aggregator      -              200    json       -
GET     V3GV                 jane            json           200    json       -
GET     V3GV                 aggregator      openapi-protobuf 406  json       NotAcceptable
GET     V3GV?hash=OLD        aggregator      -              301    -          -
GET     V3/apis              aggregator      -              404    json       NotFound
GET     V3GV                 nobody          -              401    json       Unauthorized

# Version, index and health
GET     /version             aggregator      -              200    json       -
GET     /version/            hpa             -              200    json       -
GET     /version             nobody          -              401    json       Unauthorized
POST    /version             aggregator      -              405    json       MethodNotAllowed
GET     ROOT                 aggregator      -              200    json       -
GET     ROOT                 nobody          -              401    json       Unauthorized
GET     /healthz             nobody          -              200    text       -
GET     /livez               nobody          html           200    text       -
GET     /readyz              nobody          -              200    text       -
GET     /readyz/             forged          -              200    text       -
GET     /readyz?verbose      nobody          -              200    text       -
GET     /livez?verbose=1     aggregator      protobuf       200    text       -
HEAD    /healthz             nobody          -              200    text       -
POST    /healthz             nobody          -              405    json       MethodNotAllowed
GET     /healthz/ping        nobody          -              401    json       Unauthorized
GET     /healthz/ping        aggregator      -              404    json       NotFound
GET     /metrics             aggregator      -              404    json       NotFound
"""


class _Row(NamedTuple):
    method: str
    path: str
    caller: str
    accept: str
    status: str
    content_type: str
    word: str


_ROWS = [_Row(*line.split()) for line in _TABLE.splitlines() if line and not line.startswith("#")]


def _target(path: str) -> str:
    if path.startswith("V3GV"):
        return f"/openapi/v3{GROUP_VERSION}{path.removeprefix('V3GV')}"
    for name in sorted(_PATHS, key=len, reverse=True):
        if path.startswith(name):
            return _PATHS[name] + path.removeprefix(name)
    return path


@pytest.mark.parametrize("row", _ROWS, ids=[" ".join(row[:4]) for row in _ROWS])
async def test_answer(row: _Row) -> None:
    accept = _ACCEPTS[row.accept]
    async with serving() as running:
        client = await running.client(row.caller)
        headers = [("Accept", accept)] if accept is not None else []
        answer = await client.ask(_target(row.path), row.method, *headers)

    assert (answer.status, answer.content_type) == (int(row.status), _TYPES.get(row.content_type, ""))
    if row.method == "HEAD":
        assert answer.body == b""
    elif row.word != "-":
        assert _word(answer.body, row.content_type, failed=answer.status >= 400) == row.word
    assert b"secret" not in answer.body
    assert "Date" in answer.headers
    assert answer.headers.get("Retry-After") is None


def _word(body: bytes, content_type: str, *, failed: bool) -> str:
    """The `kind` of an object, or the `reason` of a Status."""
    if "protobuf" in content_type:
        return _word_in_protobuf(body, failed=failed)
    content = yaml.safe_load(body) if content_type == "yaml" else msgspec.json.decode(body)
    if not failed:
        return str(content["kind"])
    assert (content["kind"], content["apiVersion"], content["status"]) == ("Status", "v1", "Failure")
    assert content["message"]
    return str(content["reason"])


def _fields(message: bytes) -> dict[int, bytes]:
    """The length-delimited fields of a protobuf message; varints are passed over."""
    found, at = {}, 0
    while at < len(message):
        tag, at = message[at], at + 1
        size, shift = 0, 0
        while True:
            byte, at = message[at], at + 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if tag & 7 == 2:
            found[tag >> 3] = message[at : at + size]
            at += size
    return found


def _word_in_protobuf(body: bytes, *, failed: bool) -> str:
    assert body.startswith(b"k8s\0")
    unknown = _fields(body[4:])
    kind = _fields(unknown[1])[2].decode()
    if not failed:
        return kind
    assert kind == "Status"
    return _fields(unknown[2])[4].decode()


def test_the_table_is_long_enough_and_says_nothing_twice() -> None:
    assert len(_ROWS) >= 150
    assert len({row[:4] for row in _ROWS}) == len(_ROWS)

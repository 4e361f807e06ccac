{{- define "ottoscaler.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "ottoscaler.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "ottoscaler.labels" -}}
{{ include "ottoscaler.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "ottoscaler.workersNamespace" -}}
{{- dig "workers" "namespace" .Release.Namespace .Values.orchestrator.config }}
{{- end }}

{{- define "ottoscaler.orchestratorConfig" -}}
{{- $given := .Values.orchestrator.config }}
{{- if not (hasKey $given "events") }}{{ fail "orchestrator.config.events must say where Redis is (redis: {url: ...}), or be null to read no stream" }}{{ end }}
{{- $grpc := dict "address" "0.0.0.0:9090" }}
{{- if .Values.orchestrator.tls.secretName }}
{{- $tls := dict "certFile" "/grpc-tls/tls.crt" "keyFile" "/grpc-tls/tls.key" }}
{{- if .Values.orchestrator.tls.clientCA }}{{ $_ := set $tls "clientCaFile" "/grpc-tls/ca.crt" }}{{ end }}
{{- $_ := set $grpc "tls" $tls }}
{{- end }}
{{- $made := dict "grpc" $grpc "http" (dict "address" "0.0.0.0:8081") "log" (deepCopy .Values.log) "workers" (dict "namespace" (include "ottoscaler.workersNamespace" .)) }}
{{- if and .Values.orchestrator.redisPasswordSecret.name (kindIs "map" $given.events) }}
{{- $_ := set $made "events" (dict "redis" (dict "passwordFile" (printf "/redis-password/%s" .Values.orchestrator.redisPasswordSecret.key))) }}
{{- end }}
{{- mergeOverwrite $made (deepCopy $given) | toYaml }}
{{- end }}

{{- define "ottoscaler.certificateSecret" -}}
{{- if .Values.certificate.secretName }}{{ .Values.certificate.secretName }}
{{- else if eq .Values.certificate.mode "secret" }}{{ fail "certificate.mode is secret: certificate.secretName must name the Secret" }}
{{- else }}{{ include "ottoscaler.name" . }}-serving{{ end }}
{{- end }}

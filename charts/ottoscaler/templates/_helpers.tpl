{{- define "ottoscaler.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "ottoscaler.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ottoscaler.labels" -}}
{{ include "ottoscaler.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "ottoscaler.certificateSecret" -}}
{{- if .Values.certificate.secretName }}{{ .Values.certificate.secretName }}
{{- else if eq .Values.certificate.mode "secret" }}{{ fail "certificate.mode is secret: certificate.secretName must name the Secret" }}
{{- else }}{{ include "ottoscaler.name" . }}-serving{{ end }}
{{- end }}

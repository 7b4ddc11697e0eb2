{{- /* Names that several templates use. */ -}}
{{- define "heddle.name" -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "heddle.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "heddle.name" .) -}}
{{- end }}

{{- define "heddle.selector" -}}
app.kubernetes.io/name: heddle
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "heddle.labels" -}}
{{ include "heddle.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "heddle.image" -}}
{{- with .Values.image -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ with .digest }}@{{ . }}{{ end }}
{{- end }}
{{- end }}

{{- /* URLs of the API servers; nothing: the cluster's own Service. */ -}}
{{- define "heddle.apiServers" -}}
{{- if .Values.apiServers }}
{{- if .Values.k8sServiceHost }}{{ fail "apiServers and k8sServiceHost are two ways to say one thing: set one" }}{{ end }}
{{- toYaml .Values.apiServers }}
{{- else if contains ":" .Values.k8sServiceHost -}}
- https://[{{ .Values.k8sServiceHost }}]:{{ .Values.k8sServicePort }}
{{- else if .Values.k8sServiceHost -}}
- https://{{ .Values.k8sServiceHost }}:{{ .Values.k8sServicePort }}
{{- end }}
{{- end }}

{{- define "heddle.metricsPort" -}}
{{- regexFind "[0-9]+$" .Values.config.metricsAddress -}}
{{- end }}

{{- /* The kubelet asks from the node: every address of it is as good as loopback. */ -}}
{{- define "heddle.probeHost" -}}
{{- $host := .Values.config.metricsAddress | trimSuffix (printf ":%s" (include "heddle.metricsPort" .)) | trimAll "[]" -}}
{{- if eq $host "0.0.0.0" }}127.0.0.1{{ else if eq $host "::" }}::1{{ else }}{{ $host }}{{ end }}
{{- end }}

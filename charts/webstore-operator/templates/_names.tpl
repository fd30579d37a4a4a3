{{- define "operator.name" -}}{{ .Release.Name }}{{- end }}

{{- define "operator.selector" -}}
app.kubernetes.io/name: webstore-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "operator.labels" -}}
{{ include "operator.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

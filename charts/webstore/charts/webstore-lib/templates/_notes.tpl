{{/* What a service that was installed alone says. */}}
{{- define "webstore.notes" -}}
{{- if .Chart.IsRoot -}}
{{- $name := include "webstore.name" . -}}
`{{ $name }}` is being started. This ends when it is ready:

    kubectl --namespace {{ .Release.Namespace }} rollout status deployment/{{ $name }}

It migrates its database at {{ .Values.global.database.external.host }} first, and waits for it for at most five minutes:

    kubectl --namespace {{ .Release.Namespace }} logs deployment/{{ $name }} --container migrate

A first command:

    kubectl --namespace {{ .Release.Namespace }} port-forward service/{{ $name }} 8080 & curl http://localhost:8080/{{ include "webstore.part" . }}/-/openapi.json
{{- end -}}
{{- end }}

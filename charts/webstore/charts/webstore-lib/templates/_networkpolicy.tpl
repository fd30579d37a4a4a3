{{/* A service answers the gateway and the services that call it, and connects to what it needs. */}}
{{- define "webstore.networkpolicy" -}}
{{- $top := .top -}}
{{- if $top.Values.global.networkPolicies -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "webstore.name" $top }}
  labels: {{- include "webstore.labels" $top | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{- include "webstore.selector" $top | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
  - ports: [{port: http}]
    {{- with $top.Values.global.ingress.controllerNamespace }}
    from:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: {{ . }}}}
    {{- range $.calledBy }}
    - podSelector:
        matchLabels: {{- include "webstore.peer" (list $top .) | nindent 10 }}
    {{- end }}
    {{- end }}
  {{- include "webstore.metrics.visitors" (list $top (ternary "{port: http}, {port: 8888}" "{port: http}" (ne (include "webstore.telemetry.enabled" $top) ""))) | nindent 2 }}
  egress:
  {{- include "webstore.egress.dns" . | nindent 2 }}
  {{- include "webstore.egress.database" $top | nindent 2 }}
  {{- include "webstore.egress.kafka" $top | nindent 2 }}
  {{- range .calls }}
  - ports: [{port: 8080}]
    to:
    - podSelector:
        matchLabels: {{- include "webstore.peer" (list $top .) | nindent 10 }}
  {{- end }}
  {{- if .mails }}
  {{- include "webstore.egress.mail" $top | nindent 2 }}
  {{- end }}
  {{- if eq $top.Values.global.auth.mode "oidc" }}
  - ports: [{port: {{ include "webstore.port" $top.Values.global.auth.issuer }}}]
  {{- end }}
  {{- include "webstore.telemetry.egress" $top | nindent 2 }}
{{- end -}}
{{- end }}

{{/*
Lets Prometheus connect, as a list of a NetworkPolicy's ingress rules; from (list top ports). The collector's port by its number: it is a
sidecar's, whose names not every network plugin knows.
*/}}
{{- define "webstore.metrics.visitors" -}}
{{- $ports := index . 1 -}}
{{- with (index . 0).Values.global.metrics -}}
{{- if or .monitors .namespace -}}
- ports: [{{ $ports }}]
  {{- with .namespace }}
  from:
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: {{ . }}}}
  {{- end }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Wherever the cluster's DNS is: some have a cache on each node's own address. */}}
{{- define "webstore.egress.dns" -}}
- ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- end }}

{{- define "webstore.egress.database" -}}
{{- with .Values.global.database.external -}}
{{- if .host -}}
- ports: [{port: {{ .port }}}]
{{- else -}}
- ports: [{port: 5432}]
  to:
  - podSelector:
      matchLabels: {{- include "webstore.peer" (list $ "postgres") | nindent 8 }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "webstore.egress.kafka" -}}
{{- with .Values.global.kafka.external.bootstrapServers -}}
- ports:
  {{- range splitList "," . | uniq }}
  - port: {{ splitList ":" . | last }}
  {{- end }}
{{- else -}}
- ports: [{port: 9092}]
  to:
  - podSelector:
      matchLabels: {{- include "webstore.peer" (list $ "kafka") | nindent 8 }}
{{- end -}}
{{- end }}

{{- define "webstore.egress.mail" -}}
{{- if .Values.global.mail.host -}}
- ports: [{port: {{ .Values.global.mail.port }}}]
{{- else -}}
- ports: [{port: 1025}]
  to:
  - podSelector:
      matchLabels: {{- include "webstore.peer" (list $ "mailpit") | nindent 8 }}
{{- end -}}
{{- end }}

{{/* The port of a URL. */}}
{{- define "webstore.port" -}}
{{- $url := urlParse . -}}
{{- regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- end }}

{{/*
A supporting system's page, on a host name of its own, if there is one; from (list top host port). It is reached as the services are.
*/}}
{{- define "webstore.page" -}}
{{- $top := index . 0 -}}
{{- $port := index . 2 -}}
{{- with index . 1 -}}
{{- if $top.Values.global.gateway.parent.name -}}
{{- include "webstore.route" (list $top . "/" $port) -}}
{{- else -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ include "webstore.name" $top }}
  labels: {{- include "webstore.labels" $top | nindent 4 }}
spec:
  {{- with $top.Values.global.ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  rules:
  - host: {{ . | quote }}
    http:
      paths:
      - path: /
        pathType: Prefix
        backend: {service: {name: {{ include "webstore.name" $top }}, port: {name: http}}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Lets the ingress connect, if it has a reason to, as a list of a NetworkPolicy's ingress rules; from (list top reason port). */}}
{{- define "webstore.page.visitors" -}}
{{- if index . 1 -}}
- ports: [{port: {{ index . 2 }}}]
  {{- with (index . 0).Values.global.ingress.controllerNamespace }}
  from:
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: {{ . }}}}
  {{- end }}
{{- end -}}
{{- end }}

{{/* A supporting system's page behind the ingress, on a host name of its own, if its chart's value `host` is set; from its context. */}}
{{- define "webstore.page" -}}
{{- if .Values.host -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ include "webstore.name" . }}
  labels: {{- include "webstore.labels" . | nindent 4 }}
spec:
  {{- with .Values.global.ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  rules:
  - host: {{ .Values.host | quote }}
    http:
      paths:
      - path: /
        pathType: Prefix
        backend: {service: {name: {{ include "webstore.name" . }}, port: {name: http}}}
{{- end -}}
{{- end }}

{{/* Who may open the page: the ingress, if it has one, as a list of a NetworkPolicy's ingress rules. */}}
{{- define "webstore.page.visitors" -}}
{{- if .Values.host -}}
- ports: [{port: http}]
  {{- with .Values.global.ingress.controllerNamespace }}
  from:
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: {{ . }}}}
  {{- end }}
{{- end -}}
{{- end }}

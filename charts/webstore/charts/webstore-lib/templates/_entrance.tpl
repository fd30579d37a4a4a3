{{/* How requests from outside reach a service: an HTTPRoute where a Gateway is named, else an Ingress. */}}
{{- define "webstore.entrance" -}}
{{- if .Values.global.gateway.parent.name -}}
{{- include "webstore.httproute" . -}}
{{- else if .Values.global.ingress.enabled -}}
{{- include "webstore.ingress" . -}}
{{- end -}}
{{- end }}

{{- define "webstore.ingress" -}}
{{- with .Values.global.ingress -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ include "webstore.name" $ }}
  labels: {{- include "webstore.labels" $ | nindent 4 }}
  {{- with .annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with .className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- if .tlsSecret }}
  tls:
  - secretName: {{ .tlsSecret }}
    hosts: [{{ .host | quote }}]
  {{- end }}
  rules:
  - http:
      paths:
      - path: /{{ include "webstore.part" $ }}
        pathType: Prefix
        backend: {service: {name: {{ include "webstore.name" $ }}, port: {name: http}}}
    {{- with .host }}
    host: {{ . | quote }}
    {{- end }}
{{- end -}}
{{- end }}

{{- define "webstore.httproute" -}}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: {{ include "webstore.name" . }}
  labels: {{- include "webstore.labels" . | nindent 4 }}
spec:
  parentRefs:
  {{- with .Values.global.gateway.parent }}
  - name: {{ .name }}
    {{- with .namespace }}
    namespace: {{ . }}
    {{- end }}
    {{- with .sectionName }}
    sectionName: {{ . }}
    {{- end }}
  {{- end }}
  {{- with .Values.global.ingress.host }}
  hostnames: [{{ . | quote }}]
  {{- end }}
  rules:
  - matches:
    - path: {type: PathPrefix, value: /{{ include "webstore.part" . }}}
    backendRefs:
    - {name: {{ include "webstore.name" . }}, port: 8080}
{{- end }}

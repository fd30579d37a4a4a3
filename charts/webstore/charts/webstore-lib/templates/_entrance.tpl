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
{{- include "webstore.route" (list . .Values.global.ingress.host (printf "/%s" (include "webstore.part" .)) 8080) -}}
{{- end }}

{{/* An HTTPRoute at the Gateway that is named, from (list top host path port). */}}
{{- define "webstore.route" -}}
{{- $top := index . 0 -}}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: {{ include "webstore.name" $top }}
  labels: {{- include "webstore.labels" $top | nindent 4 }}
spec:
  parentRefs:
  {{- with $top.Values.global.gateway.parent }}
  - name: {{ .name }}
    {{- with .namespace }}
    namespace: {{ . }}
    {{- end }}
    {{- with .sectionName }}
    sectionName: {{ . }}
    {{- end }}
  {{- end }}
  {{- with index . 1 }}
  hostnames: [{{ . | quote }}]
  {{- end }}
  rules:
  - matches:
    - path: {type: PathPrefix, value: {{ index . 2 }}}
    backendRefs:
    - {name: {{ include "webstore.name" $top }}, port: {{ index . 3 }}}
{{- end }}

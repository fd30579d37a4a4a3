{{/*
Everything of one service, from a dict:
  top       the chart's context
  calls     the services that it calls over HTTP
  calledBy  the services that call it
  mails     whether it sends mails
*/}}
{{- define "webstore.service" -}}
{{- include "webstore.init" .top }}
{{- include "webstore.check" .top }}
---
{{ include "webstore.serviceaccount" .top }}
---
{{ include "webstore.configmap" . }}
---
{{ include "webstore.deployment" . }}
---
{{ include "webstore.httpservice" .top }}
---
{{ include "webstore.entrance" .top }}
---
{{ include "webstore.scaling" .top }}
---
{{ include "webstore.networkpolicy" . }}
---
{{ include "webstore.telemetry.configmap" .top }}
{{- end }}

{{- define "webstore.httpservice" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "webstore.name" . }}
  labels: {{- include "webstore.labels" . | nindent 4 }}
spec:
  selector: {{- include "webstore.selector" . | nindent 4 }}
  ports:
  - {name: http, port: 8080, targetPort: http, appProtocol: http}
{{- end }}

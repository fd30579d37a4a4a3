{{- define "webstore.scaling" -}}
{{- with .Values.autoscaling -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "webstore.name" $ }}
  labels: {{- include "webstore.labels" $ | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ include "webstore.name" $ }}}
  minReplicas: {{ .min }}
  maxReplicas: {{ .max }}
  metrics:
  - type: Resource
    resource: {name: cpu, target: {type: Utilization, averageUtilization: {{ .cpu | default 70 }}}}
---
{{ end -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "webstore.name" . }}
  labels: {{- include "webstore.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{- include "webstore.selector" . | nindent 6 }}
{{- end }}

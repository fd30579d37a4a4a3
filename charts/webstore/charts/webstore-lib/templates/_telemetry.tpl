{{/* What tracing and logging add to a service, each from the chart's context; empty where both are off. */}}

{{/* Containers that run beside the service, as a list of init containers with restartPolicy Always. */}}
{{- define "webstore.telemetry.initContainers" -}}{{- end }}

{{/* Volumes of the pod, as a list. */}}
{{- define "webstore.telemetry.volumes" -}}{{- end }}

{{/* Environment of the service's container, as a list. */}}
{{- define "webstore.telemetry.env" -}}{{- end }}

{{/* Volume mounts of the service's container, as a list. */}}
{{- define "webstore.telemetry.mounts" -}}{{- end }}

{{/* The sidecar's ConfigMap, as an object. */}}
{{- define "webstore.telemetry.configmap" -}}{{- end }}

{{/* Where the pod may connect to for it, as a list of a NetworkPolicy's egress rules; the brokers are in the policy already. */}}
{{- define "webstore.telemetry.egress" -}}{{- end }}

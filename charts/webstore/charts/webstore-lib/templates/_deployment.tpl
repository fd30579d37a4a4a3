{{- define "webstore.deployment" -}}
{{- $top := .top -}}
{{- $values := $top.Values -}}
{{- $kafka := $values.global.kafka.external -}}
{{- $database := $values.global.database.external -}}
{{- $drain := 10 -}}
{{- $settings := include "webstore.settings" . | fromYaml -}}
{{- $shutdown := get $settings "WEBSTORE_SHUTDOWN_SECONDS" | default "20" | float64 | ceil | int -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "webstore.name" $top }}
  labels: {{- include "webstore.labels" $top | nindent 4 }}
spec:
  {{- if not $values.autoscaling }}
  replicas: {{ $values.replicas }}
  {{- end }}
  revisionHistoryLimit: 3
  selector:
    matchLabels: {{- include "webstore.selector" $top | nindent 6 }}
  strategy:
    rollingUpdate: {maxSurge: 25%, maxUnavailable: 0}
  template:
    metadata:
      labels: {{- include "webstore.labels" $top | nindent 8 }}
      annotations:
        # Over what the pod reads at its start, so that a change of it rolls the pod.
        webstore.dev/checksum: {{ list $settings (include "webstore.telemetry.configmap" $top) $values.global.credentialsRevision | toJson | sha256sum }}
        kubectl.kubernetes.io/default-container: {{ include "webstore.part" $top }}
    spec:
      {{- include "webstore.pod" (dict "top" $top "user" 10001) | nindent 6 }}
      {{- include "webstore.spread" $top | nindent 6 }}
      # Time to leave the endpoints, to finish the requests in flight, and to close what is open.
      terminationGracePeriodSeconds: {{ add $drain $shutdown 5 }}
      initContainers:
      - name: migrate
        {{- include "webstore.process" . | nindent 8 }}
        args: [migrate, --wait, "300"]
      {{- include "webstore.telemetry.initContainers" $top | nindent 6 }}
      containers:
      - name: {{ include "webstore.part" $top }}
        {{- include "webstore.process" . | nindent 8 }}
        ports:
        - {name: http, containerPort: 8080}
        startupProbe:
          httpGet: {path: /readyz, port: http}
          periodSeconds: 1
          timeoutSeconds: 3
          failureThreshold: 300
        # The replicas share a database: where it is slow, taking them all away at once would make it a failure.
        readinessProbe:
          httpGet: {path: /readyz, port: http}
          periodSeconds: 5
          timeoutSeconds: 5
          failureThreshold: 6
        livenessProbe:
          httpGet: {path: /livez, port: http}
          periodSeconds: 10
          timeoutSeconds: 5
          failureThreshold: 6
        lifecycle:
          # New requests stop coming only after the endpoints' change has reached every node and gateway.
          preStop: {sleep: {seconds: {{ $drain }}}}
      volumes:
      - name: tmp
        emptyDir: {sizeLimit: 64Mi}
      {{- if $database.caSecret }}
      - name: database-ca
        secret: {secretName: {{ $database.caSecret }}, items: [{key: ca.crt, path: ca.crt}]}
      {{- end }}
      {{- if $kafka.caSecret }}
      - name: kafka-ca
        secret: {secretName: {{ $kafka.caSecret }}, items: [{key: ca.crt, path: ca.crt}]}
      {{- end }}
      {{- include "webstore.telemetry.volumes" $top | nindent 6 }}
{{- end }}

{{/* What the service's own container and its migration have in common: the program and all that it reads. */}}
{{- define "webstore.process" -}}
{{- $top := .top -}}
{{- with $top.Values.global -}}
image: {{ with .images.registry }}{{ . }}/{{ end }}webstore/{{ include "webstore.part" $top }}:{{ include "webstore.version" $top }}
{{ include "webstore.container" $top }}
envFrom:
- configMapRef: {name: {{ include "webstore.name" $top }}}
env:
{{ include "webstore.secrets" $ }}
{{- include "webstore.telemetry.env" $top | nindent 0 }}
resources: {{- toYaml $top.Values.resources | nindent 2 }}
volumeMounts:
- {name: tmp, mountPath: /tmp}
{{- if .database.external.caSecret }}
- {name: database-ca, mountPath: /etc/webstore/database, readOnly: true}
{{- end }}
{{- if .kafka.external.caSecret }}
- {name: kafka-ca, mountPath: /etc/webstore/kafka, readOnly: true}
{{- end }}
{{- include "webstore.telemetry.mounts" $top | nindent 0 }}
{{- end -}}
{{- end }}

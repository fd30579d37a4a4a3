{{/*
What tracing and logging add to a service, each from the chart's context; empty where both are off.

An OpenTelemetry collector runs beside the service. It takes traces on localhost, reads the log file that the service writes, and brings
both to Kafka. Whatever it cannot send it drops, within bounds, so a Kafka that is slow or away makes no difference to the service. It has
no readiness probe; but Kubernetes counts a sidecar that does not run as one that is not ready, so while it starts again after a crash
its pod gets no new requests. That is why it has a memory limiter well below its limit, and nothing else that may end it.

One runs beside Zipkin, too, where the gateway traces: it takes the gateway's spans, and has no log file to read.
*/}}

{{- define "webstore.telemetry.enabled" -}}
{{- if or .Values.global.tracing.enabled .Values.global.logging.enabled -}}true{{- end -}}
{{- end }}

{{/* Whether there is a log file to read. */}}
{{- define "webstore.telemetry.logs" -}}
{{- if and .Values.global.logging.enabled (eq (index .Chart.Annotations "webstore.dev/component") "service") -}}true{{- end -}}
{{- end }}

{{/* Containers that run beside the service, as a list of init containers with restartPolicy Always. */}}
{{- define "webstore.telemetry.initContainers" -}}
{{- if include "webstore.telemetry.enabled" . -}}
{{- $kafka := .Values.global.kafka.external -}}
- name: telemetry
  image: otel/opentelemetry-collector-contrib:0.155.0
  {{- include "webstore.container" . | nindent 2 }}
  restartPolicy: Always
  args: [--config, /etc/telemetry/collector.yaml]
  env:
  # The Go runtime collects garbage before the container's limit is reached.
  - {name: GOMEMLIMIT, value: 96MiB}
  {{- if and $kafka.bootstrapServers (hasPrefix "SASL_" $kafka.securityProtocol) }}
  {{- include "webstore.secret" (list "KAFKA_USERNAME" $kafka.secret "username") | nindent 2 }}
  {{- include "webstore.secret" (list "KAFKA_PASSWORD" $kafka.secret "password") | nindent 2 }}
  {{- end }}
  ports:
  - {name: telemetry, containerPort: 8888}
  livenessProbe:
    httpGet: {path: /, port: 13133}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  resources:
    requests: {cpu: 10m, memory: 48Mi}
    limits: {memory: 128Mi}
  volumeMounts:
  - {name: telemetry, mountPath: /etc/telemetry, readOnly: true}
  {{- if include "webstore.telemetry.logs" . }}
  - {name: log, mountPath: /var/log/webstore, readOnly: true}
  {{- end }}
  {{- if $kafka.caSecret }}
  - {name: kafka-ca, mountPath: /etc/webstore/kafka, readOnly: true}
  {{- end }}
{{- end -}}
{{- end }}

{{/* Volumes of the pod, as a list. */}}
{{- define "webstore.telemetry.volumes" -}}
{{- if include "webstore.telemetry.enabled" . -}}
- name: telemetry
  configMap: {name: {{ include "webstore.name" . }}-telemetry}
{{- if include "webstore.telemetry.logs" . }}
# The service bounds its log file by itself; this is far above.
- name: log
  emptyDir: {sizeLimit: 256Mi}
{{- end }}
{{- end -}}
{{- end }}

{{/* Environment of the service's container, as a list. */}}
{{- define "webstore.telemetry.env" -}}
{{- if .Values.global.tracing.enabled -}}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: "http://localhost:4318"}
- {name: OTEL_TRACES_SAMPLER, value: parentbased_traceidratio}
- {name: OTEL_TRACES_SAMPLER_ARG, value: {{ .Values.global.tracing.sampling | quote }}}
{{ end -}}
{{- if .Values.global.logging.enabled -}}
- {name: WEBSTORE_LOG_FILE, value: /var/log/webstore/webstore.log}
{{- end -}}
{{- end }}

{{/* Volume mounts of the service's container, as a list. */}}
{{- define "webstore.telemetry.mounts" -}}
{{- if .Values.global.logging.enabled -}}
- {name: log, mountPath: /var/log/webstore}
{{- end -}}
{{- end }}

{{/* The sidecar's ConfigMap, as an object. */}}
{{- define "webstore.telemetry.configmap" -}}
{{- if include "webstore.telemetry.enabled" . -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "webstore.name" . }}-telemetry
  labels: {{- include "webstore.labels" . | nindent 4 }}
data:
  collector.yaml: |
    {{- include "webstore.telemetry.collector" . | nindent 4 }}
{{- end -}}
{{- end }}

{{- define "webstore.telemetry.collector" -}}
{{- $tracing := .Values.global.tracing -}}
{{- $logs := include "webstore.telemetry.logs" . -}}
{{- $ofGateway := eq (include "webstore.part" .) "zipkin" -}}
{{- $backend := ternary "otlp_http" "kafka/traces" (ne $tracing.external.endpoint "") -}}
receivers:
  {{- if $tracing.enabled }}
  otlp:
    protocols:
      http: {endpoint: "{{ ternary "0.0.0.0" "127.0.0.1" $ofGateway }}:4318"}
  {{- end }}
  {{- if $logs }}
  file_log:
    # The file that is written, and the one before it.
    include: ["/var/log/webstore/webstore.log*"]
    start_at: beginning
    max_log_size: 128KiB
    operators:
    - {type: json_parser, parse_to: body, if: 'body startsWith "{"', on_error: send_quiet}
    # What is no JSON object becomes one: a line of something else, a piece of a line that is too long.
    - type: add
      field: body
      value: 'EXPR({"service": "{{ include "webstore.part" . }}", "level": "UNKNOWN", "message": body})'
      if: 'type(body) == "string"'
    # Where Kafka is away, reading waits; so the files hold what is to be sent, up to their bound.
    retry_on_failure: {enabled: true, max_elapsed_time: 0s}
  {{- end }}
processors:
  memory_limiter: {check_interval: 1s, limit_mib: 88, spike_limit_mib: 24}
  {{- if $tracing.enabled }}
  # A batch is one message to Zipkin, and must stay below what brokers take (1 MB).
  batch: {timeout: 500ms, send_batch_size: 128, send_batch_max_size: 256}
  {{- end }}
  {{- if $ofGateway }}
  # A gateway says more than the services do, of callers (paths, queries, addresses, headers) and of itself (its command line), and cuts
  # nothing: 256 spans must fit a message. So only what is known to tell of neither is kept.
  transform:
    error_mode: ignore
    trace_statements:
    - keep_keys(resource.attributes, ["service.name", "service.version"])
    - keep_keys(span.attributes, ["entry_point", "error.type", "http.request.method", "http.response.status_code", "http.route", "network.protocol.version", "traefik.router.name", "traefik.service.name", "url.scheme"])
    - truncate_all(span.attributes, 256)
    - set(span.status.message, "")
  {{- end }}
exporters:
  {{- if and $tracing.enabled $tracing.external.endpoint }}
  otlp_http:
    endpoint: {{ $tracing.external.endpoint | quote }}
    sending_queue: {queue_size: 50}
    retry_on_failure: {max_elapsed_time: 60s}
  {{- else if $tracing.enabled }}
  kafka/traces:
    {{- include "webstore.telemetry.brokers" . | nindent 4 }}
    traces: {topic: zipkin, encoding: zipkin_json}
    # Traces are of use while they are fresh: what waits for longer is dropped, and counted.
    sending_queue: {queue_size: 50}
    retry_on_failure: {initial_interval: 1s, max_interval: 5s, max_elapsed_time: 60s}
  {{- end }}
  {{- if $logs }}
  kafka/logs:
    {{- include "webstore.telemetry.brokers" . | nindent 4 }}
    logs: {topic: webstore-log, encoding: raw}
    sending_queue: {queue_size: 20, num_consumers: 1}
    retry_on_failure: {initial_interval: 1s, max_interval: 5s, max_elapsed_time: 0s}
  {{- end }}
extensions:
  health_check: {endpoint: "0.0.0.0:13133"}
service:
  extensions: [health_check]
  telemetry:
    logs: {level: warn, encoding: json}
    metrics:
      readers:
      - pull: {exporter: {prometheus: {host: 0.0.0.0, port: 8888}}}
  pipelines:
    {{- if $tracing.enabled }}
    traces: {receivers: [otlp], processors: [memory_limiter, {{ if $ofGateway }}transform, {{ end }}batch], exporters: [{{ $backend }}]}
    {{- end }}
    {{- if $logs }}
    logs: {receivers: [file_log], processors: [memory_limiter], exporters: [kafka/logs]}
    {{- end }}
{{- end }}

{{/* How the collector reaches Kafka. */}}
{{- define "webstore.telemetry.brokers" -}}
brokers: [{{ include "webstore.kafka" . }}]
client_id: {{ include "webstore.name" . }}-telemetry
producer: {compression: gzip}
{{- with .Values.global.kafka.external }}
{{- if .bootstrapServers }}
{{- if hasSuffix "SSL" .securityProtocol }}
tls: {insecure: false{{ if .caSecret }}, ca_file: /etc/webstore/kafka/ca.crt{{ end }}}
{{- end }}
{{- if hasPrefix "SASL_" .securityProtocol }}
auth:
  sasl: {mechanism: {{ .saslMechanism }}, username: "${env:KAFKA_USERNAME}", password: "${env:KAFKA_PASSWORD}"}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Where the pod may connect to for it, as a list of a NetworkPolicy's egress rules; the brokers are in the policy already. */}}
{{- define "webstore.telemetry.egress" -}}
{{- with .Values.global.tracing -}}
{{- if and .enabled .external.endpoint -}}
- ports: [{port: {{ include "webstore.port" .external.endpoint }}}]
{{- end -}}
{{- end -}}
{{- end }}

{{/*
The settings of a service: environment variables, as YAML. Passwords and tokens are in `webstore.secrets`.
*/}}
{{- define "webstore.settings" -}}
{{- $top := .top -}}
{{- $global := $top.Values.global -}}
{{- $settings := dict
  "WEBSTORE_HOST" "0.0.0.0"
  "WEBSTORE_PORT" "8080"
  "WEBSTORE_MIGRATE_ON_START" "false"
  "WEBSTORE_DATABASE_URL" (include "webstore.databaseurl" $top)
  "WEBSTORE_KAFKA_BOOTSTRAP_SERVERS" (include "webstore.kafka" $top)
-}}
{{- with $global.kafka.external -}}
{{- if .bootstrapServers -}}
{{- $_ := set $settings "WEBSTORE_KAFKA_SECURITY_PROTOCOL" .securityProtocol -}}
{{- if hasPrefix "SASL_" .securityProtocol -}}{{- $_ := set $settings "WEBSTORE_KAFKA_SASL_MECHANISM" .saslMechanism -}}{{- end -}}
{{- if .caSecret -}}{{- $_ := set $settings "WEBSTORE_KAFKA_CA_FILE" "/etc/webstore/kafka/ca.crt" -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- with $global.auth -}}
{{- $_ := set $settings "WEBSTORE_AUTH_MODE" .mode -}}
{{- if eq .mode "oidc" -}}
{{- $_ := set $settings "WEBSTORE_AUTH_ISSUER" .issuer -}}
{{- $_ := set $settings "WEBSTORE_AUTH_AUDIENCE" .audience -}}
{{- $_ := set $settings "WEBSTORE_AUTH_ROLES_CLAIM" .rolesClaim -}}
{{- end -}}
{{- end -}}
{{- range .calls -}}
{{- $variable := printf "WEBSTORE_%s_URL" (. | replace "-" "_" | upper) -}}
{{- $_ := set $settings $variable (printf "http://%s:8080" (include "webstore.sibling" (list $top .))) -}}
{{- end -}}
{{- if .mails -}}
{{- with $global.mail -}}
{{- $_ := set $settings "WEBSTORE_MAIL_FROM" .from -}}
{{- if .host -}}
{{- $_ := set $settings "WEBSTORE_SMTP_HOST" .host -}}
{{- $_ := set $settings "WEBSTORE_SMTP_PORT" (toString .port) -}}
{{- $_ := set $settings "WEBSTORE_SMTP_SECURITY" .security -}}
{{- else -}}
{{- $_ := set $settings "WEBSTORE_SMTP_HOST" (include "webstore.sibling" (list $top "mailpit")) -}}
{{- $_ := set $settings "WEBSTORE_SMTP_PORT" "1025" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := mergeOverwrite (dict) $global.config $top.Values.config -}}
{{- $_ := set $settings $name (include "webstore.text" $value) -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end }}

{{/* A value as text; a whole number that came as a float without an exponent. */}}
{{- define "webstore.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- end }}

{{- define "webstore.databaseurl" -}}
{{- $user := include "webstore.part" . | replace "-" "_" -}}
{{- with .Values.global.database.external -}}
{{- if .host -}}
postgresql://{{ $user }}@{{ .host }}:{{ .port }}/{{ $user }}?sslmode={{ .sslMode }}
{{- if .caSecret }}&sslrootcert=/etc/webstore/database/ca.crt{{ else if eq .sslMode "verify-full" }}&sslrootcert=system{{ end -}}
{{- else -}}
postgresql://{{ $user }}@{{ include "webstore.sibling" (list $ "postgres") }}:5432/{{ $user }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The brokers' addresses. */}}
{{- define "webstore.kafka" -}}
{{- .Values.global.kafka.external.bootstrapServers | default (printf "%s:9092" (include "webstore.sibling" (list . "kafka"))) -}}
{{- end }}

{{/* The environment variables of a service that come from Secrets; each service sees its own password only. */}}
{{- define "webstore.secrets" -}}
{{- $part := include "webstore.part" .top -}}
{{- $global := .top.Values.global -}}
{{- $credentials := include "webstore.credentials" .top -}}
{{- include "webstore.secret" (list "WEBSTORE_DATABASE_PASSWORD" ($global.database.external.secret | default $credentials) (printf "%s-password" $part)) }}
{{- if or $global.credentialsSecret (not .top.Chart.IsRoot) }}
{{ include "webstore.secret" (list "WEBSTORE_INTERNAL_TOKEN" $credentials "internal-token") }}
{{- end }}
{{- if hasPrefix "SASL_" $global.kafka.external.securityProtocol }}
{{ include "webstore.secret" (list "WEBSTORE_KAFKA_USERNAME" $global.kafka.external.secret "username") }}
{{ include "webstore.secret" (list "WEBSTORE_KAFKA_PASSWORD" $global.kafka.external.secret "password") }}
{{- end }}
{{- if and .mails $global.mail.secret }}
{{ include "webstore.secret" (list "WEBSTORE_SMTP_USERNAME" $global.mail.secret "username") }}
{{ include "webstore.secret" (list "WEBSTORE_SMTP_PASSWORD" $global.mail.secret "password") }}
{{- end }}
{{- end }}

{{- define "webstore.secret" -}}
- name: {{ index . 0 }}
  valueFrom: {secretKeyRef: {name: {{ index . 1 }}, key: {{ index . 2 }}}}
{{- end }}

{{- define "webstore.configmap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "webstore.name" .top }}
  labels: {{- include "webstore.labels" .top | nindent 4 }}
data: {{- include "webstore.settings" . | nindent 2 }}
{{- end }}

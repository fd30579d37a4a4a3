{{/*
Refuses what no schema can say in words: values that are right by themselves and wrong together. All that is wrong is said at once, and
what to write instead. From the context of a service's chart.
*/}}
{{- define "webstore.check" -}}
{{- $wrong := concat (include "webstore.check.global" .Values.global | fromJsonArray) (include "webstore.check.service" . | fromJsonArray) -}}
{{- if .Chart.IsRoot -}}{{- $wrong = concat $wrong (include "webstore.check.alone" . | fromJsonArray) -}}{{- end -}}
{{- if $wrong -}}{{- fail (printf "\n%s" (join "\n" $wrong)) -}}{{- end -}}
{{- end }}

{{- define "webstore.check.global" -}}
{{- $wrong := list -}}
{{- with .ingress -}}
{{- if and .tlsSecret (not .host) -}}
{{- $wrong = append $wrong "global.ingress.tlsSecret needs global.ingress.host: a certificate is for a name. Write `host: shop.example.com`, or leave tlsSecret empty." -}}
{{- end -}}
{{- end -}}
{{- if and .gateway.parent.name .ingress.tlsSecret -}}
{{- $wrong = append $wrong "global.ingress.tlsSecret has no meaning with global.gateway.parent: the Gateway's listener holds the certificate. Leave tlsSecret empty." -}}
{{- end -}}
{{- if and (or .gateway.parent.namespace .gateway.parent.sectionName) (not .gateway.parent.name) -}}
{{- $wrong = append $wrong "global.gateway.parent needs a name: write the Gateway's, `parent: {name: my-gateway}`." -}}
{{- end -}}
{{- if and (or .tracing.host .logging.host) (not .ingress.enabled) (not .gateway.parent.name) -}}
{{- $wrong = append $wrong "global.tracing.host and global.logging.host need an ingress: write `ingress: {enabled: true}`, or leave them empty." -}}
{{- end -}}
{{- if and .tracing.gateway (or (not .tracing.enabled) .tracing.external.endpoint) -}}
{{- $wrong = append $wrong "global.tracing.gateway is for the store's own Zipkin: write `enabled: true` and leave external.endpoint empty, or leave gateway false. With an external endpoint, let the gateway send its spans there." -}}
{{- end -}}
{{- with .database.external -}}
{{- if and .host (not .secret) (not $.credentialsSecret) -}}
{{- $wrong = append $wrong "global.database.external.host needs global.database.external.secret: write the name of a Secret with the keys customer-password, product-password, order-password, shopping-command-password and shopping-query-password." -}}
{{- end -}}
{{- if and (not .host) (or .secret .caSecret) -}}
{{- $wrong = append $wrong "global.database.external needs a host: write the PostgreSQL server's, or leave secret and caSecret empty for the store's own." -}}
{{- end -}}
{{- if and (eq .sslMode "verify-ca") (not .caSecret) -}}
{{- $wrong = append $wrong "global.database.external.sslMode verify-ca needs global.database.external.caSecret: write the name of a Secret with the key ca.crt, or use verify-full, which trusts the public authorities." -}}
{{- end -}}
{{- end -}}
{{- with .kafka.external -}}
{{- $sasl := hasPrefix "SASL_" .securityProtocol -}}
{{- if and (not .bootstrapServers) (or (ne .securityProtocol "PLAINTEXT") .secret .caSecret) -}}
{{- $wrong = append $wrong "global.kafka.external needs bootstrapServers: write `bootstrapServers: kafka-1.example.com:9092`, or leave the rest of it as it is for the store's own Kafka." -}}
{{- end -}}
{{- if and $sasl (not .secret) -}}
{{- $wrong = append $wrong (printf "global.kafka.external.securityProtocol %s needs global.kafka.external.secret: write the name of a Secret with the keys username and password." .securityProtocol) -}}
{{- end -}}
{{- if and .secret .bootstrapServers (not $sasl) -}}
{{- $wrong = append $wrong (printf "global.kafka.external.secret is not used with securityProtocol %s: write SASL_SSL or SASL_PLAINTEXT, or leave secret empty." .securityProtocol) -}}
{{- end -}}
{{- if and .caSecret .bootstrapServers (not (hasSuffix "SSL" .securityProtocol)) -}}
{{- $wrong = append $wrong (printf "global.kafka.external.caSecret is not used with securityProtocol %s: write SSL or SASL_SSL, or leave caSecret empty." .securityProtocol) -}}
{{- end -}}
{{- end -}}
{{- if and .networkPolicies .metrics.monitors .ingress.controllerNamespace (not .metrics.namespace) -}}
{{- $wrong = append $wrong "global.metrics.monitors with global.ingress.controllerNamespace needs global.metrics.namespace, or Prometheus cannot reach the services: write the namespace it runs in." -}}
{{- end -}}
{{- if and .logging.external.secret (not .logging.external.url) -}}
{{- $wrong = append $wrong "global.logging.external.secret needs global.logging.external.url: write the Elasticsearch server's, `url: https://elasticsearch.example.com:9200`." -}}
{{- end -}}
{{- if and .mail.secret (not .mail.host) -}}
{{- $wrong = append $wrong "global.mail.secret needs global.mail.host: write the mail server's name, or leave secret empty." -}}
{{- end -}}
{{- if and (eq .auth.mode "oidc") (not (and .auth.issuer .auth.audience)) -}}
{{- $wrong = append $wrong "global.auth.mode oidc needs global.auth.issuer and global.auth.audience: write the issuer's URL and the audience that its tokens carry for this store, or mode header." -}}
{{- end -}}
{{- if and (eq .auth.mode "header") (or .auth.issuer .auth.audience) -}}
{{- $wrong = append $wrong "global.auth.issuer and global.auth.audience are not used with mode header, which believes every caller: write `mode: oidc`, or leave them empty." -}}
{{- end -}}
{{- concat $wrong (include "webstore.check.config" (list "global.config" .config) | fromJsonArray) | toJson -}}
{{- end }}

{{/* Settings are kept in ConfigMaps, and some are the chart's own. From (list path config). */}}
{{- define "webstore.check.config" -}}
{{- $wrong := list -}}
{{- $path := index . 0 -}}
{{- range $name, $_ := index . 1 -}}
{{- if regexMatch "PASSWORD|TOKEN|SECRET|CREDENTIAL|PRIVATE_?KEY|API_?KEY|_HEADERS$" $name -}}
{{- $wrong = append $wrong (printf "%s.%s looks like a secret, and ConfigMaps are no place for one: put it into a Secret and write its name in global.database.external.secret, global.kafka.external.secret, global.mail.secret or global.credentialsSecret." $path $name) -}}
{{- else if has $name (list "WEBSTORE_HOST" "WEBSTORE_PORT" "WEBSTORE_MIGRATE_ON_START") -}}
{{- $wrong = append $wrong (printf "%s.%s is set by the chart, whose probes and Services rest on it: leave it out." $path $name) -}}
{{- end -}}
{{- end -}}
{{- toJson $wrong -}}
{{- end }}

{{- define "webstore.check.service" -}}
{{- $wrong := list -}}
{{- with .Values.autoscaling -}}
{{- if gt (int .min) (int .max) -}}
{{- $wrong = append $wrong (printf "%s.autoscaling.min %d is above max %d: write `autoscaling: {min: %d, max: %d}`." $.Chart.Name (int .min) (int .max) (int .max) (int .min)) -}}
{{- end -}}
{{- if not (dig "requests" "cpu" "" $.Values.resources) -}}
{{- $wrong = append $wrong (printf "%s.autoscaling needs %s.resources.requests.cpu, of which it is a share: write `resources: {requests: {cpu: 100m}}`." $.Chart.Name $.Chart.Name) -}}
{{- end -}}
{{- end -}}
{{- /* The longest name that is made of it is <release>-logstash-expire, a CronJob's, of at most 52 characters. */ -}}
{{- if gt (len .Release.Name) 36 -}}
{{- $wrong = append $wrong (printf "The release's name, %s, has %d characters, and names made of it would be too long: choose one of at most 36." .Release.Name (len .Release.Name)) -}}
{{- end -}}
{{- concat $wrong (include "webstore.check.config" (list (printf "%s.config" .Chart.Name) .Values.config) | fromJsonArray) | toJson -}}
{{- end }}

{{/* A service that is installed alone has no database and no Kafka beside it. */}}
{{- define "webstore.check.alone" -}}
{{- $wrong := list -}}
{{- if not .Values.global.database.external.host -}}
{{- $wrong = append $wrong (printf "global.database.external.host is empty, and %s is installed alone: write the PostgreSQL server's name (the database of the chart webstore, in this namespace: store-postgres)." .Chart.Name) -}}
{{- end -}}
{{- if not .Values.global.kafka.external.bootstrapServers -}}
{{- $wrong = append $wrong (printf "global.kafka.external.bootstrapServers is empty, and %s is installed alone: write the brokers' addresses, host:port." .Chart.Name) -}}
{{- end -}}
{{- if and (eq .Values.global.auth.mode "oidc") (not .Values.global.credentialsSecret) -}}
{{- $wrong = append $wrong "global.auth.mode oidc needs global.credentialsSecret where a service is installed alone: write the name of a Secret with the key internal-token, the same for all services." -}}
{{- end -}}
{{- toJson $wrong -}}
{{- end }}

{{/*
Logstash's pipeline (https://www.elastic.co/docs/reference/logstash/plugins/plugins-inputs-kafka and …/plugins-outputs-elasticsearch). What
is no JSON is kept as a message with the tag _jsonparsefailure.
*/}}
{{- define "logstash.pipeline" -}}
{{- $kafka := .Values.global.kafka.external -}}
input {
  kafka {
    bootstrap_servers => {{ include "webstore.kafka" . | quote }}
    topics => ["webstore-log"]
    group_id => {{ include "webstore.name" . | quote }}
    auto_offset_reset => "earliest"
    codec => json { ecs_compatibility => "disabled" }
    ecs_compatibility => "disabled"
    {{- if $kafka.bootstrapServers }}
    security_protocol => {{ $kafka.securityProtocol | quote }}
    {{- if $kafka.caSecret }}
    ssl_truststore_type => "PEM"
    ssl_truststore_location => "/etc/webstore/kafka/ca.crt"
    {{- end }}
    {{- if hasPrefix "SASL_" $kafka.securityProtocol }}
    {{- $login := ternary "plain.PlainLoginModule" "scram.ScramLoginModule" (eq $kafka.saslMechanism "PLAIN") }}
    sasl_mechanism => {{ $kafka.saslMechanism | quote }}
    sasl_jaas_config => 'org.apache.kafka.common.security.{{ $login }} required username="${KAFKA_USERNAME}" password="${KAFKA_PASSWORD}";'
    {{- end }}
    {{- end }}
  }
}
filter {
  date { match => ["timestamp", "ISO8601"] }
  mutate { remove_field => ["event"] }
}
output {
  elasticsearch {
    hosts => [{{ include "webstore.elasticsearch.url" . | quote }}]
    index => "webstore-log-%{+YYYY.MM.dd}"
    data_stream => false
    manage_template => false
    ecs_compatibility => "disabled"
    {{- if .Values.global.logging.external.secret }}
    user => "${ELASTICSEARCH_USERNAME}"
    password => "${ELASTICSEARCH_PASSWORD}"
    {{- end }}
  }
}
{{- end }}

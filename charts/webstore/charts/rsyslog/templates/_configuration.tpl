{{/*
rsyslog's configuration (https://www.rsyslog.com/doc/configuration/modules/imkafka.html and …/omelasticsearch.html). A message is a JSON
object; what is none becomes one. Lines wait in a bounded queue while Elasticsearch is away, and in Kafka beyond it.
*/}}
{{- define "rsyslog.configuration" -}}
{{- $kafka := .Values.global.kafka.external -}}
{{- $url := urlParse (include "webstore.elasticsearch.url" .) -}}
global(workDirectory="/var/spool/rsyslog" maxMessageSize="1m" internalMsg.ratelimit.interval="10" internalMsg.ratelimit.burst="20"
       processInternalMessages="on")
module(load="imkafka")
module(load="omelasticsearch")
module(load="mmjsonparse")

template(name="index" type="string" string="webstore-log-%$year-utc%.%$month-utc%.%$day-utc%")
template(name="object" type="list" option.jsonf="off") { property(name="$!all-json") }
template(name="wrapped" type="list" option.jsonf="on") {
  property(outname="@timestamp" name="timegenerated" dateFormat="rfc3339" date.inUTC="on" format="jsonf")
  constant(outname="service" value="unknown" format="jsonf")
  constant(outname="level" value="UNKNOWN" format="jsonf")
  property(outname="message" name="rawmsg" format="jsonf")
}
template(name="received" type="list") { property(name="timegenerated" dateFormat="rfc3339" date.inUTC="on") }

ruleset(name="log" queue.type="LinkedList" queue.size="20000" queue.dequeueBatchSize="500" queue.timeoutEnqueue="-1"
        queue.highWatermark="19000" queue.discardMark="20000") {
  action(type="mmjsonparse" cookie="")
  if $parsesuccess == "OK" then {
    if $!timestamp == "" then { set $!@timestamp = exec_template("received"); } else { set $!@timestamp = $!timestamp; }
    {{- include "rsyslog.index" (list . "object" $url) | nindent 4 }}
  } else {
    {{- include "rsyslog.index" (list . "wrapped" $url) | nindent 4 }}
  }
}

input(type="imkafka" topic="webstore-log" ruleset="log" consumerGroup={{ include "webstore.name" . | quote }}
      broker=[{{ range $i, $broker := include "webstore.kafka" . | splitList "," }}{{ if $i }}, {{ end }}{{ $broker | quote }}{{ end }}]
      confParam=["auto.offset.reset=earliest", "allow.auto.create.topics=true"
      {{- if $kafka.bootstrapServers }}, "security.protocol={{ $kafka.securityProtocol }}"
      {{- if $kafka.caSecret }}, "ssl.ca.location=/etc/webstore/kafka/ca.crt"{{ end }}
      {{- if hasPrefix "SASL_" $kafka.securityProtocol }}, "sasl.mechanism={{ $kafka.saslMechanism }}",
                 `echo sasl.username=$KAFKA_USERNAME`, `echo sasl.password=$KAFKA_PASSWORD`{{ end }}{{ end }}])

# What rsyslog says of itself.
action(type="omfile" file="/dev/stdout")
{{- end }}

{{/* The action that sends lines, from (list top template url). */}}
{{- define "rsyslog.index" -}}
{{- $top := index . 0 -}}
{{- $url := index . 2 -}}
action(type="omelasticsearch" template={{ index . 1 | quote }} searchIndex="index" dynSearchIndex="on" searchType="" bulkmode="on" maxbytes="5m"
       server={{ printf "%s://%s" $url.scheme (regexReplaceAll ":[0-9]+$" $url.host "") | quote }} serverport={{ include "webstore.port" (include "webstore.elasticsearch.url" $top) | quote }}
       {{- if $top.Values.global.logging.external.secret }}
       uid=`echo $ELASTICSEARCH_USERNAME` pwd=`echo $ELASTICSEARCH_PASSWORD`
       {{- end }}
       errorfile="/dev/stdout" erroronly="on" action.resumeRetryCount="-1" action.resumeInterval="1" action.resumeIntervalMax="10")
{{- end }}

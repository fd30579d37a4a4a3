{{/*
rsyslog's configuration (https://www.rsyslog.com/doc/configuration/modules/imkafka.html and …/omelasticsearch.html). A message is a JSON
object; what is none becomes one. While Elasticsearch is away, lines wait in a bounded queue, and in Kafka beyond it. Lines have up to
128 KiB (max_log_size of the collectors): the queues and what librdkafka fetches ahead are so small that the memory limit holds even where
all of them are that long.
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
template(name="refused" type="list") {
  constant(value="Elasticsearch refuses a line: ") property(name="$.omes!status") constant(value=" ")
  property(name="$.omes!error!reason" position.to="500") constant(value=": ") property(name="rawmsg" position.to="1000") constant(value="\n")
}
template(name="received" type="list") { property(name="timegenerated" dateFormat="rfc3339" date.inUTC="on") }

# What comes waits where this queue is full, for weeks: with -1 it would be dropped at once.
ruleset(name="log" queue.type="LinkedList" queue.size="200" queue.dequeueBatchSize="100" queue.timeoutEnqueue="2000000000"
        queue.lightDelayMark="200" queue.highWatermark="190" queue.discardMark="200") {
  action(type="mmjsonparse" cookie="")
  if $parsesuccess == "OK" then {
    if $!timestamp == "" then { set $!@timestamp = exec_template("received"); } else { set $!@timestamp = $!timestamp; }
    {{- include "rsyslog.index" (list . "object" $url) | nindent 4 }}
  } else {
    {{- include "rsyslog.index" (list . "wrapped" $url) | nindent 4 }}
  }
}

# Single lines that Elasticsearch did not take: what it may take later (429: it has too much to do, or its disk is full) is sent again, not
# more than 500 lines a second. These wait on the disk; beyond its bound they are dropped, as a queue that waited for itself would wait for
# ever (so it did with queue.type="LinkedList" and a queue.filename, too).
ruleset(name="again" queue.type="Disk" queue.filename="again" queue.maxDiskSpace="128m" queue.maxFileSize="4m"
        queue.timeoutEnqueue="0" queue.dequeueBatchSize="50" queue.dequeueSlowDown="2000") {
  if $.omes!status == 429 or $.omes!status >= 500 then {
    {{- include "rsyslog.index" (list . "object" $url) | nindent 4 }}
  } else if $.omes!status >= 300 then {  # it has those beside them that were taken, too
    action(type="omfile" file="/dev/stdout" template="refused")
  }
}

input(type="imkafka" topic="webstore-log" ruleset="log" consumerGroup={{ include "webstore.name" . | quote }}
      broker=[{{ range $i, $broker := include "webstore.kafka" . | splitList "," }}{{ if $i }}, {{ end }}{{ $broker | quote }}{{ end }}]
      confParam=["auto.offset.reset=earliest", "allow.auto.create.topics=true", "queued.max.messages.kbytes=8192",
                 "max.poll.interval.ms=86400000"
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
       errorfile="/dev/stdout" erroronly="on" retryfailures="on" retryruleset="again" ratelimit.interval="0"
       action.resumeRetryCount="-1" action.resumeInterval="1" action.resumeIntervalMax="10")
{{- end }}

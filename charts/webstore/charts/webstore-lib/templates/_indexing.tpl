{{/*
What both ways from Kafka to Elasticsearch have in common, each from the chart's context: the index's template, which is there before
the first line, and the deletion of old indices, once a day. Both are a small Python program, run in a service's image.
*/}}

{{/* With the port, as Logstash would take 9200 where a URL has none. */}}
{{- define "webstore.elasticsearch.url" -}}
{{- with .Values.global.logging.external.url -}}
{{- $url := urlParse . -}}
{{- urlJoin (set $url "host" (printf "%s:%s" (regexReplaceAll ":[0-9]+$" $url.host "") (include "webstore.port" .))) -}}
{{- else -}}
http://{{ include "webstore.sibling" (list . "elasticsearch") }}:9200
{{- end -}}
{{- end }}

{{/* Environment: the address, and the login where there is one, as a list. */}}
{{- define "webstore.elasticsearch.env" -}}
- {name: ELASTICSEARCH_URL, value: {{ include "webstore.elasticsearch.url" . | quote }}}
{{- with .Values.global.logging.external.secret }}
{{ include "webstore.secret" (list "ELASTICSEARCH_USERNAME" . "username") }}
{{ include "webstore.secret" (list "ELASTICSEARCH_PASSWORD" . "password") }}
{{- end }}
{{- end }}

{{- define "webstore.elasticsearch.egress" -}}
{{- with .Values.global.logging.external.url -}}
- ports: [{port: {{ include "webstore.port" . }}}]
{{- else -}}
- ports: [{port: 9200}]
  to:
  - podSelector:
      matchLabels: {{- include "webstore.peer" (list . "elasticsearch") | nindent 8 }}
{{- end -}}
{{- end }}

{{/* A container that runs a program of the library's ConfigMap, from (list top name arguments). */}}
{{- define "webstore.indexing.container" -}}
{{- $top := index . 0 -}}
- name: {{ index . 1 }}
  image: {{ with $top.Values.global.images.registry }}{{ . }}/{{ end }}webstore/customer:{{ $top.Values.global.version | default $top.Chart.Version }}
  {{- include "webstore.container" $top | nindent 2 }}
  command: [python, /etc/indexing/indices.py]
  args: {{ index . 2 | toJson }}
  env: {{- include "webstore.elasticsearch.env" $top | nindent 2 }}
  resources:
    requests: {cpu: 10m, memory: 32Mi}
    limits: {memory: 64Mi}
  volumeMounts:
  - {name: indexing, mountPath: /etc/indexing, readOnly: true}
{{- end }}

{{- define "webstore.indexing.volume" -}}
- name: indexing
  configMap: {name: {{ include "webstore.name" . }}-indexing}
{{- end }}

{{/* The ConfigMap and the CronJob, as objects. */}}
{{- define "webstore.indexing" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "webstore.name" . }}-indexing
  labels: {{- include "webstore.labels" . | nindent 4 }}
data:
  indices.py: |
    {{- include "webstore.indexing.program" . | nindent 4 }}
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {{ include "webstore.name" . }}-expire
  labels: {{- include "webstore.labels" . | nindent 4 }}
spec:
  schedule: "17 0 * * *"
  concurrencyPolicy: Forbid
  successfulJobsHistoryLimit: 1
  failedJobsHistoryLimit: 1
  jobTemplate:
    spec:
      backoffLimit: 3
      activeDeadlineSeconds: 600
      template:
        metadata:
          labels: {{- include "webstore.labels" . | nindent 12 }}
        spec:
          {{- include "webstore.pod" (dict "top" . "user" 10001) | nindent 10 }}
          restartPolicy: Never
          containers:
          {{- include "webstore.indexing.container" (list . "expire" (list "delete-older-than" (toString .Values.global.logging.retentionDays))) | nindent 10 }}
          volumes:
          {{- include "webstore.indexing.volume" . | nindent 10 }}
{{- end }}

{{- define "webstore.indexing.program" -}}
"""The indices of the store's log in Elasticsearch: one a day, `webstore-log-YYYY.MM.DD`.

    indices.py template                   puts the index template, once Elasticsearch answers
    indices.py delete-older-than DAYS     deletes the indices of earlier days
"""
import base64
import datetime
import json
import os
import sys
import time
import urllib.error
import urllib.request

WAIT_SECONDS = 300
TEMPLATE = {
    "index_patterns": ["webstore-log-*"],
    "template": {
        # A copy where there is a second node for it. A wrong value costs its field, not its line.
        "settings": {
            "number_of_shards": 1, "auto_expand_replicas": "0-1", "refresh_interval": "1s",
            "mapping": {"ignore_malformed": True, "total_fields": {"limit": 500, "ignore_dynamic_beyond_limit": True}},
        },
        "mappings": {
            "date_detection": False,
            "dynamic_templates": [
                {"texts": {"match_mapping_type": "string", "mapping": {"type": "keyword", "ignore_above": 1024}}}
            ],
            "properties": {
                "@timestamp": {"type": "date"},
                "timestamp": {"type": "date", "format": "strict_date_optional_time||yyyy-MM-dd'T'HH:mm:ssZ"},
                "service": {"type": "keyword"}, "level": {"type": "keyword"}, "logger": {"type": "keyword"},
                "message": {"type": "text"}, "exc_info": {"type": "text"},
                "request_id": {"type": "keyword"}, "trace_id": {"type": "keyword"}, "span_id": {"type": "keyword"},
                "method": {"type": "keyword"}, "route": {"type": "keyword"}, "status": {"type": "integer"},
                "duration_ms": {"type": "float"}, "downstream": {"type": "keyword"}, "breaker": {"type": "keyword"},
            },
        },
    },
}


def ask(method, path, body=None):
    request = urllib.request.Request(os.environ["ELASTICSEARCH_URL"].rstrip("/") + path, method=method)
    if user := os.environ.get("ELASTICSEARCH_USERNAME"):
        login = f"{user}:{os.environ['ELASTICSEARCH_PASSWORD']}".encode()
        request.add_header("Authorization", "Basic " + base64.b64encode(login).decode())
    if body is not None:
        request.add_header("Content-Type", "application/json")
        request.data = json.dumps(body).encode()
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"null")


def put_template():
    ends = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return ask("PUT", "/_index_template/webstore-log", TEMPLATE)
        except urllib.error.HTTPError as error:
            # 429 and 5xx: not yet; anything else stays as it is.
            if error.code != 429 and error.code < 500 or time.monotonic() > ends:
                sys.exit(f"Elasticsearch refuses the index template: {error.code} {error.read().decode()}")
        except OSError as error:
            if time.monotonic() > ends:
                sys.exit(f"Elasticsearch cannot be reached: {error}")
        time.sleep(1)


def delete_older_than(days):
    oldest = datetime.datetime.now(datetime.timezone.utc).date() - datetime.timedelta(days=days)
    for index in ask("GET", "/_cat/indices/webstore-log-*?format=json&h=index"):
        name = index["index"]
        try:
            day = datetime.datetime.strptime(name, "webstore-log-%Y.%m.%d").date()
        except ValueError:
            continue
        if day < oldest:
            ask("DELETE", "/" + name)
            print("deleted", name)


if sys.argv[1] == "template":
    put_template()
else:
    delete_older_than(int(sys.argv[2]))
{{- end }}

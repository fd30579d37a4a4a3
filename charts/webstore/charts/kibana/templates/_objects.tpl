{{/*
What is imported: saved-objects.ndjson, whose data view links a line's trace_id to its trace, where the store has a Zipkin of its own. Of
an external tracing system only the address that takes traces is known.
*/}}
{{- define "kibana.objects" -}}
{{- $tracing := .Values.global.tracing -}}
{{- range .Files.Lines "saved-objects.ndjson" -}}
{{- if . -}}
{{- $object := fromJson . -}}
{{- $links := $object.attributes.fieldFormatMap -}}
{{- if $links -}}
{{- if and $tracing.enabled (not $tracing.external.endpoint) -}}
{{- $_ := set $object.attributes "fieldFormatMap" ($links | replace "localhost:9411" ($tracing.host | default "localhost:9411")) -}}
{{- else -}}
{{- $_ := unset $object.attributes "fieldFormatMap" -}}
{{- end -}}
{{- end -}}
{{- toJson $object }}
{{ end -}}
{{- end -}}
{{- end }}

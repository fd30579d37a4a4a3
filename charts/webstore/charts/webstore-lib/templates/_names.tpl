{{/* What this chart is a part of a store as: customer, shopping-command, postgres … An alias in the chart of all has no dash. */}}
{{- define "webstore.part" -}}
{{- .Chart.Name | kebabcase -}}
{{- end }}

{{/* The name of this part's objects. */}}
{{- define "webstore.name" -}}
{{- include "webstore.sibling" (list . (include "webstore.part" .)) -}}
{{- end }}

{{/*
The name of another part's objects, from (list . part). A chart that is installed alone, as a release of its own name, finds the others
by their bare names: each of them is such a release.
*/}}
{{- define "webstore.sibling" -}}
{{- $top := index . 0 -}}
{{- $part := index . 1 -}}
{{- if and $top.Chart.IsRoot (eq $top.Release.Name (include "webstore.part" $top)) -}}
{{- $part -}}
{{- else -}}
{{- printf "%s-%s" $top.Release.Name $part -}}
{{- end -}}
{{- end }}

{{/* What tells this part's pods from all others; never changes, as selectors cannot. */}}
{{- define "webstore.selector" -}}
app.kubernetes.io/name: {{ include "webstore.part" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* What tells another part's pods from all others, from (list . part). */}}
{{- define "webstore.peer" -}}
{{ include "webstore.store" (index . 0) }}
app.kubernetes.io/name: {{ index . 1 }}
{{- end }}

{{/* What tells a store's pods from all others. Parts that are installed alone are releases of their own. */}}
{{- define "webstore.store" -}}
app.kubernetes.io/part-of: webstore
{{- if not .Chart.IsRoot }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- end }}

{{- define "webstore.labels" -}}
{{ include "webstore.selector" . }}
app.kubernetes.io/part-of: webstore
app.kubernetes.io/component: {{ index .Chart.Annotations "webstore.dev/component" }}
app.kubernetes.io/version: {{ include "webstore.version" . | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* A service has the store's version; a supporting system has its chart's. */}}
{{- define "webstore.version" -}}
{{- if eq (index .Chart.Annotations "webstore.dev/component") "service" -}}
{{- .Values.global.version | default .Chart.AppVersion -}}
{{- else -}}
{{- .Chart.AppVersion -}}
{{- end -}}
{{- end }}

{{/* The Secret with the store's own passwords. */}}
{{- define "webstore.credentials" -}}
{{- .Values.global.credentialsSecret | default (include "webstore.sibling" (list . "credentials")) -}}
{{- end }}

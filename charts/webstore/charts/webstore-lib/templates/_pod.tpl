{{/* What every pod's spec begins with, from (dict "top" . "user" number): the `restricted` Pod Security level and no Kubernetes API. */}}
{{- define "webstore.pod" -}}
serviceAccountName: {{ include "webstore.name" .top }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .top.Values.global.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user }}
  runAsGroup: {{ .user }}
  fsGroup: {{ .user }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* What every container has. */}}
{{- define "webstore.container" -}}
imagePullPolicy: {{ .Values.global.images.pullPolicy }}
# The last words of a container that ends are in the pod's status, where the operator finds them.
terminationMessagePolicy: FallbackToLogsOnError
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Replicas go to different nodes where there are some. */}}
{{- define "webstore.spread" -}}
topologySpreadConstraints:
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "webstore.selector" . | nindent 6 }}
{{- end }}

{{- define "webstore.serviceaccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "webstore.name" . }}
  labels: {{- include "webstore.labels" . | nindent 4 }}
automountServiceAccountToken: false
{{- end }}

{{/* How a supporting system keeps its data, from (dict "top" . "storage" storage). The claim's labels can never change. */}}
{{- define "webstore.storage" -}}
persistentVolumeClaimRetentionPolicy: {whenDeleted: {{ .top.Values.global.deletionPolicy }}, whenScaled: Retain}
volumeClaimTemplates:
- metadata:
    name: data
    labels: {{- include "webstore.selector" .top | nindent 6 }}
  spec:
    accessModes: [ReadWriteOnce]
    {{- with .storage.className }}
    storageClassName: {{ . }}
    {{- end }}
    resources: {requests: {storage: {{ .storage.size }}}}
{{- end }}

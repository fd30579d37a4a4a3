{{/*
Makes `global` whole where a chart is installed alone: what charts/webstore/values.yaml has, where it is explained. Every chart begins
with it.
*/}}
{{- define "webstore.init" -}}
{{- $_ := set .Values "global" (mergeOverwrite (include "webstore.defaults" . | fromYaml) (.Values.global | default dict)) -}}
{{- end }}

{{- define "webstore.defaults" -}}
version: ""
images:
  registry: ""
  pullPolicy: IfNotPresent
  pullSecrets: []
ingress:
  enabled: true
  host: ""
  className: ""
  tlsSecret: ""
  annotations: {}
  controllerNamespace: ""
gateway:
  parent: {name: "", namespace: "", sectionName: ""}
config: {}
database:
  storage: {size: 2Gi, className: ""}
  external:
    host: ""
    port: 5432
    secret: ""
    sslMode: require
    caSecret: ""
kafka:
  replicas: 1
  storage: {size: 2Gi, className: ""}
  external:
    bootstrapServers: ""
    securityProtocol: PLAINTEXT
    saslMechanism: SCRAM-SHA-512
    secret: ""
    caSecret: ""
tracing:
  enabled: false
  sampling: 1
  gateway: false
  host: ""
  external: {endpoint: ""}
logging:
  enabled: false
  indexer: rsyslog
  retentionDays: 7
  kibana: true
  host: ""
  external: {url: "", secret: ""}
metrics:
  monitors: false
  labels: {}
  namespace: ""
mail:
  host: ""
  port: 25
  security: none
  from: store@webstore.example
  secret: ""
auth:
  mode: header
  issuer: ""
  audience: ""
  rolesClaim: roles
networkPolicies: true
deletionPolicy: Retain
credentialsSecret: ""
credentialsRevision: ""
{{- end }}

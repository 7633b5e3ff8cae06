{{/* What the pods of the service, of the schema and of the test have in common. */}}

{{- define "countersign.image" -}}
{{- with .Values.image -}}
{{- $registry := default (get $.Values.global "imageRegistry") .registry -}}
{{- $name := ternary (printf "%s/%s" $registry .repository) .repository (not (empty $registry)) -}}
{{- if .digest -}}
{{- printf "%s@%s" $name .digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What holds for every pod. */}}
{{- define "countersign.podBasics" -}}
automountServiceAccountToken: false
{{- with default .Values.global.imagePullSecrets .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- if not (kindIs "invalid" .Values.hostUsers) }}
hostUsers: {{ .Values.hostUsers }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.schedulerName }}
schedulerName: {{ . }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Image and security of a container of the service's image. */}}
{{- define "countersign.containerBasics" -}}
image: {{ include "countersign.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- end -}}

{{/* Variable with the name of the store's user, where a Secret has it. */}}
{{- define "countersign.storeEnvironment" -}}
{{- with .Values.store.scylla.auth -}}
{{- if and $.Values.store.scylla.hosts .existingSecret .userKey -}}
- name: COUNTERSIGN_SCYLLA_USER
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret }}
      key: {{ .userKey }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Environment of the service, as a list. A variable of `extraEnv` takes the place of the chart's own of that name, since server-side
apply refuses a name that is there twice.
*/}}
{{- define "countersign.environment" -}}
{{- $own := list
  (dict "name" "COUNTERSIGN_CONFIG" "value" (printf "%s/config/countersign.toml" (include "countersign.folder" .)))
  (dict "name" "POD_NAME" "valueFrom" (dict "fieldRef" (dict "fieldPath" "metadata.name")))
  (dict "name" "NODE_NAME" "valueFrom" (dict "fieldRef" (dict "fieldPath" "spec.nodeName"))) -}}
{{- if .Values.workerThreads -}}
{{- $own = append $own (dict "name" "TOKIO_WORKER_THREADS" "value" (toString .Values.workerThreads)) -}}
{{- else -}}
{{- $own = append $own (dict "name" "TOKIO_WORKER_THREADS" "valueFrom" (dict "resourceFieldRef" (dict
  "containerName" "countersignd" "resource" "requests.cpu" "divisor" "1"))) -}}
{{- end -}}
{{- $own = concat $own (include "countersign.storeEnvironment" . | fromYamlArray) -}}
{{- with .Values.tracing -}}
{{- if .endpoint -}}
{{- $own = append $own (dict "name" "OTEL_EXPORTER_OTLP_ENDPOINT" "value" .endpoint) -}}
{{- $own = append $own (dict "name" "OTEL_TRACES_SAMPLER" "value" .sampler) -}}
{{- $own = append $own (dict "name" "OTEL_TRACES_SAMPLER_ARG" "value" .samplerArgument) -}}
{{- $own = append $own (dict "name" "OTEL_RESOURCE_ATTRIBUTES" "value" (printf
  "k8s.namespace.name=%s,k8s.pod.name=$(POD_NAME),k8s.node.name=$(NODE_NAME),service.instance.id=$(POD_NAME)"
  (include "countersign.namespace" $))) -}}
{{- end -}}
{{- end -}}
{{- $extra := dict -}}
{{- range .Values.extraEnv -}}{{- $_ := set $extra .name . -}}{{- end -}}
{{- $variables := list -}}
{{- $seen := dict -}}
{{- range concat $own .Values.extraEnv -}}
{{- if not (hasKey $seen .name) -}}
{{- $_ := set $seen .name true -}}
{{- $variables = append $variables (default . (get $extra .name)) -}}
{{- end -}}
{{- end -}}
{{- toYaml $variables -}}
{{- end -}}

{{/* A volume of one key of a Secret or a ConfigMap: list of name, Secret, ConfigMap, key, and the file's name. */}}
{{- define "countersign.fileVolume" -}}
- name: {{ index . 0 }}
{{- if index . 1 }}
  secret:
    secretName: {{ index . 1 }}
{{- else }}
  configMap:
    name: {{ index . 2 }}
{{- end }}
    items:
      - key: {{ index . 3 }}
        path: {{ index . 4 }}
{{- end -}}

{{/* A volume with a certificate and its key: list of name and Secret. */}}
{{- define "countersign.certificateVolume" -}}
- name: {{ index . 0 }}
  secret:
    secretName: {{ index . 1 }}
    items:
      - key: tls.crt
        path: tls.crt
      - key: tls.key
        path: tls.key
{{- end -}}

{{/* Volumes that the store needs, of existing objects only. */}}
{{- define "countersign.storeVolumes" -}}
{{- with .Values.store.server }}
{{- if .url }}
{{- if .auth.existingSecret }}
{{ include "countersign.fileVolume" (list "store-login" .auth.existingSecret "" .auth.passwordKey "password") }}
{{- end }}
{{- if or .tls.existingSecret .tls.existingConfigMap }}
{{ include "countersign.fileVolume" (list "store-ca" .tls.existingSecret .tls.existingConfigMap .tls.caKey "ca.crt") }}
{{- end }}
{{- if .tls.clientSecret }}
{{ include "countersign.certificateVolume" (list "store-client" .tls.clientSecret) }}
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.store.scylla.hosts }}
{{- with .Values.store.scylla }}
{{- if .auth.existingSecret }}
{{ include "countersign.fileVolume" (list "scylla-login" .auth.existingSecret "" .auth.passwordKey "password") }}
{{- end }}
{{- if or .tls.existingSecret .tls.existingConfigMap }}
{{ include "countersign.fileVolume" (list "scylla-ca" .tls.existingSecret .tls.existingConfigMap .tls.caKey "ca.crt") }}
{{- end }}
{{- if .tls.clientSecret }}
{{ include "countersign.certificateVolume" (list "scylla-client" .tls.clientSecret) }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* All volumes of the service, but for those of an embedded store. */}}
{{- define "countersign.volumes" -}}
- name: config
  configMap:
    name: {{ include "countersign.fullname" . }}
    items:
      - key: countersign.toml
        path: countersign.toml
{{- with .Values.superAdministrators }}
{{- if .certificates }}
{{ include "countersign.fileVolume" (list "super-administrators" "" (include "countersign.fullname" $) "super-administrators.asc" "super-administrators.asc") }}
{{- else }}
{{ include "countersign.fileVolume" (list "super-administrators" .existingSecret .existingConfigMap .key "super-administrators.asc") }}
{{- end }}
{{- end }}
{{- include "countersign.storeVolumes" . }}
{{- with .Values.valkey }}
{{- if .hosts }}
{{- if .auth.existingSecret }}
{{ include "countersign.fileVolume" (list "valkey-login" .auth.existingSecret "" .auth.passwordKey "password") }}
{{- end }}
{{- if or .tls.existingSecret .tls.existingConfigMap }}
{{ include "countersign.fileVolume" (list "valkey-ca" .tls.existingSecret .tls.existingConfigMap .tls.caKey "ca.crt") }}
{{- end }}
{{- end }}
{{- end }}
{{- with include "countersign.tlsSecret" . }}
{{ include "countersign.certificateVolume" (list "tls" .) }}
{{- end }}
{{- end -}}

{{/* Mounts of volumes, each in the folder of its name: list of context and volumes. */}}
{{- define "countersign.mounts" -}}
{{- range index . 1 }}
- name: {{ .name }}
  mountPath: {{ include "countersign.folder" (index $ 0) }}/{{ .name }}
  readOnly: true
{{- end }}
{{- end -}}

{{/* A rule of the spread of pods: list of context and the rule's values. */}}
{{- define "countersign.spread" -}}
{{- with index . 1 -}}
{{- if .maxSkew -}}
- maxSkew: {{ .maxSkew }}
  topologyKey: {{ .topologyKey }}
  whenUnsatisfiable: {{ .whenUnsatisfiable }}
  labelSelector:
    matchLabels:
      {{- include "countersign.selectorLabels" (list (index $ 0) "service") | nindent 6 }}
  # The pods of a new version are spread among themselves, not around those that they replace.
  matchLabelKeys: [pod-template-hash]
  # A node that is drained counts for nothing: its pods must find a place elsewhere.
  nodeTaintsPolicy: Honor
{{- end -}}
{{- end -}}
{{- end -}}

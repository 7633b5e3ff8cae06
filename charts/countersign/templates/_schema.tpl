{{/*
The Job that creates or updates the schema. As a hook it runs before anything of the release exists, so all that it needs comes with
it or was there before: no ConfigMap, ServiceAccount or NetworkPolicy of the release. `countersignd schema` can be run again, and by
two at once.
*/}}

{{/* Annotations of a hook: its weight. What it leaves behind when it fails can be looked at until it is run again. */}}
{{- define "countersign.hook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{- define "countersign.schemaPod" -}}
{{- $folder := include "countersign.folder" . -}}
{{- $volumes := include "countersign.storeVolumes" . | fromYamlArray -}}
serviceAccountName: {{ ternary (printf "%s-schema" (include "countersign.fullname" .)) (default "default" .Values.serviceAccount.name) .Values.serviceAccount.create }}
restartPolicy: Never
enableServiceLinks: false
{{ include "countersign.podBasics" . }}
containers:
  - name: schema
    {{- include "countersign.containerBasics" . | nindent 4 }}
    args: [schema]
    # All of `config`, so that a mistake in it stops the upgrade before a pod is replaced.
    env:
      {{- range $name, $value := mergeOverwrite (dict "log_format" "json") (deepCopy .Values.config) (include "countersign.storeSettings" . | fromYaml) }}
      - name: COUNTERSIGN_{{ upper $name }}
        value: {{ kindIs "string" $value | ternary $value (int64 $value) | toString | quote }}
      {{- end }}
      {{- with include "countersign.storeEnvironment" . }}
      {{- . | nindent 6 }}
      {{- end }}
    resources:
      {{- toYaml .Values.schema.resources | nindent 6 }}
    {{- if $volumes }}
    volumeMounts:
      {{- include "countersign.mounts" (list . $volumes) | trim | nindent 6 }}
    {{- end }}
{{- if $volumes }}
volumes:
  {{- toYaml $volumes | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Names, labels and namespaces. Selector labels never change: a Deployment's selector cannot be altered. */}}

{{- define "countersign.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 50 characters, so that every suffix fits into 63. */}}
{{- define "countersign.fullname" -}}
{{- $name := include "countersign.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "countersign.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "countersign.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "countersign.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What selects the pods of one component: list of context and component. */}}
{{- define "countersign.selectorLabels" -}}
{{- $context := index . 0 -}}
app.kubernetes.io/name: {{ include "countersign.name" $context }}
app.kubernetes.io/instance: {{ $context.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* All labels of an object: list of context, component, and maps of more labels. Later ones win; those of the selector always. */}}
{{- define "countersign.labels" -}}
{{- $context := index . 0 -}}
{{- $labels := dict
  "helm.sh/chart" (printf "%s-%s" $context.Chart.Name $context.Chart.Version | replace "+" "_")
  "app.kubernetes.io/version" (toString $context.Chart.AppVersion)
  "app.kubernetes.io/part-of" "countersign"
  "app.kubernetes.io/managed-by" $context.Release.Service -}}
{{- $labels = mergeOverwrite $labels (deepCopy $context.Values.commonLabels) -}}
{{- range slice . 2 -}}{{- $labels = mergeOverwrite $labels (deepCopy .) -}}{{- end -}}
{{- mergeOverwrite $labels (include "countersign.selectorLabels" (list $context (index . 1)) | fromYaml) | toYaml -}}
{{- end -}}

{{/*
Labels of a pod: list of context, component, and maps of more labels. Without the versions of an object's labels, so that a new version
of the chart alone replaces no pod.
*/}}
{{- define "countersign.podLabels" -}}
{{- $context := index . 0 -}}
{{- $labels := deepCopy $context.Values.commonLabels -}}
{{- range slice . 2 -}}{{- $labels = mergeOverwrite $labels (deepCopy .) -}}{{- end -}}
{{- mergeOverwrite $labels (include "countersign.selectorLabels" (list $context (index . 1)) | fromYaml) | toYaml -}}
{{- end -}}

{{/* Annotations with their key, or nothing: list of context, and maps of annotations. Later ones win. */}}
{{- define "countersign.annotations" -}}
{{- $annotations := deepCopy (index . 0).Values.commonAnnotations -}}
{{- range slice . 1 -}}{{- $annotations = mergeOverwrite $annotations (deepCopy .) -}}{{- end -}}
{{- with $annotations -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* Metadata of an object: list of context, component, name; then, if need be, maps of more labels and of annotations. */}}
{{- define "countersign.metadata" -}}
{{- $context := index . 0 -}}
{{- $labels := dict -}}{{- if gt (len .) 3 -}}{{- $labels = index . 3 -}}{{- end -}}
{{- $annotations := dict -}}{{- if gt (len .) 4 -}}{{- $annotations = index . 4 -}}{{- end -}}
name: {{ index . 2 }}
namespace: {{ include "countersign.namespace" $context }}
labels:
  {{- include "countersign.labels" (list $context (index . 1) $labels) | nindent 2 }}
{{- with include "countersign.annotations" (list $context $annotations) }}
{{ . }}
{{- end }}
{{- end -}}

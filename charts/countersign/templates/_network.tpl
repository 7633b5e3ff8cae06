{{/* Rules of NetworkPolicies. */}}

{{/* TCP ports at the ends of addresses, each once, as YAML: a list of numbers. */}}
{{- define "countersign.portsOf" -}}
{{- $ports := list -}}
{{- range . -}}{{- $ports = append $ports (regexFind "[0-9]+$" (toString .) | int) -}}{{- end -}}
{{- $ports | uniq | toYaml -}}
{{- end -}}

{{/* A rule of egress: list of destinations and of ports. Everywhere where there is no destination. */}}
{{- define "countersign.egressRule" -}}
- {{ with index . 0 -}}
  to:
    {{- toYaml . | nindent 4 }}
  {{ end -}}
  ports:
    {{- range index . 1 }}
    - protocol: TCP
      port: {{ . }}
    {{- end }}
{{- end -}}

{{- define "countersign.dnsEgress" -}}
# Names are looked up anywhere: a node's own cache has an address of the node.
- ports:
    - protocol: UDP
      port: 53
    - protocol: TCP
      port: 53
{{- end -}}

{{- define "countersign.storeEgress" -}}
{{- if not .Values.store.embedded.enabled -}}
{{- $ports := include "countersign.portsOf" .Values.store.scylla.hosts | fromYamlArray -}}
{{- with .Values.store.server.url -}}
{{/* DynamoDB is reached by HTTPS, whose port its address does not say. */}}
{{- $ports = ternary (list 443) (include "countersign.portsOf" (splitList "," (regexFind "//[^/]+" .)) | fromYamlArray) (hasPrefix "dynamodb:" .) -}}
{{- end -}}
{{- $ports = concat $ports .Values.networkPolicy.egress.storePorts | uniq -}}
{{- include "countersign.egressRule" (list .Values.networkPolicy.egress.store $ports) -}}
{{- end -}}
{{- end -}}

{{/* Port of the endpoint of traces: its own, or its scheme's. */}}
{{- define "countersign.tracingPort" -}}
{{- $url := urlParse .Values.tracing.endpoint -}}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- end -}}

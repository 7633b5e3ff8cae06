{{/*
Settings of the service. `files/settings.yaml` has every setting with its default, and is made of docs/configuration.md.
Values that name a Kubernetes object become a path or an address here; everything else comes from `config`.
*/}}

{{/* Where files of Secrets and ConfigMaps are mounted. */}}
{{- define "countersign.folder" -}}/etc/countersign{{- end -}}

{{/* Seconds of a duration such as `1h 30m`, `300ms` or `14days`. */}}
{{- define "countersign.seconds" -}}
{{- $units := dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 "day" 86400.0 "days" 86400.0 -}}
{{- $total := 0.0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h|days|day|d)" . -1 -}}
{{- $total = addf $total (mulf (regexFind "^[0-9]+" . | float64) (get $units (regexFind "[a-z]+$" .))) -}}
{{- end -}}
{{- $total -}}
{{- end -}}

{{/* A setting of `config`, or the service's default: list of context and name. */}}
{{- define "countersign.setting" -}}
{{- $context := index . 0 -}}
{{- $defaults := $context.Files.Get "files/settings.yaml" | fromYaml -}}
{{- $value := get $context.Values.config (index . 1) -}}
{{- if kindIs "string" $value -}}{{- $value | default (get $defaults (index . 1)) -}}{{- else -}}{{- $value | int64 -}}{{- end -}}
{{- end -}}

{{/* Seconds of a setting that is a duration: list of context and name. */}}
{{- define "countersign.settingSeconds" -}}
{{- include "countersign.seconds" (include "countersign.setting" .) -}}
{{- end -}}

{{/* Settings of the store, as YAML. */}}
{{- define "countersign.storeSettings" -}}
{{- $folder := include "countersign.folder" . -}}
{{- $settings := dict -}}
{{- if .Values.store.embedded.enabled -}}
{{- $_ := set $settings "store" "embedded:/var/lib/countersign/store" -}}
{{- else if .Values.store.server.url -}}
{{- $settings = include "countersign.serverSettings" . | fromYaml -}}
{{- else -}}
{{- with .Values.store.scylla -}}
{{- $_ := set $settings "store" (printf "scylla://%s/%s" (join "," .hosts) .keyspace) -}}
{{- if .datacenter -}}{{- $_ := set $settings "scylla_datacenter" .datacenter -}}{{- end -}}
{{- if .rack -}}{{- $_ := set $settings "scylla_rack" .rack -}}{{- end -}}
{{- if .auth.existingSecret -}}
{{- if not .auth.userKey -}}{{- $_ := set $settings "scylla_user" .auth.user -}}{{- end -}}
{{- $_ := set $settings "scylla_password_file" (printf "%s/scylla-login/password" $folder) -}}
{{- end -}}
{{- if or .tls.existingSecret .tls.existingConfigMap -}}{{- $_ := set $settings "scylla_ca" (printf "%s/scylla-ca/ca.crt" $folder) -}}{{- end -}}
{{- if .tls.clientSecret -}}
{{- $_ := set $settings "scylla_certificate" (printf "%s/scylla-client/tls.crt" $folder) -}}
{{- $_ := set $settings "scylla_key" (printf "%s/scylla-client/tls.key" $folder) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}

{{/* What begins the address of a store of `store.server`: mariadb, valkey, valkeys or dynamodb. */}}
{{- define "countersign.serverScheme" -}}{{- regexFind "^[a-z]+" .Values.store.server.url -}}{{- end -}}

{{/* Settings of a store of `store.server`, as YAML: each kind calls them by names of its own. */}}
{{- define "countersign.serverSettings" -}}
{{- $folder := include "countersign.folder" . -}}
{{- $scheme := include "countersign.serverScheme" . -}}
{{- with .Values.store.server -}}
{{- $settings := dict "store" .url -}}
{{- $names := dict "password" "mariadb_password_file" "authority" "mariadb_ca" -}}
{{- if hasPrefix "valkey" $scheme -}}{{- $names = dict "password" "valkey_store_password_file" "authority" "valkey_store_authority" -}}{{- end -}}
{{- if .auth.existingSecret -}}{{- $_ := set $settings $names.password (printf "%s/store-login/password" $folder) -}}{{- end -}}
{{- if or .tls.existingSecret .tls.existingConfigMap -}}{{- $_ := set $settings $names.authority (printf "%s/store-ca/ca.crt" $folder) -}}{{- end -}}
{{- if .tls.clientSecret -}}
{{- $_ := set $settings "mariadb_certificate" (printf "%s/store-client/tls.crt" $folder) -}}
{{- $_ := set $settings "mariadb_key" (printf "%s/store-client/tls.key" $folder) -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}
{{- end -}}

{{/* All settings, as YAML. */}}
{{- define "countersign.settings" -}}
{{- $folder := include "countersign.folder" . -}}
{{- $any := ternary "[::]" "0.0.0.0" (eq (first .Values.service.ipFamilies | toString) "IPv6") -}}
{{- $settings := dict "listen" (printf "%s:8080" $any) "admin_listen" (printf "%s:%d" $any (int .Values.admin.port)) "log_format" "json" -}}
{{- $settings = mergeOverwrite $settings (deepCopy .Values.config) (include "countersign.storeSettings" . | fromYaml) -}}
{{- with .Values.valkey -}}
{{- if .hosts -}}
{{- $user := ternary (printf "%s@" .auth.user) "" (ne .auth.user "") -}}
{{- $_ := set $settings "ephemeral" (printf "%s://%s%s" (ternary "valkeys" "valkey" .tls.enabled) $user (join "," .hosts)) -}}
{{- if .auth.existingSecret -}}{{- $_ := set $settings "valkey_password_file" (printf "%s/valkey-login/password" $folder) -}}{{- end -}}
{{- if or .tls.existingSecret .tls.existingConfigMap -}}{{- $_ := set $settings "valkey_authority" (printf "%s/valkey-ca/ca.crt" $folder) -}}{{- end -}}
{{- else -}}
{{- $_ := set $settings "ephemeral" "local" -}}
{{- end -}}
{{- end -}}
{{- $_ := set $settings "super_administrators" (printf "%s/super-administrators/super-administrators.asc" $folder) -}}
{{- if include "countersign.tlsSecret" . -}}
{{- $_ := set $settings "tls_certificate" (printf "%s/tls/tls.crt" $folder) -}}
{{- $_ := set $settings "tls_key" (printf "%s/tls/tls.key" $folder) -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}

{{/* One value as TOML has it: whole numbers without an exponent, text as JSON writes it. */}}
{{- define "countersign.toml" -}}
{{- if kindIs "string" . -}}{{- . | toJson -}}{{- else if kindIs "bool" . -}}{{- . -}}{{- else -}}{{- . | int64 -}}{{- end -}}
{{- end -}}

{{/* Name of the Secret with the public listener's certificate, or nothing. */}}
{{- define "countersign.tlsSecret" -}}
{{- if .Values.tls.existingSecret -}}
{{- .Values.tls.existingSecret -}}
{{- else if .Values.tls.certManager.enabled -}}
{{- include "countersign.fullname" . -}}-tls
{{- end -}}
{{- end -}}

{{/* How long a pod may take to end, in seconds. */}}
{{- define "countersign.gracePeriodNeeded" -}}
{{- $delay := include "countersign.settingSeconds" (list . "drain_delay") | float64 -}}
{{- $timeout := include "countersign.settingSeconds" (list . "drain_timeout") | float64 -}}
{{- addf (float64 .Values.preStopSeconds) $delay $timeout 5.0 | ceil | int64 -}}
{{- end -}}

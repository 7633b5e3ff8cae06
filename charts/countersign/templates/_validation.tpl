{{/*
What values.schema.json cannot see: values that do not go together. All mistakes are told at once, each with what to do. What the
service itself would refuse in `config` is told here too, before anything is changed.
*/}}

{{/* Mistakes about where data is, and who may use the service. */}}
{{- define "countersign.mistakesOfStores" -}}
{{- $mistakes := list -}}
{{- $scylla := .Values.store.scylla -}}
{{- $embedded := .Values.store.embedded -}}
{{- $many := or (ne .Values.autoscaling.mode "fixed") (gt (int .Values.replicas) 1) -}}
{{- $server := .Values.store.server -}}
{{- $stores := 0 -}}
{{- range list $scylla.hosts $server.url $embedded.enabled -}}{{- if . -}}{{- $stores = add $stores 1 -}}{{- end -}}{{- end -}}
{{- if gt (int $stores) 1 -}}
{{- $mistakes = append $mistakes "There are two stores. Set one of store.scylla.hosts, store.server.url and store.embedded.enabled." -}}
{{- else if eq (int $stores) 0 -}}
{{- $mistakes = append $mistakes "There is no store. Set store.scylla.hosts to ScyllaDB's hosts, store.server.url to another store's address, or store.embedded.enabled to keep everything on one volume." -}}
{{- end -}}
{{- if and $embedded.enabled $many -}}
{{- $mistakes = append $mistakes "An embedded store belongs to one pod. Set replicas to 1 and autoscaling.mode to fixed, or use store.scylla or store.server." -}}
{{- end -}}
{{- if and (not $embedded.enabled) (gt (int $stores) 0) $many (not .Values.valkey.hosts) -}}
{{- $mistakes = append $mistakes "Many pods need a Valkey that they share, or each knows only its own sessions. Set valkey.hosts." -}}
{{- end -}}
{{- if and $scylla.auth.existingSecret (not $scylla.auth.user) (not $scylla.auth.userKey) -}}
{{- $mistakes = append $mistakes "store.scylla.auth has a password and no user. Set store.scylla.auth.user or store.scylla.auth.userKey." -}}
{{- end -}}
{{- if and (or $scylla.auth.user $scylla.auth.userKey) (not $scylla.auth.existingSecret) -}}
{{- $mistakes = append $mistakes "store.scylla.auth has a user and no password. Set store.scylla.auth.existingSecret to the Secret that holds it." -}}
{{- end -}}
{{- if and $scylla.tls.existingSecret $scylla.tls.existingConfigMap -}}
{{- $mistakes = append $mistakes "store.scylla.tls has two authorities. Set either existingSecret or existingConfigMap." -}}
{{- end -}}
{{- if and $scylla.tls.clientSecret (not $scylla.tls.existingSecret) (not $scylla.tls.existingConfigMap) -}}
{{- $mistakes = append $mistakes "store.scylla.tls.clientSecret needs an authority: without one there is no TLS. Set store.scylla.tls.existingSecret or existingConfigMap." -}}
{{- end -}}
{{- if and $scylla.rack (not $scylla.datacenter) -}}
{{- $mistakes = append $mistakes "store.scylla.rack needs store.scylla.datacenter." -}}
{{- end -}}
{{- if and $server.tls.existingSecret $server.tls.existingConfigMap -}}
{{- $mistakes = append $mistakes "store.server.tls has two authorities. Set either existingSecret or existingConfigMap." -}}
{{- end -}}
{{- if $server.url -}}
{{- $scheme := include "countersign.serverScheme" . -}}
{{- $authority := or $server.tls.existingSecret $server.tls.existingConfigMap -}}
{{- if and (eq $scheme "dynamodb") (or $server.auth.existingSecret $authority $server.tls.clientSecret) -}}
{{- $mistakes = append $mistakes "DynamoDB takes no password and no authority. Leave store.server.auth and store.server.tls out, and give the pods a role by serviceAccount.annotations." -}}
{{- else if and (eq $scheme "valkey") (or $authority $server.tls.clientSecret) -}}
{{- $mistakes = append $mistakes "store.server.tls is for an address that begins with valkeys://." -}}
{{- else if and (eq $scheme "valkeys") $server.tls.clientSecret -}}
{{- $mistakes = append $mistakes "store.server.tls.clientSecret is for mariadb:// only." -}}
{{- else if and (eq $scheme "mariadb") $server.tls.clientSecret (not $authority) -}}
{{- $mistakes = append $mistakes "store.server.tls.clientSecret needs an authority: without one there is no TLS. Set store.server.tls.existingSecret or existingConfigMap." -}}
{{- end -}}
{{- if and (has $scheme (list "mariadb" "valkey" "valkeys")) (not (regexMatch "//[^/]*:[0-9]+(/|$)" $server.url)) -}}
{{- $mistakes = append $mistakes "store.server.url needs the port of each host, such as :3306 or :6379." -}}
{{- end -}}
{{- end -}}
{{- with .Values.valkey -}}
{{- if and .auth.user (not .auth.existingSecret) -}}
{{- $mistakes = append $mistakes "valkey.auth has a user and no password. Set valkey.auth.existingSecret to the Secret that holds it." -}}
{{- end -}}
{{- if and .tls.existingSecret .tls.existingConfigMap -}}
{{- $mistakes = append $mistakes "valkey.tls has two authorities. Set either existingSecret or existingConfigMap." -}}
{{- end -}}
{{- if and (or .tls.existingSecret .tls.existingConfigMap) (not .tls.enabled) -}}
{{- $mistakes = append $mistakes "valkey.tls has an authority and is not enabled. Set valkey.tls.enabled." -}}
{{- end -}}
{{- end -}}
{{- $sources := 0 -}}
{{- range list .Values.superAdministrators.existingSecret .Values.superAdministrators.existingConfigMap .Values.superAdministrators.certificates -}}
{{- if . -}}{{- $sources = add $sources 1 -}}{{- end -}}
{{- end -}}
{{- if eq (int $sources) 0 -}}
{{- $mistakes = append $mistakes "There are no super-administrators, so nobody could create an organization. Set superAdministrators.existingSecret, or superAdministrators.certificates by --set-file." -}}
{{- else if gt (int $sources) 1 -}}
{{- $mistakes = append $mistakes "superAdministrators has more than one source. Set one of existingSecret, existingConfigMap and certificates." -}}
{{- end -}}
{{- toYaml $mistakes -}}
{{- end -}}

{{/* Mistakes about how the service is reached and watched. */}}
{{- define "countersign.mistakesOfExposure" -}}
{{- $mistakes := list -}}
{{- with .Values.tls -}}
{{- if and .existingSecret .certManager.enabled -}}
{{- $mistakes = append $mistakes "tls has two certificates. Set either tls.existingSecret or tls.certManager.enabled." -}}
{{- end -}}
{{- if and .certManager.enabled (not .certManager.issuerRef.name) -}}
{{- $mistakes = append $mistakes "tls.certManager needs to know who issues the certificate. Set tls.certManager.issuerRef.name." -}}
{{- end -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- $mistakes = append $mistakes "ingress has no hosts. Set ingress.hosts." -}}
{{- end -}}
{{- with .Values.httpRoute -}}
{{- if and .enabled (not .parentRefs) -}}
{{- $mistakes = append $mistakes "httpRoute belongs to no Gateway. Set httpRoute.parentRefs." -}}
{{- end -}}
{{- if and .backendTLS.enabled (not (include "countersign.tlsSecret" $)) -}}
{{- $mistakes = append $mistakes "httpRoute.backendTLS needs pods that speak TLS. Set tls.existingSecret or tls.certManager.enabled." -}}
{{- end -}}
{{- if and .backendTLS.enabled (not .enabled) -}}
{{- $mistakes = append $mistakes "httpRoute.backendTLS belongs to an HTTPRoute. Set httpRoute.enabled." -}}
{{- end -}}
{{- $wait := include "countersign.settingSeconds" (list $ "long_poll") | float64 -}}
{{- if .enabled -}}
{{- range $name, $value := .timeouts -}}
{{- $seconds := include "countersign.seconds" $value | float64 -}}
{{- if and (gt $seconds 0.0) (le $seconds $wait) -}}
{{- $mistakes = append $mistakes (printf "httpRoute.timeouts.%s (%s) is not longer than long_poll (%vs): listings that wait would be cut off. Lengthen it, or shorten config.long_poll." $name $value $wait) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled -}}
{{- $mistakes = append $mistakes "Pods would be scraped twice. Set either metrics.serviceMonitor.enabled or metrics.podMonitor.enabled." -}}
{{- end -}}
{{- if eq (int .Values.admin.port) 8080 -}}
{{- $mistakes = append $mistakes "admin.port is the port of the public listener. Set another one than 8080." -}}
{{- end -}}
{{- toYaml $mistakes -}}
{{- end -}}

{{/* Mistakes about how many pods there are, and how they end. */}}
{{- define "countersign.mistakesOfScale" -}}
{{- $mistakes := list -}}
{{- $requests := .Values.resources.requests | default dict -}}
{{- with .Values.autoscaling -}}
{{- if has .mode (list "hpa" "keda") -}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- $mistakes = append $mistakes (printf "autoscaling.minReplicas (%d) is more than autoscaling.maxReplicas (%d)." (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- if and .cpuUtilization (not $requests.cpu) -}}
{{- $mistakes = append $mistakes "autoscaling.cpuUtilization is a share of the CPU that pods request. Set resources.requests.cpu." -}}
{{- end -}}
{{- if not (or .cpuUtilization .additionalMetrics (and (eq .mode "keda") .requestsPerPod)) -}}
{{- $mistakes = append $mistakes "Nothing decides how many pods there are. Set autoscaling.cpuUtilization." -}}
{{- end -}}
{{- if and (eq .mode "hpa") .requestsPerPod -}}
{{- $mistakes = append $mistakes "autoscaling.requestsPerPod is for autoscaling.mode keda; for hpa write the metric into autoscaling.additionalMetrics." -}}
{{- end -}}
{{- if and (eq .mode "keda") .requestsPerPod (not .prometheusAddress) -}}
{{- $mistakes = append $mistakes "autoscaling.requestsPerPod asks Prometheus. Set autoscaling.prometheusAddress." -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (not .Values.workerThreads) (not $requests.cpu) -}}
{{- $mistakes = append $mistakes "The number of threads follows the CPU that pods request. Set resources.requests.cpu, or workerThreads." -}}
{{- end -}}
{{- $needed := include "countersign.gracePeriodNeeded" . | int64 -}}
{{- with .Values.terminationGracePeriodSeconds -}}
{{- if lt (int64 .) $needed -}}
{{- $mistakes = append $mistakes (printf "terminationGracePeriodSeconds (%d) would kill pods that still answer: preStopSeconds, drain_delay, drain_timeout and 5 s are %d together. Set it to at least that, or leave it out." (int64 .) $needed) -}}
{{- end -}}
{{- end -}}
{{- toYaml $mistakes -}}
{{- end -}}

{{/* Mistakes in `config`. */}}
{{- define "countersign.mistakesOfConfig" -}}
{{- $mistakes := list -}}
{{- $owners := dict
  "listen" "service" "admin_listen" "admin.port" "store" "store" "ephemeral" "valkey.hosts" "schema" "schema.mode"
  "valkey_password_file" "valkey.auth.existingSecret" "valkey_authority" "valkey.tls"
  "super_administrators" "superAdministrators" "tls_certificate" "tls" "tls_key" "tls"
  "scylla_datacenter" "store.scylla.datacenter" "scylla_rack" "store.scylla.rack" "scylla_user" "store.scylla.auth"
  "scylla_password_file" "store.scylla.auth" "scylla_ca" "store.scylla.tls" "scylla_certificate" "store.scylla.tls.clientSecret"
  "scylla_key" "store.scylla.tls.clientSecret"
  "mariadb_password_file" "store.server.auth" "mariadb_ca" "store.server.tls" "mariadb_certificate" "store.server.tls.clientSecret"
  "mariadb_key" "store.server.tls.clientSecret" "valkey_store_password_file" "store.server.auth"
  "valkey_store_authority" "store.server.tls" -}}
{{- range $name, $_ := .Values.config -}}
{{- with get $owners $name -}}
{{- $mistakes = append $mistakes (printf "config.%s is set by the chart. Use %s." $name .) -}}
{{- end -}}
{{- end -}}
{{- $behind := include "countersign.settingSeconds" (list . "message_id_behind") | float64 -}}
{{- $ahead := include "countersign.settingSeconds" (list . "message_id_ahead") | float64 -}}
{{- $window := include "countersign.settingSeconds" (list . "inconsistent_window") | float64 -}}
{{- $retention := include "countersign.settingSeconds" (list . "retention") | float64 -}}
{{- if le $window (addf $behind $ahead) -}}
{{- $mistakes = append $mistakes "config.inconsistent_window must be longer than message_id_behind and message_id_ahead together, or messages can enter a mailbox behind what clients have seen." -}}
{{- end -}}
{{- if le $retention $window -}}
{{- $mistakes = append $mistakes "config.retention must be longer than inconsistent_window." -}}
{{- end -}}
{{- if eq (get .Values.config "scylla_read_consistency") "each_quorum" -}}
{{- $mistakes = append $mistakes "config.scylla_read_consistency cannot be each_quorum, which is for writes." -}}
{{- end -}}
{{- toYaml $mistakes -}}
{{- end -}}

{{/* Things to look at that are no mistakes, as YAML. NOTES.txt has them. */}}
{{- define "countersign.warnings" -}}
{{- $warnings := list -}}
{{- $fixed := eq .Values.autoscaling.mode "fixed" -}}
{{- if .Values.store.embedded.enabled -}}
{{- $warnings = append $warnings "One pod keeps everything on one volume. While it is replaced or its node is drained, nobody is served. Back the volume up." -}}
{{- else if and $fixed (lt (int .Values.replicas) 2) -}}
{{- $warnings = append $warnings "There is one pod. While it is moved, nobody is served: set replicas to 2 or more." -}}
{{- end -}}
{{- if and (or .Values.ingress.enabled .Values.httpRoute.enabled) (not .Values.config.trusted_proxies) -}}
{{- $warnings = append $warnings "config.trusted_proxies is not set, so all who come by the ingress or gateway are one address, with one limit (rate_per_address). Set it to the networks of its pods." -}}
{{- end -}}
{{- if and (or .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled) (not .Values.metrics.serviceMonitor.additionalLabels) (not .Values.metrics.podMonitor.additionalLabels) -}}
{{- $warnings = append $warnings "The monitor has no additionalLabels. Most Prometheus operators only see monitors and rules with a label such as `release: kube-prometheus-stack`, and say nothing of the others. Look at Prometheus' targets." -}}
{{- end -}}
{{- if and (has .Values.autoscaling.mode (list "hpa" "keda")) (not (contains "countersign" (include "countersign.fullname" .))) -}}
{{- $warnings = append $warnings "The objects' name has no `countersign` in it, so the alert CountersignAutoscalerAtMaximum does not see the autoscaler." -}}
{{- end -}}
{{- if and (not .Values.store.embedded.enabled) (eq .Values.schema.mode "none") -}}
{{- $warnings = append $warnings "Nobody updates the schema: run `countersignd schema` of the new version before each upgrade. Pods that find an old one are not ready until then." -}}
{{- end -}}
{{- if and .Values.valkey.hosts .Values.valkey.auth.existingSecret (not .Values.valkey.tls.enabled) -}}
{{- $warnings = append $warnings "The password of Valkey, and all session keys, travel without TLS: set valkey.tls.enabled, or see that the network encrypts." -}}
{{- end -}}
{{- toYaml $warnings -}}
{{- end -}}

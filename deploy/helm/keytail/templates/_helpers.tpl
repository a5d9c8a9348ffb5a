{{- define "keytail.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{- define "keytail.selector" -}}
app.kubernetes.io/name: keytail
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* The memory of a pod in MiB, checked against the cache. */}}
{{- define "keytail.memory" -}}
{{- $needed := add (div (mul (int .Values.config.cache_size) 7) 4) 128 -}}
{{- $memory := int .Values.memoryMiB | default $needed -}}
{{- if lt (int $memory) (int $needed) }}{{ fail (printf "memoryMiB: a cache of %d MiB needs %d MiB (1.75 times cache_size and 128)" (int .Values.config.cache_size) (int $needed)) }}{{ end -}}
{{- $memory -}}
{{- end }}

{{- /* The seconds until a pod is killed, checked against the drain delay. */}}
{{- define "keytail.grace" -}}
{{- $needed := add (.Values.config.drain_delay | trimSuffix "s" | int) 16 -}}
{{- if lt (int .Values.terminationGracePeriodSeconds) (int $needed) }}{{ fail (printf "terminationGracePeriodSeconds must be %d or more: drain_delay, and 15 s for requests in flight" (int $needed)) }}{{ end -}}
{{- .Values.terminationGracePeriodSeconds -}}
{{- end }}

{{- /* The port of gRPC, or nothing. */}}
{{- define "keytail.grpcPort" -}}
{{- with .Values.config.grpc_addr }}{{ splitList ":" . | last }}{{ end -}}
{{- end }}

{{- /* The kubelet cannot present a certificate. */}}
{{- define "keytail.opsScheme" -}}
{{- if .Values.config.ops_tls_client_ca_file }}{{ fail "config.ops_tls_client_ca_file: the kubelet has no certificate for its probes; protect the operations listener by the network policy" }}{{ end -}}
{{- if .Values.config.ops_tls_cert_file }}HTTPS{{ else }}HTTP{{ end -}}
{{- end }}

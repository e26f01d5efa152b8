{{/* The chart's name, or its override. */}}
{{- define "edge-credential-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of the objects. The release's name alone where it already has the chart's. */}}
{{- define "edge-credential-operator.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := include "edge-credential-operator.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* The namespace of the operator's own objects. */}}
{{- define "edge-credential-operator.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{/*
The name of roles and bindings. They live outside of the release's namespace, so it is part of their name: two releases of
the same name in different namespaces don't meet.
*/}}
{{- define "edge-credential-operator.roleName" -}}
{{- printf "%s:%s" (include "edge-credential-operator.fullname" .) (include "edge-credential-operator.namespace" .) }}
{{- end }}

{{- define "edge-credential-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "edge-credential-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is required where serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "edge-credential-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "edge-credential-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/*
Labels of an object or a pod, from `root` and where it has any of its own `labels`. These can't replace the chart's, and take the place
of those that the user gives to all.
*/}}
{{- define "edge-credential-operator.labels" -}}
{{- $chart := include "edge-credential-operator.selectorLabels" .root | fromYaml }}
{{- with .root.Chart }}
{{- $_ := set $chart "app.kubernetes.io/version" .AppVersion }}
{{- $_ := set $chart "helm.sh/chart" (printf "%s-%s" .Name .Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- end }}
{{- $_ := set $chart "app.kubernetes.io/managed-by" .root.Release.Service }}
{{- merge $chart (default dict .labels) .root.Values.commonLabels | toYaml }}
{{- end }}

{{/*
An object's metadata, from `root`, and where they are given `name` (else the full name), `namespace`, `labels` and `annotations`, which
take the place of those that the user gives to all objects.
*/}}
{{- define "edge-credential-operator.metadata" -}}
name: {{ default (include "edge-credential-operator.fullname" .root) .name }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- include "edge-credential-operator.labels" . | nindent 2 }}
{{- with merge dict (default dict .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "edge-credential-operator.image" -}}
{{- $repository := .Values.image.repository }}
{{- with .Values.global.imageRegistry }}
{{- /* A first part with a dot or a colon is a registry, as for Docker. */}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) (regexReplaceAll "^([^/]*[.:][^/]*|localhost)/" $repository "") }}
{{- end }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "edge-credential-operator.imagePullSecrets" -}}
{{- with concat .Values.global.imagePullSecrets .Values.imagePullSecrets | uniq }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The operator's arguments. A flag that is given twice would keep it from starting. */}}
{{- define "edge-credential-operator.args" -}}
{{- $own := include "edge-credential-operator.ownArgs" . }}
{{- $own }}
{{- range .Values.extraArgs }}
{{- $flag := splitList "=" . | first }}
{{- if contains (printf "%s=" $flag) $own }}
{{- fail (printf "extraArgs: %s is set by the chart, from a value of its own" $flag) }}
{{- end }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{- define "edge-credential-operator.ownArgs" -}}
- run
{{- range .Values.namespaces }}
- {{ printf "--namespace=%s" . | quote }}
{{- end }}
{{- with .Values.selector }}
- {{ printf "--selector=%s" . | quote }}
{{- end }}
{{- range .Values.allowedTokenOrigins }}
- {{ printf "--allowed-token-origin=%s" . | quote }}
{{- end }}
{{- range .Values.allowedAPIOrigins }}
- {{ printf "--allowed-api-origin=%s" . | quote }}
{{- end }}
{{- if .Values.tokenCA.configMap }}
- {{ printf "--token-ca-file=/etc/edge-credential-operator/token-ca/%s" .Values.tokenCA.key | quote }}
{{- end }}
{{- if .Values.proxy.secret.name }}
- {{ printf "--token-proxy-file=/etc/edge-credential-operator/token-proxy/%s" .Values.proxy.secret.key | quote }}
{{- end }}
- --watch-secrets={{ .Values.watchSecrets }}
- --concurrency={{ int .Values.concurrency }}
- --requests-per-endpoint={{ int .Values.requestsPerEndpoint }}
- --per-object-metrics={{ .Values.metrics.perObject }}
- --leader-election={{ .Values.leaderElection }}
{{- if .Values.leaderElection }}
- {{ printf "--lease-namespace=%s" (include "edge-credential-operator.namespace" .) | quote }}
- {{ printf "--lease-name=%s" (include "edge-credential-operator.fullname" .) | quote }}
- --lease-duration={{ .Values.lease.duration }}
- --renew-deadline={{ .Values.lease.renewDeadline }}
- --retry-period={{ .Values.lease.retryPeriod }}
{{- end }}
- --log-format={{ .Values.log.format }}
{{- end }}

{{/*
The operator's environment: each name once, since server-side apply refuses a list that has one twice. What `extraEnv` has takes
the place of the chart's own; of `HTTPS_PROXY` and its like also in small letters, which is the same to the operator.
*/}}
{{- define "edge-credential-operator.env" -}}
{{- $given := dict }}
{{- range .Values.extraEnv }}
{{- if hasKey $given .name }}
{{- fail (printf "extraEnv has %s twice" .name) }}
{{- end }}
{{- $_ := set $given .name true }}
{{- if hasSuffix "_proxy" .name }}
{{- $_ := set $given (upper .name) true }}
{{- end }}
{{- end }}
{{- /* The pod's name, of which the host name may be only a part. */}}
{{- $podName := dict "fieldRef" (dict "fieldPath" "metadata.name") }}
{{- $own := list (dict "name" "HOSTNAME" "valueFrom" $podName) (dict "name" "RUST_LOG" "value" .Values.log.filter) }}
{{- if and .Values.proxy.url .Values.proxy.secret.name }}
{{- fail "proxy.url and proxy.secret.name: only one of them" }}
{{- end }}
{{- with .Values.proxy.url }}
{{- $own = concat $own (list (dict "name" "HTTPS_PROXY" "value" .) (dict "name" "HTTP_PROXY" "value" .)) }}
{{- end }}
{{- with .Values.proxy.noProxy }}
{{- $own = append $own (dict "name" "NO_PROXY" "value" .) }}
{{- end }}
{{- $env := list }}
{{- range $own }}
{{- if not (hasKey $given .name) }}
{{- $env = append $env . }}
{{- end }}
{{- end }}
{{- concat $env .Values.extraEnv | toYaml }}
{{- end }}

{{/* The restricted Pod Security Standard. No value weakens it. The user is the image's, or the one that the platform chooses (OpenShift). */}}
{{- define "edge-credential-operator.podSecurityContext" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "edge-credential-operator.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
privileged: false
capabilities:
  drop: [ALL]
{{- end }}

{{/*
The label `job` of the operator's series, by which the alerts and the dashboard find them. It names the release: several may be
scraped by one Prometheus.
*/}}
{{- define "edge-credential-operator.job" -}}
{{- printf "%s/%s" (include "edge-credential-operator.namespace" .) (include "edge-credential-operator.fullname" .) }}
{{- end }}

{{/* Where the runbooks are: those of this version, or the ones that the user gives. */}}
{{- define "edge-credential-operator.runbooks" -}}
{{- default (printf "%s/blob/v%s/docs/runbooks/" .Chart.Home .Chart.AppVersion) .Values.metrics.prometheusRule.runbooks }}
{{- end }}

{{/* How the operator is scraped, whether through the Service or not: from `root` and the values of the `monitor`. */}}
{{- define "edge-credential-operator.endpoint" -}}
port: http
path: /metrics
interval: {{ .monitor.interval }}
{{- with .monitor.scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
# The labels namespace and name are those of an EdgeCredential or EdgeToken, not of the operator's pod.
honorLabels: true
relabelings:
  - targetLabel: job
    replacement: {{ include "edge-credential-operator.job" .root | quote }}
  {{- with .monitor.relabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .monitor.metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What the operator does, and no more, whether in a ClusterRole or in Roles. */}}
{{- define "edge-credential-operator.rules" -}}
- apiGroups: [edgecredentials.io]
  resources: [edgecredentials]
  verbs: [get, list, watch]
- apiGroups: [edgecredentials.io]
  resources: [edgecredentials/status]
  verbs: [patch]
# An EdgeToken whose keys are revoked with it gets a finalizer, which is all that is written beside the status.
- apiGroups: [edgecredentials.io]
  resources: [edgetokens]
  verbs: [get, list, watch, patch]
- apiGroups: [edgecredentials.io]
  resources: [edgetokens/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [secrets]
  {{- if .Values.watchSecrets }}
  verbs: [get, create, update, list, watch]
  {{- else }}
  verbs: [get, create, update]
  {{- end }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* DNS; in OpenShift its pods listen on 5353, which OVN-Kubernetes looks at. */}}
{{- define "edge-credential-operator.dns" -}}
ports:
  {{- range $port := list 53 5353 }}
  {{- range list "UDP" "TCP" }}
  - port: {{ $port }}
    protocol: {{ . }}
  {{- end }}
  {{- end }}
{{- end }}

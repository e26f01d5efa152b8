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

{{/*
The name of roles and bindings. They live outside of the release's namespace, so it is part of their name: two releases of
the same name in different namespaces don't meet.
*/}}
{{- define "edge-credential-operator.roleName" -}}
{{- printf "%s:%s" (include "edge-credential-operator.fullname" .) .Release.Namespace }}
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

{{/* Labels of every object. The chart's own can't be replaced. */}}
{{- define "edge-credential-operator.labels" -}}
{{- $own := include "edge-credential-operator.selectorLabels" . | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- toYaml (merge $own .Values.commonLabels) }}
{{- end }}

{{- define "edge-credential-operator.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
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

{{/* The port of a URL, or nothing where it is in a variable that is not known here. */}}
{{- define "edge-credential-operator.port" -}}
{{- $authority := regexReplaceAll "^[A-Za-z]+://" . "" | splitList "/" | first }}
{{- $port := regexFind ":[0-9]+$" $authority | trimPrefix ":" }}
{{- if not (and (empty $port) (contains "$(" $authority)) }}
{{- default (ternary "443" "80" (hasPrefix "https:" (lower .))) $port }}
{{- end }}
{{- end }}

{{/* The restricted Pod Security Standard. No value weakens it. */}}
{{- define "edge-credential-operator.podSecurityContext" -}}
runAsNonRoot: true
{{- with .Values.runAsUser }}
runAsUser: {{ int . }}
{{- end }}
{{- with .Values.runAsGroup }}
runAsGroup: {{ int . }}
{{- end }}
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
{{- printf "%s/%s" .Release.Namespace (include "edge-credential-operator.fullname" .) }}
{{- end }}

{{/* How the operator is scraped, whether through the Service or not. */}}
{{- define "edge-credential-operator.endpoint" -}}
port: http
path: /metrics
interval: {{ .interval }}
# The labels namespace and name are those of an EdgeCredential, not of the operator's pod.
honorLabels: true
relabelings:
  - targetLabel: job
    replacement: {{ include "edge-credential-operator.job" .root | quote }}
{{- end }}

{{/* What the operator does, and no more, whether in a ClusterRole or in Roles. */}}
{{- define "edge-credential-operator.rules" -}}
- apiGroups: [edgecredentials.io]
  resources: [edgecredentials]
  verbs: [get, list, watch]
- apiGroups: [edgecredentials.io]
  resources: [edgecredentials/status]
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

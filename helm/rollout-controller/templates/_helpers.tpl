{{- define "rollout-controller.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "rollout-controller.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- /* A ClusterRole's name: releases of the same name in two namespaces must not share one. */}}
{{- define "rollout-controller.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "rollout-controller.fullname" .) }}
{{- end }}

{{- define "rollout-controller.selectorLabels" -}}
app.kubernetes.io/name: {{ include "rollout-controller.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "rollout-controller.labels" -}}
{{ include "rollout-controller.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "rollout-controller.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "rollout-controller.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "rollout-controller.lease" -}}
{{- default (include "rollout-controller.fullname" .) .Values.lease.name }}
{{- end }}

{{- define "rollout-controller.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{- define "rollout-controller.tokenFolder" -}}
/var/run/secrets/rollout-controller/prometheus
{{- end }}

{{- /* Where the Secret or ConfigMap that a target of notifications names is mounted; its file is always called value. */}}
{{- define "rollout-controller.secretFolder" -}}
/var/run/secrets/rollout-controller/{{ . }}
{{- end }}

{{- /* notifications as the controller reads them: in place of each ...Secret and ...ConfigMap the ...File that it is mounted as. */}}
{{- define "rollout-controller.notifications" -}}
{{- $told := dict }}
{{- range $target, $settings := .Values.notifications }}
{{- $read := dict }}
{{- range $name, $value := $settings }}
{{- if regexMatch "(Secret|ConfigMap)$" $name }}
{{- $file := regexReplaceAll "(Secret|ConfigMap)$" $name "" }}
{{- $folder := printf "%s-%s" $target $file }}
{{- $_ := set $read (printf "%sFile" $file) (printf "%s/value" (include "rollout-controller.secretFolder" $folder)) }}
{{- else if $value }}
{{- $_ := set $read $name $value }}
{{- end }}
{{- end }}
{{- if $read }}{{- $_ := set $told $target $read }}{{- end }}
{{- end }}
{{- toYaml $told }}
{{- end }}

{{- /* config.yaml: what the controller is told of its surroundings. */}}
{{- define "rollout-controller.config" -}}
{{- $prometheus := pick .Values.prometheus "url" "window" "lag" }}
{{- range $name := list "headers" "params" }}
{{- with index $.Values.prometheus $name }}{{- $_ := set $prometheus $name . }}{{- end }}
{{- end }}
{{- if .Values.prometheus.sources }}{{- $_ := set $prometheus "sources" "sources" }}{{- end }}
{{- if or (.Values.prometheus.caSecret).name (.Values.prometheus.caConfigMap).name }}
{{- $_ := set $prometheus "caFile" (printf "%s/value" (include "rollout-controller.secretFolder" "prometheus-ca")) }}
{{- end }}
{{- if (.Values.prometheus.tokenSecret).name }}
{{- $_ := set $prometheus "tokenFile" (printf "%s/token" (include "rollout-controller.tokenFolder" .)) }}
{{- end }}
{{- $lease := dict "name" (include "rollout-controller.lease" .) "namespace" .Release.Namespace "duration" .Values.lease.duration }}
prometheus: {{- toYaml $prometheus | nindent 2 }}
triton: {{- toYaml .Values.triton | nindent 2 }}
metrics:
  host: 0.0.0.0
  port: {{ .Values.metrics.port }}
lease: {{- toYaml $lease | nindent 2 }}
workloads: {{- toYaml .Values.workloads | nindent 2 }}
notifications: {{- include "rollout-controller.notifications" . | nindent 2 }}
namespaces: {{ toJson (default list .Values.namespaces) }}
{{- end }}

{{- /* What the controller may do where TritonRollouts are: it reads documents, shifts weights, writes status and events. */}}
{{- define "rollout-controller.rules" -}}
- apiGroups: [rollouts.triton.dev]
  resources: [tritonrollouts, rolloutpolicies]
  verbs: [get, list, watch]
- apiGroups: [rollouts.triton.dev]
  resources: [tritonrollouts/status]
  verbs: [patch]
- apiGroups: [networking.istio.io]
  resources: [virtualservices]
  verbs: [get, list, watch, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.workloads.manage }}
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, watch, patch]
{{- end }}
{{- end }}

{{- define "rollout-controller.subjects" -}}
- kind: ServiceAccount
  name: {{ include "rollout-controller.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

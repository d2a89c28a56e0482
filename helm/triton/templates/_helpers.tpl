{{- define "triton.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- /* 40 characters: a slot's name comes behind it, and a Service's name has at most 63. */}}
{{- define "triton.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "triton.selectorLabels" -}}
app.kubernetes.io/name: {{ include "triton.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "triton.labels" -}}
{{ include "triton.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "triton.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "triton.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "triton.virtualService" -}}
{{- default (include "triton.fullname" .) .Values.virtualService.name }}
{{- end }}

{{- define "triton.pullsModels" -}}
{{- if eq .Values.versions "modelRepository" }}yes{{ end }}
{{- end }}

{{- /* Where Triton reads its models: a URL, or a folder of the container. */}}
{{- define "triton.repository" -}}
{{- default .Values.modelRepository.path .Values.modelRepository.url }}
{{- end }}

{{- /* Triton's command line but for extraArgs. Measured on Triton 2.51: with strict readiness, the default, a pod is not ready as
long as a version is loading and for ever after one failed to load; its Service then leads nowhere, stable users' requests fail,
and the controller cannot load the way back. What a slot runs is the controller's to know, not the probe's. */}}
{{- define "triton.args" -}}
- tritonserver
- --model-repository={{ include "triton.repository" . }}
{{- if include "triton.pullsModels" . }}
- --model-control-mode=explicit
- --strict-readiness=false
{{- if .Values.modelRepository.loadAtStart }}
- --load-model={{ .Values.model }}
{{- end }}
{{- else }}
- --model-control-mode=none
{{- end }}
- --http-port=8000
- --grpc-port=8001
- --metrics-port=8002
- --exit-timeout-secs={{ .Values.drain.requestsSeconds }}
{{- end }}

{{- /* What is there now, where Helm has a cluster to ask; else nothing. Takes a list: root, apiVersion, kind, name. */}}
{{- define "triton.live" -}}
{{- $root := index . 0 }}
{{- lookup (index . 1) (index . 2) $root.Release.Namespace (index . 3) | toJson }}
{{- end }}

{{- /* The image of a slot: the one that runs, when a controller has brought it there. Takes a list: root, slot's full name. */}}
{{- define "triton.image" -}}
{{- $root := index . 0 }}
{{- $image := printf "%s:%s" $root.Values.image.repository $root.Values.image.tag }}
{{- if not (include "triton.pullsModels" $root) }}
{{- $live := include "triton.live" (list $root "apps/v1" "Deployment" (index . 1)) | fromJson }}
{{- range dig "spec" "template" "spec" "containers" list $live }}
{{- if and (eq .name "triton") (hasPrefix (printf "%s:" $root.Values.image.repository) .image) }}{{- $image = .image }}{{- end }}
{{- end }}
{{- end }}
{{- $image }}
{{- end }}

{{- /* The replicas of a slot: those that it has, where somebody else sets them. Takes a list: root, slot's full name, its index. */}}
{{- define "triton.replicas" -}}
{{- $root := index . 0 }}
{{- $replicas := $root.Values.replicas }}
{{- if or $root.Values.rollout.scale $root.Values.autoscaling.enabled }}
{{- if and (index . 2) $root.Values.rollout.scale }}{{- $replicas = dig "idle" 0 $root.Values.rollout.scale }}{{- end }}
{{- $live := include "triton.live" (list $root "apps/v1" "Deployment" (index . 1)) | fromJson }}
{{- $replicas = dig "spec" "replicas" $replicas $live }}
{{- end }}
{{- int $replicas }}
{{- end }}

{{- /* The weight of a slot: the one that it has in the VirtualService. One that is new there beside the other has what that one
leaves; where both are new the first one has all. Takes a list: root, index of the slot. */}}
{{- define "triton.weight" -}}
{{- $root := index . 0 }}
{{- $index := index . 1 }}
{{- $live := include "triton.live" (list $root "networking.istio.io/v1" "VirtualService" (include "triton.virtualService" $root)) | fromJson }}
{{- $found := dict }}
{{- range dig "spec" "http" list $live }}
{{- if eq (dig "name" "" .) (include "triton.fullname" $root) }}
{{- range dig "route" list . }}{{- $_ := set $found (dig "destination" "host" "" .) (dig "weight" 0 . | int) }}{{- end }}
{{- end }}
{{- end }}
{{- $host := printf "%s-%s" (include "triton.fullname" $root) (index $root.Values.slots $index) }}
{{- $other := printf "%s-%s" (include "triton.fullname" $root) (index $root.Values.slots (sub 1 $index | int)) }}
{{- if hasKey $found $host }}{{ get $found $host }}
{{- else if hasKey $found $other }}{{ max 0 (sub 100 (get $found $other)) }}
{{- else }}{{ ternary 100 0 (eq $index 0) }}
{{- end }}
{{- end }}

{{- /* Of the model, or of all models. What loads and unloads is none of these. */}}
{{- define "triton.match" -}}
{{- if eq .Values.virtualService.protocol "grpc" }}
- uri: {prefix: /inference.GRPCInferenceService/Model}
- uri: {prefix: /inference.GRPCInferenceService/Server}
{{- else if .Values.model }}
- uri: {exact: {{ printf "/v2/models/%s" .Values.model | quote }}}
- uri: {prefix: {{ printf "/v2/models/%s/" .Values.model | quote }}}
- uri: {prefix: /v2/health/}
- uri: {exact: /v2}
{{- else }}
- uri: {prefix: /v2/models/}
- uri: {prefix: /v2/health/}
- uri: {exact: /v2}
{{- end }}
{{- end }}

{{- define "triton.port" -}}
{{- ternary 8001 8000 (eq .Values.virtualService.protocol "grpc") }}
{{- end }}

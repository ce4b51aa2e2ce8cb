{{/* Names and labels. Every name is derived here, so that two releases never share one. */}}

{{/* At most 40 characters: StatefulSets put their name, "-target", an ordinal and a revision hash into labels of 63. */}}
{{- define "lundock.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | replace "." "-" | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | replace "." "-" | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "lundock.target" -}}{{ include "lundock.fullname" . }}-target{{- end -}}
{{- /* The kernel serves all LUNs through one port. */ -}}
{{- define "lundock.shards" -}}{{ if eq .Values.target.engine "lio" }}1{{ else }}{{ .Values.target.shards }}{{ end }}{{- end -}}
{{- define "lundock.provisioner" -}}{{ include "lundock.fullname" . }}-provisioner{{- end -}}

{{/* For what has no namespace of its own (ClusterRole, admission policy). */}}
{{- define "lundock.clusterwide" -}}{{ include "lundock.fullname" . }}.{{ .Release.Namespace }}{{- end -}}

{{- define "lundock.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "lundock.labels" -}}
{{ include "lundock.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The Secrets that the chart makes, or the ones it is given. */}}
{{- define "lundock.tokenSecret" -}}{{ .Values.api.existingTokenSecret | default (printf "%s-api-token" (include "lundock.fullname" .)) }}{{- end -}}
{{- define "lundock.tlsSecret" -}}{{ .Values.api.tls.existingSecret | default (printf "%s-api-tls" (include "lundock.fullname" .)) }}{{- end -}}
{{- define "lundock.chapSecret" -}}{{ .Values.chap.existingKeySecret | default (printf "%s-chap-key" (include "lundock.fullname" .)) }}{{- end -}}

{{/* image: (list . .Values.target.image) -> registry/repository:tag or @digest */}}
{{- define "lundock.image" -}}
{{- $root := index . 0 -}}{{- $image := index . 1 -}}
{{- with $root.Values.imageRegistry -}}{{ . | trimSuffix "/" }}/{{- end -}}
{{- $image.repository -}}
{{- if $image.digest -}}@{{ $image.digest }}{{- else -}}:{{ $image.tag | default $root.Chart.AppVersion }}{{- end -}}
{{- end -}}

{{/* The name that the API of target N answers to: the pod's name under the headless Service. */}}
{{- define "lundock.apiHost" -}}
{{- $root := index . 0 -}}{{- $ordinal := index . 1 -}}
{{- $target := include "lundock.target" $root -}}
{{- printf "%s-%d.%s.%s.svc" $target (int $ordinal) $target $root.Release.Namespace -}}
{{- end -}}

{{/* The portal of target N: it goes into PVs, which never change. */}}
{{- define "lundock.portalHost" -}}
{{- $root := index . 0 -}}{{- $ordinal := index . 1 -}}
{{- if $root.Values.target.hostNetwork.enabled -}}
{{- $root.Values.target.hostNetwork.address -}}
{{- else -}}
{{- printf "%s-%d.%s.svc.%s" (include "lundock.target" $root) (int $ordinal) $root.Release.Namespace $root.Values.clusterDomain -}}
{{- end -}}
{{- end -}}

{{/* Annotations of what exists only while `helm test` runs; after a failure it stays, to be looked at. */}}
{{- define "lundock.testHook" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

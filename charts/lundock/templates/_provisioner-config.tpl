{{/* The provisioner's configuration file. What the chart knows comes last: no setting may contradict the objects beside it. */}}
{{- define "lundock.provisionerConfig" -}}
{{- $targets := list -}}
{{- range $ordinal := until (int .Values.target.replicas) -}}
{{- $targets = append $targets (dict
      "name" (printf "%s-%d" (include "lundock.target" $) $ordinal)
      "url" (printf "https://%s:8081" (include "lundock.apiHost" (list $ $ordinal)))
      "tokenFile" "/etc/lundock/token/token"
      "caFile" "/etc/lundock/tls/ca.crt"
      "portalHost" (include "lundock.portalHost" (list $ $ordinal))) -}}
{{- end -}}
{{- $chap := dict "masterKeyFile" "/etc/lundock/chap/key" -}}
{{- if ne (include "lundock.secretsEverywhere" .) "true" -}}
{{- $_ := set $chap "secretNamespace" .Release.Namespace -}}
{{- end -}}
{{- $own := dict
      "provisionerName" .Values.provisioner.name
      "release" (printf "%s/%s" .Release.Namespace .Release.Name)
      "leaderElection" (dict "namespace" .Release.Namespace "name" (include "lundock.provisioner" .))
      "chap" $chap
      "targets" $targets -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.provisioner.settings) $own) -}}
{{- end -}}

{{/*
"true" where a ValidatingAdmissionPolicy can hold the provisioner to its own Secrets, so that they may lie in the claims'
namespaces. A render without a cluster knows group versions only ("v1", never "v1/Pod"); then the version decides.
*/}}
{{- define "lundock.secretsEverywhere" -}}
{{- $policy := "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy" -}}
{{- if eq .Values.chap.secrets "claims" -}}true
{{- else if eq .Values.chap.secrets "release" -}}false
{{- else if .Capabilities.APIVersions.Has "v1/Pod" -}}{{ .Capabilities.APIVersions.Has $policy }}
{{- else -}}{{ semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}
{{- end -}}
{{- end -}}

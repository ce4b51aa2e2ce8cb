{{/* What the schema cannot say: values that contradict each other, or the cluster. Each failure says what to change. */}}
{{- define "lundock.check" -}}
{{- if not (regexMatch "^[a-z]" (include "lundock.fullname" .)) -}}
{{- fail (printf "the release's name %s starts with a digit, which no Service's name may: set fullnameOverride" .Release.Name) -}}
{{- end -}}
{{- $target := .Values.target -}}
{{- with $target.hostNetwork -}}
{{- if .enabled -}}
{{- if not (and .node .address) -}}
{{- fail "target.hostNetwork needs node (kubernetes.io/hostname) and address (that node's own, for ever: PVs name it)" -}}
{{- end -}}
{{- if not .initiators -}}
{{- fail "target.hostNetwork.initiators is empty: every node would discover every volume. Give the names of the nodes that may log in (/etc/iscsi/initiatorname.iscsi)" -}}
{{- end -}}
{{- if gt (int $target.replicas) 1 -}}
{{- fail "target.hostNetwork has one node: install one release for each node instead of raising target.replicas" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (eq $target.engine "lio") (not $target.hostNetwork.enabled) -}}
{{- fail "target.engine lio serves from the node's kernel: it needs target.hostNetwork.enabled, in a namespace of its own" -}}
{{- end -}}
{{- if and .Values.api.tls.certManager.enabled .Values.api.tls.existingSecret -}}
{{- fail "api.tls.certManager.enabled and api.tls.existingSecret contradict each other: give one of them" -}}
{{- end -}}
{{- range .Values.storageClasses -}}
{{- if eq .name $target.persistence.storageClassName -}}
{{- fail (printf "target.persistence.storageClassName %s is a class of this release: its data cannot lie on itself" .name) -}}
{{- end -}}
{{- end -}}
{{- /* Two provisioners of one name would both answer each claim. */ -}}
{{- range (lookup "storage.k8s.io/v1" "StorageClass" "" "").items -}}
{{- $owner := .metadata.annotations | default dict -}}
{{- $release := printf "%s/%s" (dig "meta.helm.sh/release-namespace" "" $owner) (dig "meta.helm.sh/release-name" "" $owner) -}}
{{- if and (eq .provisioner $.Values.provisioner.name) (ne $release "/") (ne $release (printf "%s/%s" $.Release.Namespace $.Release.Name)) -}}
{{- fail (printf "StorageClass %s of the release %s already uses the provisioner %s: set another provisioner.name and other storageClasses names here" .metadata.name $release .provisioner) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A setting as the agent reads it from its environment: a list by spaces, a large number without an exponent. */}}
{{- define "lundock.plain" -}}
{{- if kindIs "slice" . -}}{{ join " " . }}
{{- else if and (kindIs "float64" .) (eq . (floor .)) -}}{{ printf "%.0f" . }}
{{- else -}}{{ . }}
{{- end -}}
{{- end -}}

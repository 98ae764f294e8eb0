{{/* The ServiceAccount that the operator runs as. */}}
{{- define "keywright.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default .Release.Name -}}
{{- else -}}
{{- .Values.serviceAccount.name | required "serviceAccount.name: name the ServiceAccount to use, or set serviceAccount.create" -}}
{{- end -}}
{{- end -}}

{{/* With topology Split: the ServiceAccount of the controller. */}}
{{- define "keywright.controllerServiceAccount" -}}
{{- $other := include "keywright.serviceAccount" . -}}
{{- if eq .Values.controller.serviceAccountName $other -}}
{{- fail "controller.serviceAccountName: one account for both would give the token servers all that the controller may do; name another" -}}
{{- else if .Values.controller.serviceAccountName -}}
{{- .Values.controller.serviceAccountName -}}
{{- else if .Values.serviceAccount.create -}}
{{- $other }}-controller
{{- else -}}
{{- fail "controller.serviceAccountName: topology Split needs a second ServiceAccount; name it, or set serviceAccount.create" -}}
{{- end -}}
{{- end -}}

{{/* Names of cluster-scoped objects: two releases of one name in two namespaces do not meet. */}}
{{- define "keywright.clusterName" -}}
keywright:{{ .Release.Namespace }}:{{ .Release.Name }}
{{- end -}}

{{/* `Off` without quotes is a boolean in YAML 1.1. */}}
{{- define "keywright.tlsMode" -}}
{{- .Values.tls.mode | default "Off" -}}
{{- end -}}

{{- define "keywright.issuer" -}}
{{- if .Values.issuer.url -}}
{{- .Values.issuer.url -}}
{{- else if eq (include "keywright.tlsMode" .) "Off" -}}
{{- fail "issuer.url: without TLS (tls.mode Off) nobody is at https://<release>.<namespace>.svc; name the https URL at which something else ends TLS" -}}
{{- else if ne (int .Values.service.port) 443 -}}
{{- fail "issuer.url: the Service's port is not 443 (service.port); name the https URL with the port at which callers reach it" -}}
{{- else -}}
https://{{ .Release.Name }}.{{ .Release.Namespace }}.svc
{{- end -}}
{{- end -}}

{{- define "keywright.image" -}}
{{- if .Values.image.digest -}}
{{- .Values.image.repository }}@{{ .Values.image.digest -}}
{{- else -}}
{{- .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion -}}
{{- end -}}
{{- end -}}

{{/* A namespace that it works in: its own, if it does. */}}
{{- define "keywright.firstNamespace" -}}
{{- if or (empty .Values.watchNamespaces) (has .Release.Namespace .Values.watchNamespaces) -}}
{{- .Release.Namespace -}}
{{- else -}}
{{- first .Values.watchNamespaces -}}
{{- end -}}
{{- end -}}

{{/* The Secret with the certificate of the token endpoint. */}}
{{- define "keywright.certificateSecret" -}}
{{- if eq (include "keywright.tlsMode" .) "Secret" -}}
{{- .Values.tls.secretName -}}
{{- else -}}
{{- .Release.Name }}-tls
{{- end -}}
{{- end -}}

{{/* The host of issuer.url, for what routes by it. */}}
{{- define "keywright.issuerHost" -}}
{{- $host := (urlParse (include "keywright.issuer" .)).hostname -}}
{{- if or (contains ":" $host) (regexMatch "^[0-9.]+$" $host) (not (contains "." $host)) -}}
{{- fail (printf "issuer.url: %s is no DNS name that anything outside of the cluster could be routed by" $host) -}}
{{- end -}}
{{- $host -}}
{{- end -}}

{{/* Pods that serve tokens. */}}
{{- define "keywright.selectorLabels" -}}
app.kubernetes.io/name: keywright
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* With topology Split: pods that do not. Another name, because the selector of a Deployment can neither be changed nor say "not". */}}
{{- define "keywright.controllerSelectorLabels" -}}
app.kubernetes.io/name: keywright-controller
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Both. */}}
{{- define "keywright.podSelector" -}}
matchLabels: {app.kubernetes.io/instance: {{ .Release.Name }}}
matchExpressions:
- {key: app.kubernetes.io/name, operator: In, values: [keywright, keywright-controller]}
{{- end -}}

{{- define "keywright.labels" -}}
{{ include "keywright.selectorLabels" . }}
{{ include "keywright.chartLabels" . }}
{{- end -}}

{{- define "keywright.controllerLabels" -}}
{{ include "keywright.controllerSelectorLabels" . }}
{{ include "keywright.chartLabels" . }}
{{- end -}}

{{/* `helm test`: its account, its rights, its pod, and what it makes. */}}
{{- define "keywright.selftest" -}}
{{- .Release.Name }}-selftest
{{- end -}}

{{/* Its pod. Another name, so that no Service sends it requests. */}}
{{- define "keywright.selftestSelectorLabels" -}}
app.kubernetes.io/name: keywright-selftest
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "keywright.selftestLabels" -}}
{{ include "keywright.selftestSelectorLabels" . }}
{{ include "keywright.chartLabels" . }}
{{- end -}}

{{/* What is made at this weight for a test, and goes after it, whether it passed or not (a pod only if it passed). */}}
{{- define "keywright.selftestHook" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{- define "keywright.chartLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end -}}

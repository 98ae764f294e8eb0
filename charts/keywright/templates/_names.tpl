{{/* The ServiceAccount that the operator runs as. */}}
{{- define "keywright.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default .Release.Name -}}
{{- else -}}
{{- .Values.serviceAccount.name | required "serviceAccount.name: name the ServiceAccount to use, or set serviceAccount.create" -}}
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

{{- define "keywright.selectorLabels" -}}
app.kubernetes.io/name: keywright
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "keywright.labels" -}}
{{ include "keywright.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end -}}

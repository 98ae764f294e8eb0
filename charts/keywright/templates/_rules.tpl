{{/* What answering requests needs, in every namespace that is worked in. */}}
{{- define "keywright.rules.read" -}}
- apiGroups: [keywright.dev]
  resources: [oauthclients, protectedresources]
  verbs: [get, list, watch]
{{- end -}}

{{/* What the controller needs there besides. */}}
{{- define "keywright.rules.write" -}}
- apiGroups: [keywright.dev]
  resources: [oauthclients/status, protectedresources/status]
  verbs: [patch]
# The Secrets of OAuthClients. Never deleted: the garbage collector does it, by ownerReference.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch]
# Verification ConfigMaps, in the namespaces of ProtectedResources.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.restartWorkloads }}
# Those with the annotation keywright.dev/restart-on get an annotation in the template of their pods. RBAC cannot say less.
- apiGroups: [apps]
  resources: [deployments, statefulsets, daemonsets]
  verbs: [list, patch]
{{- end }}
{{- end -}}

{{- define "keywright.rules.namespaces" -}}
# Their labels, for grants that select by label.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
{{- end -}}

{{- define "keywright.rules.reviews" -}}
# Whether the API server still takes a ServiceAccount token, for clients that ask for it.
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
{{- end -}}

{{- define "keywright.rules.probes" -}}
# Whether a ServiceAccount may probe an API of the namespace.
- apiGroups: [authorization.k8s.io]
  resources: [localsubjectaccessreviews]
  verbs: [create]
{{- end -}}

{{/* In the release's namespace: to read the keys and the certificate, and to have a Lease. */}}
{{- define "keywright.rules.serve" -}}
# What it signs with, what it checks secrets with, and the certificate.
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ .Release.Name }}-keys, {{ include "keywright.certificateSecret" . }}]
  verbs: [get, list, watch]
# One for each replica, which deletes its own when it leaves.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list, create, patch, delete]
# What it reports of uses, the tokens that are revoked, and the bundles of trust domains: a create cannot be bound to a name, and the names
# of pods are not known.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [list, watch, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get]
{{- end -}}

{{/* In the release's namespace: to make the keys and the certificate, to tell of them, and to lead. */}}
{{- define "keywright.rules.provision" -}}
# Keys and certificate: a create cannot be bound to a name.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ .Release.Name }}-keys, {{ .Release.Name }}-ca, {{ include "keywright.certificateSecret" . }}]
  verbs: [get, list, watch, patch]
# What replicas report of uses, the tokens that are revoked, and the bundles of trust domains.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [list, watch, create, patch]
# What became of the keys.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{ include "keywright.rules.lead" . }}
{{- end -}}

{{- define "keywright.rules.lead" -}}
# The leader's Lease and one for each replica; a replica deletes its own when it leaves, the leader that of one that is gone.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list, create, patch, delete]
# Whether the pod of a silent replica is gone, and which pod a report of uses is to go with.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list]
{{- end -}}

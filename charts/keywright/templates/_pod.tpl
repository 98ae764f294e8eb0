{{/*
A pod of this chart. Arguments: the context, the role (All, Server or Controller), the labels that select it, its ServiceAccount
and its resources.
*/}}
{{- define "keywright.pod" -}}
{{- $root := .root }}
{{- $tls := include "keywright.tlsMode" $root }}
{{- $ipv6 := eq $root.Values.ipFamily "IPv6" }}
{{- $any := ternary "[::]" "0.0.0.0" $ipv6 }}
{{- with $root }}
metadata:
  labels:
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- $.selectorLabels | nindent 4 }}
    {{- include "keywright.chartLabels" . | nindent 4 }}
  annotations:
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    # A new policy reaches every replica by a rollout.
    keywright.dev/policy: {{ .Values.policy | toJson | sha256sum | trunc 16 | quote }}
spec:
  serviceAccountName: {{ $.serviceAccount }}
  automountServiceAccountToken: true
  enableServiceLinks: false
  # No runAsUser: any uid will do, and some clusters assign one.
  securityContext:
    runAsNonRoot: true
    seccompProfile: {type: RuntimeDefault}
  containers:
  - name: keywright
    image: {{ include "keywright.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args:
    - run
    - --name={{ .Values.issuer.name }}
    - --release={{ .Release.Name }}
    - --namespace={{ .Release.Namespace }}
    - --pod=$(POD_NAME)
    - --role={{ $.role }}
    {{- range .Values.watchNamespaces }}
    - --watch-namespace={{ . }}
    {{- end }}
    - --issuer={{ include "keywright.issuer" . }}
    - --listen={{ $any }}:8443
    - --health-listen={{ $any }}:8081
    - --advertise={{ ternary "[$(POD_IP)]" "$(POD_IP)" $ipv6 }}:8081
    - --tls={{ $tls }}
    {{- if eq $tls "Secret" }}
    - --tls-secret={{ .Values.tls.secretName | required "tls.secretName: tls.mode Secret needs the name of a Secret of the type kubernetes.io/tls" }}
    {{- else if eq $tls "Off" }}
    - --tls-terminated-elsewhere
    {{- end }}
    {{- range .Values.tls.sans }}
    - --tls-san={{ . }}
    {{- end }}
    - --policy=/etc/keywright/policy.yaml
    - --cluster-domain={{ .Values.clusterDomain }}
    - --max-stale={{ .Values.maxStale }}
    - --signing-algorithm={{ .Values.signingAlgorithm }}
    - --signing-key-rotate-every={{ .Values.signingKeys.rotateEvery }}
    - --signing-key-publish-ahead={{ .Values.signingKeys.publishAhead }}
    {{- if and .Values.restartWorkloads (ne $.role "Server") }}
    - --restart-workloads
    {{- end }}
    {{- if and .Values.pingFederatePaths (ne $.role "Controller") }}
    - --ping-federate-paths
    {{- end }}
    {{- if and .Values.verifierProbes (ne $.role "Controller") }}
    - --verifier-probes
    {{- end }}
    {{- if ne $.role "Controller" }}
    - --audit-successes={{ .Values.audit.successes }}
    {{- range .Values.trustedProxies }}
    {{- if regexMatch "/0+$" . }}
    {{- fail (printf "trustedProxies: every address is in %s, so that all callers could say who they are: write the networks of the proxies alone" .) }}
    {{- end }}
    - --trusted-proxy={{ . }}
    {{- end }}
    {{- end }}
    - --log-format={{ .Values.log.format }}
    {{- range .Values.extraArgs }}
    - {{ . | quote }}
    {{- end }}
    env:
    - name: POD_NAME
      valueFrom: {fieldRef: {fieldPath: metadata.name}}
    - name: POD_IP
      valueFrom: {fieldRef: {fieldPath: status.podIP}}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    ports:
    {{- if ne $.role "Controller" }}
    - {name: tokens, containerPort: 8443}
    {{- end }}
    - {name: health, containerPort: 8081}
    livenessProbe:
      httpGet: {path: /healthz, port: health}
      periodSeconds: 10
      timeoutSeconds: 3
      failureThreshold: 3
    readinessProbe:
      httpGet: {path: /readyz, port: health}
      periodSeconds: 2
      timeoutSeconds: 2
      failureThreshold: 2
    resources: {{- toYaml $.resources | nindent 6 }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    volumeMounts:
    - {name: policy, mountPath: /etc/keywright, readOnly: true}
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
  - name: policy
    configMap: {name: {{ .Release.Name }}-policy}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations: {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
  {{- with .Values.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    # Each rollout by itself: else its pods would make way for those that are about to go, and end up together.
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels: {{- $.selectorLabels | nindent 8 }}
  {{- end }}
{{- end }}
{{- end -}}

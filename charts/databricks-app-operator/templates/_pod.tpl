{{- /* Settings of the program. `databricks-app-operator run --help` explains each. */ -}}
{{- define "operator.env" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: DAO_LISTEN
  value: 0.0.0.0:8080
- name: DAO_LOG_FORMAT
  value: {{ .Values.operator.logFormat | quote }}
- name: DAO_LOG_FILTER
  value: {{ .Values.operator.logFilter | quote }}
{{- if .Values.operator.logFilterConfigMap }}
- name: DAO_LOG_FILTER_FILE
  value: /etc/databricks-app-operator/log/filter
{{- end }}
- name: DAO_LEADER_ELECT
  value: {{ .Values.leaderElection.enabled | quote }}
{{- if .Values.leaderElection.enabled }}
- name: DAO_LEASE_DURATION
  value: {{ .Values.leaderElection.leaseDuration | quote }}
{{- end }}
- name: DAO_METRICS_LISTEN
  value: {{ ternary (printf "0.0.0.0:%v" .Values.metrics.port) "off" .Values.metrics.enabled | quote }}
{{- if .Values.metrics.enabled }}
- name: DAO_METRICS_AUTH
  value: {{ .Values.metrics.auth | quote }}
{{- if .Values.metrics.certificateSecret }}
- name: DAO_METRICS_CERT_DIR
  value: /etc/databricks-app-operator/metrics
{{- end }}
{{- end }}
{{- with .Values.watchNamespaces }}
- name: DAO_WATCH_NAMESPACES
  value: {{ join "," . | quote }}
{{- end }}
{{- with .Values.operator.allowedHosts }}
- name: DAO_ALLOWED_HOSTS
  value: {{ join "," . | quote }}
{{- end }}
{{- with .Values.operator.artifactHosts }}
- name: DAO_ARTIFACT_HOSTS
  value: {{ join "," . | quote }}
{{- end }}
{{- with .Values.operator.instance }}
- name: DAO_INSTANCE
  value: {{ . | quote }}
{{- end }}
{{- with .Values.operator.otlpEndpoint }}
- name: DAO_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- if or .Values.proxy.https .Values.proxy.http }}
{{- with .Values.proxy.https }}
- name: HTTPS_PROXY
  value: {{ . | quote }}
{{- end }}
{{- with .Values.proxy.http }}
- name: HTTP_PROXY
  value: {{ . | quote }}
{{- end }}
- name: NO_PROXY
  value: {{ concat .Values.proxy.noProxy (list "localhost" "127.0.0.1" ".svc" ".cluster.local" "$(KUBERNETES_SERVICE_HOST)") | join "," | quote }}
{{- end }}
{{- if or .Values.caBundle.configMap .Values.caBundle.secret }}
# Both, as either alone takes the place of the image's own authorities.
- name: SSL_CERT_FILE
  value: /etc/ssl/certs/ca-certificates.crt
- name: SSL_CERT_DIR
  value: /etc/databricks-app-operator/ca
{{- end }}
{{- end -}}

{{- define "operator.volumeMounts" -}}
{{- if or .Values.caBundle.configMap .Values.caBundle.secret }}
- name: ca-bundle
  mountPath: /etc/databricks-app-operator/ca
  readOnly: true
{{- end }}
{{- if .Values.operator.logFilterConfigMap }}
- name: log-filter
  mountPath: /etc/databricks-app-operator/log
  readOnly: true
{{- end }}
{{- if and .Values.metrics.enabled .Values.metrics.certificateSecret }}
- name: metrics-certificate
  mountPath: /etc/databricks-app-operator/metrics
  readOnly: true
{{- end }}
{{- if .Values.projectedTokens }}
- name: tokens
  mountPath: /var/run/secrets/appofapps.dev/tokens
  readOnly: true
{{- end }}
{{- end -}}

{{- define "operator.volumes" -}}
{{- with .Values.caBundle.configMap }}
- name: ca-bundle
  configMap:
    name: {{ . }}
    items:
    - key: {{ $.Values.caBundle.key }}
      path: ca.pem
{{- end }}
{{- with .Values.caBundle.secret }}
- name: ca-bundle
  secret:
    secretName: {{ . }}
    items:
    - key: {{ $.Values.caBundle.key }}
      path: ca.pem
{{- end }}
{{- with .Values.operator.logFilterConfigMap }}
- name: log-filter
  configMap:
    name: {{ . }}
    optional: true
    items:
    - key: {{ $.Values.operator.logFilterKey }}
      path: filter
{{- end }}
{{- if .Values.metrics.enabled }}
{{- with .Values.metrics.certificateSecret }}
- name: metrics-certificate
  secret:
    secretName: {{ . }}
{{- end }}
{{- end }}
{{- with .Values.projectedTokens }}
- name: tokens
  projected:
    sources:
    {{- range . }}
    - serviceAccountToken:
        path: {{ .name }}
        audience: {{ .audience | quote }}
        expirationSeconds: {{ .expirationSeconds | default 3600 }}
    {{- end }}
{{- end }}
{{- end -}}

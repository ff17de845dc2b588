{{- define "operator.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "operator.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "operator.labels" -}}
{{- $own := include "operator.selectorLabels" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name (replace "+" "_" .Chart.Version)) -}}
{{- merge $own .Values.commonLabels | toYaml -}}
{{- end -}}

{{- /* Metadata of an object, from a dict: root, name, and perhaps namespace, labels, annotations. */ -}}
{{- define "operator.metadata" -}}
{{- $root := .root -}}
name: {{ .name }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- merge (include "operator.labels" $root | fromYaml) (.labels | default dict) | toYaml | nindent 2 }}
{{- with merge dict (.annotations | default dict) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "operator.image" -}}
{{- .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- with .Values.image.digest }}@{{ . }}{{ end }}
{{- end -}}

{{- /* Namespaces whose Secrets may be read, as JSON. */ -}}
{{- define "operator.secretNamespaces" -}}
{{- if eq .Values.rbac.secrets "Namespaced" -}}
{{- default .Values.watchNamespaces .Values.rbac.secretNamespaces | uniq | toJson -}}
{{- else -}}
[]
{{- end -}}
{{- end -}}

{{- /* Whether the definitions are installed; `crds.install` is the name that chart 0.1 had for it. */ -}}
{{- define "operator.crds" -}}
{{- if hasKey .Values.crds "install" -}}
{{- if and .Values.crds.install .Values.crds.enabled -}}true{{- end -}}
{{- else if .Values.crds.enabled -}}true{{- end -}}
{{- end -}}

{{- /* Subject of every binding. */ -}}
{{- define "operator.subjects" -}}
- kind: ServiceAccount
  name: {{ include "operator.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{- /* A role and its binding: root, name, rules, namespace (none: in the cluster). */ -}}
{{- define "operator.grant" -}}
{{- $kind := ternary "Role" "ClusterRole" (hasKey . "namespace") }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}
metadata:
  {{- include "operator.metadata" . | nindent 2 }}
rules:
{{ toYaml .rules }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}Binding
metadata:
  {{- include "operator.metadata" . | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $kind }}
  name: {{ .name }}
subjects:
{{ include "operator.subjects" .root }}
{{- end -}}

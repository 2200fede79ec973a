{{- define "webhook.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "webhook.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "webhook.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "webhook.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "webhook.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- /* Objects of the whole cluster: two releases of one name in two namespaces are two. */ -}}
{{- define "webhook.clusterName" -}}
{{- printf "%s-%s" (include "webhook.namespace" .) (include "webhook.fullname" .) -}}
{{- end -}}

{{- define "webhook.selectorLabels" -}}
app.kubernetes.io/name: {{ include "webhook.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: webhook
{{- end -}}

{{- define "webhook.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "webhook.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: injector
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "webhook.serviceAccountName" -}}
{{- default (ternary (include "webhook.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "webhook.image" -}}
{{- with .Values.image -}}
{{- $name := trimPrefix "/" (printf "%s/%s" .registry .repository) -}}
{{- if .digest -}}
{{- printf "%s@%s" $name .digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "webhook.secretName" -}}
{{- default (printf "%s-tls" (include "webhook.fullname" .)) .Values.webhook.certs.secretName -}}
{{- end -}}

{{- define "webhook.selfSigned" -}}
{{- if eq .Values.webhook.certs.mode "self-signed" }}true{{ end -}}
{{- end -}}

{{- define "webhook.envFileKeyRef" -}}
{{- $known := semverCompare ">=1.35.0-0" .Capabilities.KubeVersion.Version -}}
{{- if or (eq .Values.agent.envFileKeyRef "on") (and (eq .Values.agent.envFileKeyRef "auto") $known) }}true{{ end -}}
{{- end -}}

{{- /*
The volumes of the pod.

    volumes:
      {{- include "injector.volumes" . | nindent 8 }}
*/ -}}
{{- define "injector.volumes" -}}
{{- $values := include "injector.values" . | fromYaml -}}
{{- with $values.templates }}
- name: injector-templates
  projected:
    sources:
      {{- range . }}
      - configMap: {name: {{ tpl . $ | quote }}}
      {{- end }}
{{- end }}
{{- if $values.settings }}
- name: injector-settings
  downwardAPI:
    items:
      - path: injector.yaml
        fieldRef: {fieldPath: "metadata.annotations['config-injector.io/generated-settings']"}
{{- end }}
- name: {{ $values.volumeName }}
  emptyDir: {medium: Memory, sizeLimit: {{ $values.volumeSize }}}
- name: injector-scratch
  emptyDir: {medium: Memory, sizeLimit: 16Mi}
{{- if $values.handover }}
- name: injector-handover
  emptyDir: {medium: Memory, sizeLimit: {{ $values.volumeSize }}}
{{- end }}
{{- end -}}

{{- /*
The mounts of a container of the application: its files, read-only.

    volumeMounts:
      {{- include "injector.volumeMounts" . | nindent 12 }}
*/ -}}
{{- define "injector.volumeMounts" -}}
{{- $values := include "injector.values" . | fromYaml -}}
- {name: {{ $values.volumeName }}, mountPath: {{ $values.mountPath | quote }}, readOnly: true}
{{- end -}}

{{- /*
The annotations of the pod: the webhook, where there is one, leaves it alone, and the settings are in one of them.

    annotations:
      {{- include "injector.podAnnotations" . | nindent 8 }}
*/ -}}
{{- define "injector.podAnnotations" -}}
{{- $values := include "injector.values" . | fromYaml -}}
config-injector.io/status: injected
{{- with $values.settings }}
config-injector.io/generated-settings: |
  apiVersion: config-injector.io/v1alpha1
  kind: Injector
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $values.scrape }}
{{- if ne $values.probes "http" }}
{{- fail "injector-library: .Values.injector.scrape needs probes: http, as nothing is reachable otherwise" }}
{{- end }}
prometheus.io/scrape: "true"
prometheus.io/port: {{ $values.port | quote }}
prometheus.io/path: /metrics
{{- end }}
{{- end -}}

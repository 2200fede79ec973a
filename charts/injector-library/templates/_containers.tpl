{{- /*
A native sidecar, for `initContainers` (Kubernetes 1.29): it starts before the application, which waits until the files
are there, keeps them fresh, and ends after it.

    initContainers:
      {{- include "injector.nativeSidecar" . | nindent 8 }}
*/ -}}
{{- define "injector.nativeSidecar" -}}
{{- $values := include "injector.values" . | fromYaml -}}
{{ include "injector.lasting" (list $values "restartPolicy: Always") }}
{{- end -}}

{{- /*
The same beside the application's containers, for clusters that have no native sidecars; `injector.initContainer` goes
before it, and leaves its values to it (`handover: true`).

    initContainers:
      {{- include "injector.initContainer" . | nindent 8 }}
    containers:
      {{- include "injector.sidecar" . | nindent 8 }}
*/ -}}
{{- define "injector.sidecar" -}}
{{- $values := include "injector.values" . | fromYaml -}}
{{- if not $values.handover -}}
{{- fail "injector-library: injector.sidecar needs injector.initContainer before it, and .Values.injector.handover: true" -}}
{{- end -}}
{{ include "injector.lasting" (list $values "") }}
{{- end -}}

{{- define "injector.lasting" -}}
{{- $values := index . 0 -}}
- name: injector
  {{- with index . 1 }}
  {{ . }}
  {{- end }}
  args:
    - run
    {{- include "injector.arguments" $values | nindent 4 }}
    {{- range $flag, $key := dict "refresh" "refresh" "on-error" "onError" "max-stale" "maxStale" }}
    {{- with get $values $key }}
    - {{ printf "--%s=%v" $flag . | quote }}
    {{- end }}
    {{- end }}
    {{- /* $(NAME) would be taken for a variable by the kubelet. */}}
    {{- range $values.notify }}
    - {{ printf "--notify=%s" . | replace "$(" "$$(" | quote }}
    {{- end }}
    {{- with $values.extraArgs }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  env:
    {{- include "injector.environment" $values | nindent 4 }}
    - name: INJECTOR_LISTEN
      value: {{ printf "%s:%v" (ternary "127.0.0.1" "" (eq $values.probes "exec")) $values.port | quote }}
    - {name: INJECTOR_CONTROL, value: /tmp/injector.sock}
    {{- with $values.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- if eq $values.probes "http" }}
  ports:
    - {name: injector, containerPort: {{ $values.port }}, protocol: TCP}
  {{- end }}
  startupProbe:
    {{- include "injector.probe" (list $values "startup") | nindent 4 }}
    periodSeconds: {{ ternary 2 1 (eq $values.probes "exec") }}
    timeoutSeconds: 5
    failureThreshold: 300
  livenessProbe:
    {{- include "injector.probe" (list $values "live") | nindent 4 }}
    periodSeconds: 30
    timeoutSeconds: 5
  readinessProbe:
    {{- include "injector.probe" (list $values "ready") | nindent 4 }}
    periodSeconds: 10
    timeoutSeconds: 5
  {{- include "injector.container" $values | nindent 2 }}
{{- end -}}

{{- /*
A container that renders once and ends, for Jobs, for applications that read their files once, and before
`injector.sidecar`.

    initContainers:
      {{- include "injector.initContainer" . | nindent 8 }}
*/ -}}
{{- define "injector.initContainer" -}}
{{- $values := include "injector.values" . | fromYaml -}}
{{- if and (not $values.handover) (or $values.refresh $values.notify $values.onError $values.maxStale) -}}
{{- fail "injector-library: refresh, notify, onError and maxStale speak of later: an init container has none, unless injector.sidecar follows it (handover: true)" -}}
{{- end -}}
- name: injector-init
  args:
    - init
    {{- include "injector.arguments" $values | nindent 4 }}
    {{- with $values.extraArgs }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  env:
    {{- include "injector.environment" $values | nindent 4 }}
    {{- with $values.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- include "injector.container" $values | nindent 2 }}
{{- end -}}

{{- define "injector.arguments" -}}
- {{ printf "--output-dir=%s" .mountPath | quote }}
{{- if .templates }}
- /injector/templates
{{- end }}
{{- with .templatesPath }}
- {{ . | quote }}
{{- end }}
{{- range $flag, $key := dict "on-missing" "onMissing" "timeout" "timeout" "file-root" "fileRoot" }}
{{- with get $ $key }}
- {{ printf "--%s=%v" $flag . | quote }}
{{- end }}
{{- end }}
{{- with .mode }}
- {{ printf "--mode=%s" . | quote }}
{{- end }}
{{- end -}}

{{- define "injector.environment" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- {name: TMPDIR, value: /tmp}
- {name: INJECTOR_LOG_LEVEL, value: {{ .logLevel | quote }}}
- {name: INJECTOR_LOG_FORMAT, value: {{ .logFormat | quote }}}
{{- if .settings }}
- {name: INJECTOR_CONFIG, value: /injector/settings/injector.yaml}
{{- end }}
{{- if .handover }}
- {name: INJECTOR_HANDOVER, value: /injector/handover}
{{- end }}
{{- end -}}

{{- define "injector.probe" -}}
{{- $values := index . 0 -}}
{{- $which := index . 1 -}}
{{- if eq $values.probes "exec" -}}
exec: {command: [injector, health, --{{ $which }}]}
{{- else -}}
httpGet: {path: /{{ get (dict "startup" "startupz" "live" "livez" "ready" "readyz") $which }}, port: {{ $values.port }}}
{{- end -}}
{{- end -}}

{{- define "injector.container" -}}
image: {{ .image | quote }}
imagePullPolicy: {{ .imagePullPolicy }}
{{- with .envFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .resources }}
resources: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  privileged: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  runAsUser: {{ .runAsUser }}
  runAsGroup: {{ .runAsGroup }}
  seccompProfile: {type: RuntimeDefault}
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts:
  {{- if .templates }}
  - {name: injector-templates, mountPath: /injector/templates, readOnly: true}
  {{- end }}
  {{- if .settings }}
  - {name: injector-settings, mountPath: /injector/settings, readOnly: true}
  {{- end }}
  - {name: {{ .volumeName }}, mountPath: {{ .mountPath | quote }}}
  - {name: injector-scratch, mountPath: /tmp}
  {{- if .handover }}
  - {name: injector-handover, mountPath: /injector/handover}
  {{- end }}
  {{- with .extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

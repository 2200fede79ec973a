{{- /*
What `.Values.injector` of the chart may say, with the defaults. README.md has a table; a key that is not here is refused.
*/ -}}
{{- define "injector.defaults" -}}
image: ""
imagePullPolicy: IfNotPresent
templates: []
templatesPath: ""
settings: {}
mountPath: /config
volumeSize: 16Mi
volumeName: injector-output
refresh: ""
onMissing: ""
onError: ""
maxStale: ""
timeout: ""
mode: ""
notify: []
fileRoot: ""
extraArgs: []
probes: exec
port: 9464
runAsUser: 65532
runAsGroup: 65532
logLevel: info
logFormat: text
scrape: false
env: []
envFrom: []
extraVolumeMounts: []
resources:
  requests: {cpu: 10m, memory: 64Mi}
  limits: {memory: 128Mi}
{{- end -}}

{{- /* The chart's settings over the defaults, as YAML; `fromYaml` makes a map of it. */ -}}
{{- define "injector.values" -}}
{{- $defaults := include "injector.defaults" . | fromYaml -}}
{{- $given := default dict .Values.injector -}}
{{- range $key, $_ := $given -}}
{{- if not (hasKey $defaults $key) -}}
{{- fail (printf "injector-library: .Values.injector has no %q; it has %s" $key (keys $defaults | sortAlpha | join ", ")) -}}
{{- end -}}
{{- end -}}
{{- /* Resources are taken as a whole: an amount of the defaults could not be removed otherwise. */ -}}
{{- $values := mergeOverwrite $defaults (omit $given "resources") -}}
{{- if hasKey $given "resources" -}}{{- $_ := set $values "resources" $given.resources -}}{{- end -}}
{{- if not $values.image -}}
{{- fail "injector-library: .Values.injector.image is needed: the image of injector, with tag or digest" -}}
{{- end -}}
{{- if not (or $values.templates $values.templatesPath (dig "inputs" "" $values.settings)) -}}
{{- fail "injector-library: .Values.injector names no templates: give templates (ConfigMaps), templatesPath or settings.inputs" -}}
{{- end -}}
{{- if and $values.settings (or (dig "apiVersion" "" $values.settings) (dig "kind" "" $values.settings)) -}}
{{- fail "injector-library: .Values.injector.settings is without apiVersion and kind" -}}
{{- end -}}
{{- if not (kindIs "string" $values.mode) -}}
{{- fail "injector-library: .Values.injector.mode is a text, such as \"0640\": a number with a leading zero is octal in YAML" -}}
{{- end -}}
{{- if not (has $values.probes (list "exec" "http")) -}}
{{- fail (printf "injector-library: .Values.injector.probes is %q, and not exec or http" $values.probes) -}}
{{- end -}}
{{- toYaml $values -}}
{{- end -}}

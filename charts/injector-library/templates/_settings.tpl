{{- /*
What `.Values.injector` of the chart may say, with the defaults. README.md has a table; a key that is not here is refused.
*/ -}}
{{- define "injector.defaults" -}}
{{- /* -- Image of injector, with tag or digest; needed */}}
image: ""
{{- /* -- `Always`, `IfNotPresent` or `Never` */}}
imagePullPolicy: IfNotPresent
{{- /* -- Names of ConfigMaps whose keys are templates; changes are taken up */}}
templates: []
{{- /* -- Templates in the image, or in a mount of `extraVolumeMounts` */}}
templatesPath: ""
{{- /* -- A settings file (docs/settings.md), without `apiVersion` and `kind` */}}
settings: {}
{{- /* -- Where the application finds its files */}}
mountPath: /config
{{- /* -- Of the memory volume for them */}}
volumeSize: 16Mi
{{- /* -- Its name, for mounts of your own */}}
volumeName: injector-output
{{- /* -- How often values are asked for again; empty for the default of 5m */}}
refresh: ""
{{- /* -- `fail`, `empty`, `keep` or `default` */}}
onMissing: ""
{{- /* -- `keep` or `fail` */}}
onError: ""
{{- /* -- Not ready when a file is stale for longer */}}
maxStale: ""
{{- /* -- Of one pass */}}
timeout: ""
{{- /* -- Permissions of the files as a text, such as `"0640"`; empty for 0600 */}}
mode: ""
{{- /* -- Who is told of changed files: `signal:…`, `exec:…`, `http:…`, `rollout:…` */}}
notify: []
{{- /* -- `FILE://` tokens may not leave it */}}
fileRoot: ""
{{- /* -- More arguments, of every container of ours; what `injector init` does not know goes into `settings` */}}
extraArgs: []
{{- /* -- `injector.initContainer` is followed by `injector.sidecar`, and leaves its values to it: the stores are asked once */}}
handover: false
{{- /* -- `exec`, or `http`, which costs less and is open to whoever reaches the pod */}}
probes: exec
{{- /* -- Of health, metrics and status */}}
port: 9464
{{- /* -- User of the sidecar; the application's own, when files are to be 0600 */}}
runAsUser: 65532
{{- /* -- Group of the sidecar */}}
runAsGroup: 65532
{{- /* -- `debug`, `info`, `warning` or `error` */}}
logLevel: info
{{- /* -- `text` or `json` */}}
logFormat: text
{{- /* -- Annotations for Prometheus; needs `probes: http` */}}
scrape: false
{{- /* -- Variables of the sidecar */}}
env: []
{{- /* -- Sources of variables of the sidecar */}}
envFrom: []
{{- /* -- Mounts of the sidecar */}}
extraVolumeMounts: []
{{- /* -- Of the sidecar; replaces the default as a whole */}}
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

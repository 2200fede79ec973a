{{- /* What pods get that do not say otherwise, as arguments of the webhook. */ -}}
{{- define "webhook.agentArguments" -}}
{{- with .Values.agent -}}
- --image={{ default (include "webhook.image" $) .image }}
- --image-pull-policy={{ default $.Values.image.pullPolicy .imagePullPolicy }}
- --mode={{ .mode }}
- --probes={{ .probes }}
- --port={{ .port }}
- --mount-path={{ .mountPath }}
- --volume-size={{ .volumeSize }}
- --run-as-user={{ .runAsUser }}
- --run-as-group={{ .runAsGroup }}
{{- range $kind := list "requests" "limits" }}
{{- range $amount := list "cpu" "memory" }}
- --{{ $kind }}-{{ $amount }}={{ dig $kind $amount "none" $.Values.agent.resources }}
{{- end }}
{{- end }}
- --{{ ternary "" "no-" (not (empty (include "webhook.envFileKeyRef" $))) }}env-file-key-ref
{{- end -}}
{{- end -}}

{{- define "marsmith.labels" -}}
app.kubernetes.io/name: marsmith
app.kubernetes.io/instance: {{ .Values.name }}
{{- end }}
{{- define "marsmith.scheme" -}}
{{ ternary "https" "http" .Values.tls }}
{{- end }}
{{- define "marsmith.metadata" -}}
name: {{ .Values.name }}
labels:
  {{- include "marsmith.labels" . | nindent 2 }}
{{- end }}

{{- /* An image by its digest where one is given, else by its tag. */}}
{{- define "hsmd.image" -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end }}

{{- /* A service's configuration as it is given, and with `[hsm] batch` where it does not say. */}}
{{- define "hsmd.config" -}}
{{- if and .batch (not (regexMatch "(?m)^batch *=" .config)) -}}
{{ regexReplaceAll "(?m)^\\[hsm\\] *(#.*)?$" .config "[hsm]\nbatch = true" }}
{{- else -}}
{{ .config }}
{{- end -}}
{{- end }}

{{- define "hsmd.labels" -}}
app.kubernetes.io/name: {{ . }}
app.kubernetes.io/part-of: hsmd
{{- end }}

{{- /* What every container is denied: PodSecurity `restricted`. */}}
{{- define "hsmd.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: ["ALL"]
{{- end }}

{{- define "hsmd.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  # Owns the volumes, and with it the secrets' files of mode 0440.
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- /* Where the daemon and what uses its token may run. */}}
{{- define "hsmd.place" -}}
{{- with .Values.hsmd.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.hsmd.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The small steps before and beside the daemon. */}}
{{- define "hsmd.step" -}}
image: {{ include "hsmd.image" .Values.image.hsmd }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{ include "hsmd.container" . }}
resources:
  requests: {cpu: 10m, memory: 32Mi}
  limits: {memory: 128Mi}
{{- end }}

{{- /* The same with the token, whose device a plugin gives to those containers alone that ask for it. */}}
{{- define "hsmd.tokenStep" -}}
image: {{ include "hsmd.image" .Values.image.hsmd }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{ include "hsmd.container" . }}
{{- $small := dict "requests" (dict "cpu" "10m" "memory" "32Mi") "limits" (dict "memory" "128Mi") }}
resources: {{- toYaml (mergeOverwrite $small (deepCopy .Values.hsmd.module.resources)) | nindent 2 }}
{{- end }}

{{- define "hsmd.env" -}}
{{- with .Values.hsmd.module.env }}
env:
{{- range $name, $value := . }}
  - {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}
{{- end }}

{{- define "hsmd.mounts" -}}
- {name: config, mountPath: /etc/hsmd, readOnly: true}
- {name: database, mountPath: /run/secrets/database, readOnly: true}
- {name: pin, mountPath: /run/secrets/pin, readOnly: true}
- {name: tls, mountPath: /run/secrets/tls, readOnly: true}
- {name: state, mountPath: /var/lib/hsmd}
- {name: run, mountPath: /run/hsmd}
- {name: tmp, mountPath: /tmp}
{{- if .Values.hsmd.module.secret }}
- {name: module, mountPath: {{ .Values.hsmd.module.mountPath }}, readOnly: true}
{{- end }}
{{- if .Values.hsmd.module.hostDevice }}
- {name: device, mountPath: {{ .Values.hsmd.module.hostDevice }}}
{{- end }}
{{- end }}

{{- define "hsmd.migrate" -}}
# As the schema's owner, whose URL no other container sees.
- name: migrate
  args: ["--config", "/etc/hsmd/hsmd.toml", "migrate", "--wait", "10m"]
  {{- include "hsmd.step" . | nindent 2 }}
  volumeMounts:
    - {name: config, mountPath: /etc/hsmd, readOnly: true}
    - {name: database, mountPath: /run/secrets/database, readOnly: true}
    - {name: database-owner, mountPath: /run/secrets/database-owner, readOnly: true}
{{- end }}

{{- define "hsmd.volumes" -}}
- name: config
  configMap: {name: {{ if .Values.hsmd.config }}hsmd-config{{ else }}{{ .Values.hsmd.existingConfigMap }}{{ end }}}
- name: database
  secret: {secretName: {{ .Values.hsmd.secrets.database.name }}, defaultMode: 0440}
- name: database-owner
  secret: {secretName: {{ .Values.hsmd.secrets.databaseOwner.name }}, defaultMode: 0440}
- name: pin
  secret: {secretName: {{ .Values.hsmd.secrets.pin.name }}, defaultMode: 0440}
- name: tls
  secret: {secretName: {{ .Values.hsmd.secrets.tls.name }}, defaultMode: 0440}
- name: run
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
- name: tmp
  emptyDir: {medium: Memory, sizeLimit: 16Mi}
{{- if .Values.hsmd.module.secret }}
- name: module
  secret: {secretName: {{ .Values.hsmd.module.secret }}, defaultMode: 0440}
{{- end }}
{{- if .Values.hsmd.module.hostDevice }}
- name: device
  hostPath: {path: {{ .Values.hsmd.module.hostDevice }}, type: CharDevice}
{{- end }}
{{- end }}

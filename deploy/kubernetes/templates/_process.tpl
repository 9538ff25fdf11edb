{{/* The image. */}}
{{- define "tidemill.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Labels of an object: (dict "root" $ "name" "etl"). */}}
{{- define "tidemill.labels" -}}
{{ include "tidemill.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* Labels by which pods are chosen. */}}
{{- define "tidemill.selector" -}}
app.kubernetes.io/name: tidemill
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{/* What every pod may: nothing beyond its work. */}}
{{- define "tidemill.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "tidemill.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/*
One program of the fleet: its Deployment and its disruption budget.
(dict "root" $ "name" "etl" "replicas" 1 "scaled" true "resources" … )
*/}}
{{- define "tidemill.process" -}}
{{- $values := .root.Values }}
{{- $whole := has .name (list "agent" "embedding" "gateway" "planner" "publisher") }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .root.Release.Name }}-{{ .name }}
  labels:
    {{- include "tidemill.labels" . | nindent 4 }}
spec:
  {{- if not .scaled }}
  replicas: {{ .replicas }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "tidemill.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "tidemill.labels" . | nindent 8 }}
      annotations:
        # A change of the configuration starts new pods.
        checksum/config: {{ include (print .root.Template.BasePath "/configmap.yaml") .root | sha256sum }}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
      securityContext:
        {{- include "tidemill.podSecurity" . | nindent 8 }}
      {{- with $values.image.pullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "tidemill.selector" . | nindent 14 }}
      containers:
        - name: {{ .name }}
          image: {{ include "tidemill.image" .root | quote }}
          imagePullPolicy: {{ $values.image.pullPolicy }}
          command: [tidemill-{{ .name }}]
          env:
            - { name: TIDEMILL_CONFIG, value: /etc/tidemill/tidemill.yaml }
            - { name: TIDEMILL_REDIS__URL_FILE, value: /run/secrets/tidemill/redis-url }
            - { name: TIDEMILL_DATABASE__URL_FILE, value: /run/secrets/tidemill/database-url }
            {{- with $values.redisCaKey }}
            - { name: TIDEMILL_REDIS__CA_FILE, value: /run/secrets/tidemill/{{ . }} }
            {{- end }}
            {{- with $values.databaseCaKey }}
            - { name: TIDEMILL_DATABASE__CA_FILE, value: /run/secrets/tidemill/{{ . }} }
            {{- end }}
            - { name: TIDEMILL_ADMIN__ADDRESS, value: "0.0.0.0:9100" }
            {{- if $values.policy }}
            - { name: TIDEMILL_POLICY__FILE, value: /etc/tidemill/policy.yaml }
            {{- end }}
            {{- if $values.gates }}
            - { name: TIDEMILL_GATES__FILES, value: '["/etc/tidemill/gates.yaml"]' }
            {{- end }}
            {{- if eq .name "gateway" }}
            - { name: TIDEMILL_GATEWAY__ADDRESS, value: "0.0.0.0:8080" }
            {{- else if eq .name "embedding" }}
            - { name: TIDEMILL_EMBEDDING__MODEL_FOLDER, value: /usr/share/tidemill/model/all-MiniLM-L6-v2 }
            # With one thread a pass, passes run side by side, one on each core; with more, they wait for each other.
            - { name: RAYON_NUM_THREADS, value: "1" }
            {{- else if eq .name "publisher" }}
            - { name: TIDEMILL_PUBLISHER__FILES__FOLDER, value: /var/lib/tidemill/published }
            {{- end }}
          ports:
            - { name: admin, containerPort: 9100 }
            {{- if eq .name "gateway" }}
            - { name: http, containerPort: 8080 }
            {{- end }}
          # Without Redis or PostgreSQL a process that starts ends with 69 and is started again; one that runs is alive,
          # not ready, and goes on by itself.
          startupProbe:
            httpGet: { path: /healthz, port: admin }
            periodSeconds: 2
            failureThreshold: 60
          livenessProbe:
            httpGet: { path: /healthz, port: admin }
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet: { path: /readyz, port: admin }
            periodSeconds: 5
            timeoutSeconds: 5
          {{- if eq .name "gateway" }}
          # Requests still come until every node has heard that this pod ends.
          lifecycle:
            preStop:
              exec: { command: [sleep, "5"] }
          {{- end }}
          securityContext:
            {{- include "tidemill.containerSecurity" . | nindent 12 }}
          resources:
            {{- toYaml .resources | nindent 12 }}
          volumeMounts:
            - { name: config, mountPath: /etc/tidemill, readOnly: true }
            - { name: secret, mountPath: /run/secrets/tidemill, readOnly: true }
            {{- if eq .name "publisher" }}
            - { name: published, mountPath: /var/lib/tidemill/published }
            {{- end }}
      volumes:
        - name: config
          configMap:
            name: {{ .root.Release.Name }}-config
        - name: secret
          secret:
            secretName: {{ $values.secret }}
            defaultMode: 0440
            {{- if not $whole }}
            items:
              - { key: redis-url, path: redis-url }
              - { key: database-url, path: database-url }
              {{- range compact (list $values.redisCaKey $values.databaseCaKey) | uniq }}
              - { key: {{ . }}, path: {{ . }} }
              {{- end }}
            {{- end }}
        {{- if eq .name "publisher" }}
        - name: published
          {{- if $values.publishedClaim }}
          persistentVolumeClaim:
            claimName: {{ $values.publishedClaim }}
          {{- else }}
          emptyDir: {}
          {{- end }}
        {{- end }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .root.Release.Name }}-{{ .name }}
  labels:
    {{- include "tidemill.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "tidemill.selector" . | nindent 6 }}
{{- end }}

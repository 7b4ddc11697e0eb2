{{- /* What the agent works on, and with which rights; `heddle uninstall` needs the same. */ -}}
{{- define "heddle.container" -}}
image: {{ include "heddle.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  - name: HEDDLE_NODE_NAME
    valueFrom:
      fieldRef:
        fieldPath: spec.nodeName
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  privileged: false
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  # Profiles of container runtimes forbid to write below /sys/fs/bpf and to the network's settings.
  appArmorProfile:
    type: Unconfined
  seccompProfile:
    type: RuntimeDefault
  # Each one's reason: docs/kubernetes.md.
  capabilities:
    drop: [ALL]
    add: [NET_ADMIN, SYS_ADMIN]
volumeMounts:
  - name: config
    mountPath: /etc/heddle
    readOnly: true
  - name: run
    mountPath: /run/heddle
  - name: state
    mountPath: /var/lib/heddle
  - name: cni-conf
    mountPath: {{ .Values.host.cniConfDir }}
  - name: cni-bin
    mountPath: {{ .Values.host.cniBinDir }}
  - name: netns
    mountPath: {{ .Values.host.netnsDir }}
    mountPropagation: HostToContainer
  - name: bpffs
    mountPath: {{ .Values.host.bpffs }}
    mountPropagation: HostToContainer
  - name: cgroup
    mountPath: /host/cgroup
    mountPropagation: HostToContainer
  - name: sysctl
    mountPath: /host/sysctl
{{- end }}

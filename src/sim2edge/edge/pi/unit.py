"""Write the systemd files of a device: service, user, hardware watchdog, settings of the journal.

Options of the service are explained in systemd.exec(5), systemd.service(5) and systemd.resource-control(5).
"""

from pathlib import Path

NAME = "sim2edge"
SERVICE = f"{NAME}.service"
PROGRAM = Path("/opt/sim2edge")
HOME = Path("/var/lib/sim2edge")
SETTINGS = Path("/etc/sim2edge")
LAUNCHER, FACTORY = PROGRAM / "launcher.py", PROGRAM / "agent"
OPTIONS, SECRETS, ROOT = SETTINGS / "options", SETTINGS / "secrets.env", SETTINGS / "root.json"
ENROLMENT = SETTINGS / "enrolment"
ENROLMENT_CREDENTIAL = f"/run/credentials/{SERVICE}/enrolment"
"""Where the agent, which may not read the settings, finds the enrolment."""

_LAUNCH = f"/usr/bin/python3 -I -S -B {LAUNCHER} {HOME} {FACTORY} {OPTIONS}"

UNIT = f"""\
# Written by `sim2edge device install`; `systemctl edit {SERVICE}` keeps what you add to it.
[Unit]
Description=sim2edge device: obstacle detector and its updates
Documentation=file:{PROGRAM}/README
Wants=network-online.target
After=network-online.target time-sync.target
# Never give up: only an update, or a new card, can repair this device.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={_LAUNCH}
ExecStopPost={_LAUNCH} --ended
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=1
# The agent says READY=1 once it looks after the detector, WATCHDOG=1 only while its main loop gets on.
TimeoutStartSec=300
TimeoutStopSec=20
WatchdogSec=60
KillMode=mixed

User={NAME}
Group={NAME}
SupplementaryGroups=video
StateDirectory={NAME}
StateDirectoryMode=0700
RuntimeDirectory={NAME}
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=restart
WorkingDirectory={HOME}
UMask=0077
LoadCredential=secrets.env:{SECRETS}
# Of a device that is not enrolled there is none: the second line is what is used then.
LoadCredential=enrolment:{ENROLMENT}
SetCredential=enrolment:none
Environment=SIM2EDGE_SECRETS_FILE=%d/secrets.env
Environment=HOME={HOME} LC_ALL=C.UTF-8

# A detector that eats the memory is ended alone; the agent goes on and judges it.
OOMPolicy=continue
MemoryMax=80%
TasksMax=256
LimitNOFILE=4096
LimitCORE=0
CPUWeight=200

SyslogIdentifier={NAME}
LogRateLimitIntervalSec=30
LogRateLimitBurst=200

NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateMounts=yes
ProtectProc=invisible
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
# Cameras: V4L2 nodes, the media controller and the buffers of libcamera.
DevicePolicy=closed
DeviceAllow=char-video4linux rw
DeviceAllow=char-media rw
DeviceAllow=char-dma_heap rw

[Install]
WantedBy=multi-user.target
"""

SYSUSERS = f"""\
# Written by `sim2edge device install`.
g {NAME} -
u {NAME} - "sim2edge device" {HOME} /usr/sbin/nologin
g video -
m {NAME} video
"""

WATCHDOG = """\
# Written by `sim2edge device install --hardware-watchdog`: a machine that hangs for 15 s is reset.
[Manager]
RuntimeWatchdogSec=15
RebootWatchdogSec=2min
"""

COMMAND = f"""\
#!/bin/sh
# Written by `sim2edge device install`: runs the agent that the installer brought.
exec {FACTORY}/sim2edge "$@"
"""

README = f"""\
sim2edge device. Settings: {SETTINGS}; home: {HOME}; log: journalctl -u {SERVICE}.
State: sudo sim2edge device status --home {HOME}. Remove it: sudo sim2edge device uninstall.
"""

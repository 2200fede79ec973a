"""
What to do about each error, for docs/errors.md: code to remedy.

Codes that this tree does not have are no fault: branches that add errors can be merged in any order. The message's own
`hint` says what to do in the case at hand; this is what helps in general.
"""

from __future__ import annotations

REMEDIES = {
    # command line, settings, input
    "usage": "Read the message, or the command's `--help`.",
    "settings-invalid": "Correct the setting at the place that the message names; [settings.md](settings.md) has them all.",
    "settings-not-found": "Correct `--config` or `INJECTOR_CONFIG`.",
    "settings-unknown-key": "Correct the key as the message suggests; `injector schema` prints all keys for editors.",
    "account-unknown": "Use the number of the user or group: images often have no names for them.",
    "plugin-path-not-found": "Create the directory, or correct `--plugin-path`.",
    "listen-failed": "Choose another port or path, or stop what listens there.",
    "plugin-lock-not-found": "Write it with `injector plugin lock`, or correct `--plugin-lock-file`.",
    "plugin-lock-invalid": "Write it anew with `injector plugin lock`, after a look at what changed.",
    "fixtures-invalid": "Correct the file of `--values` at the place; [checking.md](checking.md) shows its form.",
    "key-file-invalid": "Name the file that was made by `--record`, readable by its owner only (`chmod 600`).",
    "seal-broken": "Take the key that belongs to it. If it is that one, the file was changed: record it again.",
    "input-unreadable": "Check owner, group and mode of the file, and that it is a regular one.",
    "input-not-found": "Correct the path; relative ones start at the working directory.",
    "input-symlink-loop": "Remove the symbolic link that leads back.",
    "input-changed": "Try again: the mount was replaced again and again while it was read.",
    "plugin-source-invalid": "Give the command a plugin's file or directory, as [writing-plugins.md](writing-plugins.md) says.",
    "input-collision": "Rename one of the templates, or render them into different directories.",
    # template
    "template-invalid": "Correct the token at the place; [tokens.md](tokens.md) has the grammar.",
    "token-path-empty": "Write the path behind the separator, or a backslash before the token if it is text.",
    "token-key-path-empty": "Write the key behind the separator, or leave the separator out.",
    "token-metadata-unclosed": "Close the bracket on the same line.",
    "token-metadata-invalid": "Write `[name=value,name=value]`; [tokens.md](tokens.md) lists the names.",
    "token-unclosed": "Close it with `}}` on the same line.",
    "token-not-utf8": "Save the template as UTF-8.",
    "token-prefix-unknown": "Correct the prefix, or leave it if it is text: it is a warning.",
    "template-not-in-format": "Correct the template, or set `format: plain` if it is meant so; [formats.md](formats.md).",
    "variable-unset": "Set the variable, or write `${NAME:-default}`.",
    # resolution
    "value-not-found": "Put the value into the store, correct the path, or allow for it: `[optional=true]`, "
    "`[default=…]`, `--on-missing`.",
    "value-empty": "Correct the plugin: it must give the value's bytes, or an error.",
    "key-not-found": "Correct the key path; keys are told apart by capital letters. `injector plugin call` shows the value.",
    "key-ambiguous": "Write a key path that fits one place only.",
    "value-not-structured": "Leave the key path out, or store JSON.",
    "reference-invalid": "Correct the token's path or metadata as the plugin's documentation says.",
    "configuration-invalid": "Correct the plugin's part of the settings (`plugins.configuration`).",
    "backend-unavailable": "Try again later; look at the network, the region and the endpoint.",
    "backend-throttled": "Ask less often (`--refresh`), ask for a higher quota; `injector plan` shows what a render needs.",
    "backend-timeout": "Try again; raise `plugins.callTimeout`; `-vv` shows what the plugin says.",
    "deadline-exceeded": "Raise `--timeout`, or find out with `-vv` which backend is slow.",
    "sidecar-no-answer": "Check that the sidecar runs and that `--control` names its socket.",
    "access-denied": "Allow what `injector explain` lists under `needs`; `injector iam-policy` prints the policy.",
    "credentials-refused": "Give the plugin credentials, or renew them; check which variables it is given.",
    # plugins
    "plugin-failed": "Run it with `-vv`, which shows what the plugin itself says.",
    "plugin-not-found": "Install it (`injector plugin install`); `injector plugin list` shows what is found, and where.",
    "plugin-refused": "Correct the file's mode, owner or platform as the message says.",
    "plugin-checksum-mismatch": "Find out who changed the file; if it was you, run `injector plugin lock`.",
    "plugin-not-locked": "Add it with `injector plugin lock`, after a look at where it comes from.",
    "plugin-install-failed": "Take a program for this platform, from a path or over https, with its checksum.",
    "plugin-source-unavailable": "Try again: a broken download is continued.",
    "plugin-start-failed": "Start the program by hand: it misses a library, an interpreter, a permission.",
    "plugin-start-timeout": "Raise `plugins.startTimeout`; look with `-vv` at what it waits for.",
    "plugin-handshake-failed": "Check that the program is a plugin of go-plugin's kind, and prints nothing before its handshake.",
    "plugin-crashed": "Look with `-vv` at its last lines; report it to the plugin's author.",
    "plugin-keeps-crashing": "Look with `-vv` at its last lines; give it more memory, or another version.",
    "plugin-answer-invalid": "Report it to the plugin's author; raise `plugins.maxValueSize` if the value is that large.",
    "plugin-build-failed": "Read what the tool says; leave out dependencies that have compiled parts.",
    "plugin-guest-failed": "Look with `-vv` at what it logged; give it more memory if that was short.",
    "plugin-http-refused": "Grant the host in the plugin's connection, if it is right that it asks there.",
    "wasm-runtime-missing": "Install the extra `wasm`: `pip install 'kube-config-injector[wasm]'`.",
    # rendered file
    "value-unfit": "Spell it by `[encoding=base64]`, put the token into quotes, or insert it as it is: `[format=raw]`.",
    "check-failed": "Correct the template, the value or the setting `check`; the old file is still there.",
    # output
    "output-unwritable": "Check owner, mode and free space of the output's directory.",
    "output-partly-written": "Make room on the disk and render again: it goes on where it stopped.",
    "output-unreadable": "Run as a user who may read the output, or correct its mode.",
    "output-outside-root": "Remove the symbolic link, or choose another `--output-dir`.",
    "project-exists": "Name a directory that is empty or does not exist.",
    # exec
    "environment-invalid": "Write NAME=value on each line; a value must not hold NUL.",
    "command-not-found": "Correct the command's name or `PATH`.",
    "command-not-executable": "Set its mode (`chmod +x`), check its first line (`#!`) and its platform.",
    # notification
    "notify-failed": "Run the command or ask the URL by hand; it is tried again by itself.",
    "notify-no-process": "Share the process namespace (`shareProcessNamespace`), or correct the process's name.",
    "notify-timeout": "Raise the action's `timeout`, or find out why it hangs.",
    "notify-denied": "Run as the same user, or give the service account the right to patch the workload.",
    "notify-not-found": "Correct the path of the program, or the kind and name of the workload.",
    "notify-postponed": "Nothing: the restart follows when the time between two has passed.",
    # connections
    "connection-invalid": "Correct the name, prefix or field that the message names.",
    "connection-unknown": "`injector connection list` shows those that there are.",
    "connection-exists": "Choose another name, or remove the one that is there.",
    "connection-store-invalid": "Restore the store from a copy, or correct its mode to 0600.",
    "connection-store-unwritable": "Check owner, mode and free space of the store's directory.",
    # webhook
    "admission-refused": "Correct the pod's annotation that the message names.",
    "review-invalid": "Point the webhook configuration at the right path; nothing else is to call it.",
    "certificate-invalid": "Renew the certificate, or correct the secret that holds it.",
    "cluster-error": "Check the API server, and the rights of the service account.",
}

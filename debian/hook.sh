# Inserted into the maintainer scripts by debian/rules: postrm has no file of ours to read.
HOOK=/usr/libexec/pve-ospf/hookscript
# Here, where Proxmox's storage `local` finds it; not shipped, for the directory is Proxmox's.
HOOK_LINK=/var/lib/vz/snippets/pve-ospf
HOOK_LEFT='# Left by the removal of pve-ospf'

# Swapped in by a rename: a guest that starts meanwhile finds the old or the new one,
# and a guest whose hookscript is not there does not start.
link_hook() {
	[ "$(readlink "$HOOK_LINK" || :)" != "$HOOK" ] || return 0
	if [ -e "$HOOK_LINK" ] || [ -L "$HOOK_LINK" ]; then
		if [ -L "$HOOK_LINK" ] || ! grep -qs "^$HOOK_LEFT" "$HOOK_LINK"; then
			echo "pve-ospf: $HOOK_LINK is not ours and is left as it is; guests that name it are not announced."
			return 0
		fi
	fi
	mkdir -p "${HOOK_LINK%/*}"
	ln -sf "$HOOK" "$HOOK_LINK.dpkg-new"
	mv -fT "$HOOK_LINK.dpkg-new" "$HOOK_LINK"
}

# The guests of the whole cluster that name our hookscript; fails when that cannot be told.
# One that only a snapshot or a pending change names counts: after a rollback the guest needs it.
guests_with_hook() {
	if [ ! -L /etc/pve/local ]; then
		# Proxmox's /etc/pve is there exactly while it is mounted. Without Proxmox there are no guests.
		[ ! -e /etc/pve ] && [ ! -e /usr/bin/pmxcfs ]
		return
	fi
	# shellcheck disable=SC2016 # $ belongs to awk
	find /etc/pve/nodes -regextype posix-extended -regex '.*/(lxc|qemu-server)/[0-9]+\.conf' -exec awk '
		FNR == 1 { where = "" }
		/^\[/ { where = " (in a snapshot or pending)" }
		/^hookscript:[ \t]*[^ \t]+:snippets\/pve-ospf[ \t]*$/ {
			split(FILENAME, part, "/")
			id = part[7]
			sub(/\.conf$/, "", id)
			if (id != last) print id where
			last = id
		}' {} +
}

# The package goes: take the link away, or leave a script that does nothing while a guest needs one.
release_hook() {
	if [ "$(readlink "$HOOK_LINK" || :)" != "$HOOK" ] && ! grep -qs "^$HOOK_LEFT" "$HOOK_LINK"; then
		return 0
	fi
	if names=$(guests_with_hook); then
		if [ -z "$names" ]; then
			rm -f "$HOOK_LINK"
			return 0
		fi
		why="these guests still name it as their hookscript: $(echo "$names" | sort -n | paste -sd, | sed 's/,/, /g')"
	else
		why="/etc/pve cannot be read, so guests may still name it as their hookscript"
	fi
	printf '#!/bin/sh\n%s: a guest whose hookscript is missing does not start.\nexit 0\n' \
		"$HOOK_LEFT" >"$HOOK_LINK.dpkg-new"
	chmod 755 "$HOOK_LINK.dpkg-new"
	mv -fT "$HOOK_LINK.dpkg-new" "$HOOK_LINK"
	echo "pve-ospf: a script that does nothing stays as $HOOK_LINK: $why."
	echo "pve-ospf: to be rid of it: pct set ID --delete hookscript (qm set for a VM), then apt purge pve-ospf"
}

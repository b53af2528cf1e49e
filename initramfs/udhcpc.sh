#!/bin/sh
# shellcheck shell=dash disable=SC2154 # udhcpc sets the environment
# Run by udhcpc at each event, with the lease in the environment.
# shellcheck source=/dev/null
. /lib.sh
case $1 in
deconfig)
    ip addr flush dev "$interface"
    ;;
bound | renew)
    ip addr flush dev "$interface"
    ip addr add "$ip/${mask:-24}" broadcast + dev "$interface"
    # The server lists routers by preference, the best first (RFC 2132, section 3.5).
    [ -z "${router:-}" ] || ip route replace default via "${router%% *}" dev "$interface"
    # /init runs this file as shell, so it contains nothing but addresses and numbers.
    # shellcheck disable=SC2086 # a list of words
    name_servers ${dns:-}
    domain_name "${domain:-}"
    address "$ip" && printf "client=%s bits=%d dns='%s' domain=%s\n" "$ip" "${mask:-24}" "$dns" "$domain" \
        >"$run/dhcp"
    ;;
esac
